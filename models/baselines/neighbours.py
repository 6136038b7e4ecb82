"""Visual neighbours: score an item by its largest cosine to any item in the user's history.

A maximum over the history is not the product of a user vector and an item vector, so this model cannot be stored as
`Factors` and keeps the history itself. (The mean over the history can be; see `models/baselines/simple.py`.)
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.data.factors import item_means, write_arrays

_BLOCK_BYTES = 64 * 2**20  # of cosines computed at a time


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Unit vectors of items, and the users' histories. Raises ValueError if the arrays do not match."""

    users: np.ndarray  # [U] int32, global ids
    items: np.ndarray  # [I] int32, global ids
    phi: np.ndarray  # [images, F] float32; the mean over an item's pictures has length one
    image_item: np.ndarray  # [images] int32, row in `items`
    history: np.ndarray  # [m, 2] int32: user row, item row, distinct
    nearest: np.ndarray  # [] int32: the score is the mean of this many largest cosines

    def __post_init__(self) -> None:
        for name, dtype in (("users", np.int32), ("items", np.int32), ("image_item", np.int32), ("phi", np.float32)):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype))
        history = np.unique(np.asarray(self.history, np.int32).reshape(-1, 2), axis=0)
        object.__setattr__(self, "history", history)
        object.__setattr__(self, "nearest", np.asarray(self.nearest, np.int32))
        if self.nearest.ndim or self.nearest < 1:
            raise ValueError(f"neighbours: nearest={self.nearest}; at least one item of the history must count")
        if self.phi.ndim != 2 or len(self.phi) != len(self.image_item) or not np.isfinite(self.phi).all():
            raise ValueError(f"neighbours: phi is {self.phi.shape}; one finite row a picture was expected")
        for column, limit, name in ((0, len(self.users), "user"), (1, len(self.items), "item")):
            if len(history) and not (history[:, column].min() >= 0 and history[:, column].max() < limit):
                raise ValueError(f"neighbours: the history names {name} rows outside 0..{limit - 1}")

    def scorer(self, device: torch.device) -> "_Cosines":
        """Put the model on a device, ready to score."""
        return _Cosines(self, device)

    def save(self, path: Path) -> None:
        """Write the arrays to neighbours.npz: the complete file or nothing."""
        write_arrays(path, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Neighbours":
        """Read a file that `save` wrote; FileNotFoundError if it does not exist."""
        with np.load(Path(path), allow_pickle=False) as file:
            return cls(**{field.name: file[field.name] for field in fields(cls)})


class _Cosines:
    def __init__(self, model: Neighbours, device: torch.device) -> None:
        self.nearest = int(model.nearest)
        self.phi = torch.from_numpy(model.phi).to(device)  # [images, F]
        self.item = torch.from_numpy(item_means(model.phi, model.image_item, len(model.items))).to(device)  # [I, F]
        counts = np.bincount(model.history[:, 0], minlength=len(model.users))
        self.own = np.split(model.history[:, 1].astype(np.int64), np.cumsum(counts)[:-1])  # `history` is sorted by user

    def items(self, users: np.ndarray) -> Tensor:
        return self._best(users, self.item)

    def pictures(self, users: np.ndarray) -> Tensor:
        return self._best(users, self.phi)

    def _best(self, users: np.ndarray, candidates: Tensor) -> Tensor:
        scores = candidates.new_zeros(len(users), len(candidates))  # a user without a history scores all items 0
        sizes = np.array([len(self.own[user]) for user in users], np.int64)
        # One matrix product for each block of users, so that `candidates` is read once a block and not once a user.
        block = np.cumsum(sizes) // max(1, _BLOCK_BYTES // (4 * len(candidates)))
        for number in np.unique(block[sizes > 0]):
            rows = np.flatnonzero((block == number) & (sizes > 0))
            own = np.concatenate([self.own[user] for user in users[rows]])
            cosines = self.item[torch.from_numpy(own).to(self.item.device)] @ candidates.T  # [histories, n]
            for row, of_user in zip(rows, cosines.split(sizes[rows].tolist()), strict=True):
                if self.nearest == 1:
                    scores[row] = of_user.amax(0)
                else:
                    scores[row] = of_user.topk(min(self.nearest, len(of_user)), dim=0).values.mean(0)
        return scores
