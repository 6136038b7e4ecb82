"""EASE^R (Steck 2019): a linear model from the user's history to all items, in closed form.

With X the users x items matrix of train and P = (X'X + lambda I)^-1, the weights are B = I - P / diag(P), whose
diagonal is zero, and the scores X B. Lambda is tuned on validation. The weights are a dense matrix of items, hence
`LIMIT`; items unseen in train score 0.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.baselines.item_knn import flat
from models.baselines.tuning import best, touched
from models.data import priors
from models.data.dataset import Dataset
from models.data.factors import write_arrays
from models.training.files import read_arrays

_BLOCK = 4_000_000  # pairs of items counted at a time
LIMIT = 20_000  # items; their weights are 1.6 GB in float32
REGULARISATIONS = (1.0, 10.0, 50.0, 200.0, 1000.0, 5000.0)

_LAYOUT = {"users": 1, "items": 1, "image_item": 1, "history": 2, "regularisation": 0}


@dataclass(frozen=True, eq=False)
class Ease:
    """Histories and lambda; the weights follow from them, and are computed when they are first needed."""

    users: np.ndarray  # [U] int32, global ids
    items: np.ndarray  # [I] int32, global ids
    image_item: np.ndarray  # [images] int32, row in `items`
    history: np.ndarray  # [m, 2] int32: user row, item row, distinct and sorted
    regularisation: np.ndarray  # [] float64, lambda

    @cached_property
    def seen(self) -> np.ndarray:
        """List the rows of the items seen in train, [S]."""
        return np.unique(self.history[:, 1])

    @cached_property
    def weights(self) -> np.ndarray:
        """Compute B among the items seen in train: float32 [S, S], from row to column."""
        inverse = self._by_users() if len(self.users) < len(self.seen) else self._by_items()
        weights = inverse.div_(-inverse.diagonal().clone())
        weights.fill_diagonal_(0)
        return weights.numpy()

    def _by_items(self) -> Tensor:
        """Invert X'X + lambda I, [S, S]. X'X counts the users of both items."""
        column = np.searchsorted(self.seen, self.history[:, 1])
        first = np.searchsorted(self.history[:, 0], np.arange(len(self.users) + 1))
        counts = np.zeros((len(self.seen), len(self.seen)), np.float32)
        work = np.cumsum(np.diff(first)[self.history[:, 0]])
        for part in np.split(np.arange(len(column)), np.flatnonzero(np.diff(work // _BLOCK)) + 1):
            entry, other = flat(first, self.history[part, 0])
            np.add.at(counts, (column[part][entry], column[other]), 1)
        return _inverse(torch.from_numpy(counts), float(self.regularisation))

    def _by_users(self) -> Tensor:
        """Compute the same inverse from that of the smaller XX' + lambda I (Woodbury): (I - X' inverse X) / lambda."""
        x = torch.zeros(len(self.users), len(self.seen))
        x[self.history[:, 0], np.searchsorted(self.seen, self.history[:, 1])] = 1
        out = x.T @ (_inverse(x @ x.T, float(self.regularisation)) @ x)
        out.neg_().diagonal().add_(1)
        return out.div_(float(self.regularisation))

    def scorer(self, device: torch.device) -> "_Rows":
        """Put the model on a device, ready to score."""
        return _Rows(self, device)

    def save(self, path: Path) -> None:
        """Write histories and lambda to an .npz file: the complete file or nothing."""
        write_arrays(path, {name: getattr(self, name) for name in _LAYOUT})

    @classmethod
    def load(cls, path: Path) -> "Ease":
        """Read a file that `save` wrote. FileNotFoundError when there is none, ValueError when it is damaged."""
        found = read_arrays(path, "histories", _LAYOUT)
        return cls(**{name: found[name] for name in _LAYOUT})


def _inverse(matrix: Tensor, regularisation: float) -> Tensor:
    """Invert a symmetric matrix [n, n] plus lambda I; the matrix is overwritten."""
    matrix.diagonal().add_(regularisation)
    return torch.cholesky_inverse(torch.linalg.cholesky(matrix))


class _Rows:
    def __init__(self, model: Ease, device: torch.device) -> None:
        self.model, self.weights = model, torch.from_numpy(model.weights).to(device)
        self.seen = torch.from_numpy(model.seen.astype(np.int64)).to(device)
        self.column = np.searchsorted(model.seen, model.history[:, 1])
        self.first = np.searchsorted(model.history[:, 0], np.arange(len(model.users) + 1))

    def items(self, users: np.ndarray) -> Tensor:
        x = np.zeros((len(users), len(self.seen)), np.float32)
        for row, user in enumerate(users):
            x[row, self.column[self.first[user] : self.first[user + 1]]] = 1
        scores = self.weights.new_zeros(len(users), len(self.model.items))
        scores[:, self.seen] = torch.from_numpy(x).to(self.weights.device) @ self.weights
        return scores

    def pictures(self, users: np.ndarray) -> None:
        return None


def ease(data: Dataset, regularisations: tuple[float, ...] = REGULARISATIONS) -> tuple[Ease, float, dict[float, float]]:
    """Tune lambda on validation: (model, the best lambda, validation by lambda).

    Raises ValueError above LIMIT items.
    """
    if len(data.items) > LIMIT:
        raise ValueError(f"{len(data.items):,} items; a dense matrix of more than {LIMIT:,} is too large")
    history = priors.latest(data)[0]
    candidates = (
        (value, Ease(data.users, data.items, data.image_item, history, np.array(value))) for value in regularisations
    )
    value, model, values = best(candidates, data.validation, touched(data))
    return model, value, values
