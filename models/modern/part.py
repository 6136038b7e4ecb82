"""What a part of the score of `modern` is: theta . item + bias; the space of its features; the histories behind it.

How each part is computed does not belong here: see `parts.py`.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from models.data import priors
from models.data.dataset import Dataset

LEAST_SPREAD = 1e-6  # a part whose scores spread less says nothing


@dataclass(frozen=True, eq=False)
class Space:
    """A space of features, (f - centre) @ basis."""

    centre: np.ndarray  # [F] float32
    basis: np.ndarray  # [F, D] float32

    def project(self, features: np.ndarray) -> np.ndarray:
        """Project features [n, F] into the space: [n, D] float32."""
        return (features.astype(np.float32) - self.centre) @ self.basis


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the score: theta . item + bias."""

    name: str
    theta: np.ndarray  # [U, K] float32
    item: np.ndarray  # [I, K] float32
    bias: np.ndarray  # [I] float32
    space: Space | None = None  # of pictures or texts, for items that the catalogue does not have
    codes: np.ndarray | None = None  # [K] int32, the category of each column, for the same
    scale: float = 1.0  # what the scores were multiplied by

    def scaled(self, by: float) -> "Part":
        """Multiply the part's scores."""
        space = self.space and Space(self.space.centre, (self.space.basis * by).astype(np.float32))
        item, bias = self.item * np.float32(by), self.bias * np.float32(by)
        return replace(self, item=item, bias=bias, space=space, scale=self.scale * by)

    def spread(self, seen: np.ndarray) -> float:
        """Compute the standard deviation of the scores of all users over the `seen` items, bool [I]."""
        theta, item = self.theta.astype(np.float64), self.item[seen].astype(np.float64)
        bias = self.bias[seen].astype(np.float64)
        square = ((theta.T @ theta / len(theta)) * (item.T @ item / len(item))).sum()
        square += 2 * (theta.mean(0) @ (item * bias[:, None]).mean(0)) + (bias**2).mean()
        mean = theta.mean(0) @ item.mean(0) + bias.mean()
        return float(np.sqrt(max(square - mean**2, 0.0)))


class Histories:
    """The distinct train pairs, and means over the items of each user."""

    def __init__(self, data: Dataset) -> None:
        self.pairs, self.times = priors.latest(data)
        self.users, self.items = len(data.users), len(data.items)
        self.counts = np.bincount(self.pairs[:, 0], minlength=self.users)  # [U]
        self.seen = np.bincount(self.pairs[:, 1], minlength=self.items) > 0  # [I]

    def means(self, items: np.ndarray) -> np.ndarray:
        """Average item vectors [I, D] over each user's history: [U, D] float32, zeros for an empty history."""
        weights = 1 / self.counts[self.pairs[:, 0]]
        return (self.matrix(weights) @ torch.from_numpy(np.ascontiguousarray(items, np.float32))).numpy()

    def matrix(self, weights: np.ndarray) -> torch.Tensor:
        """Return the sparse matrix [U, I] with a weight for each pair."""
        index = torch.from_numpy(self.pairs.T.astype(np.int64))
        values = torch.from_numpy(weights.astype(np.float32))
        return torch.sparse_coo_tensor(index, values, (self.users, self.items), check_invariants=False).coalesce()


def fit_space(seen: np.ndarray, components: int, whiten: float) -> Space:
    """Fit centre and principal components on the features of the train items [n, F], to a mean square of one."""
    found = seen.astype(np.float64)
    centre = found.mean(0)
    rest = found - centre
    spread, axes = np.linalg.eigh(rest.T @ rest / len(rest))  # ascending
    spread, axes = np.maximum(spread[::-1], 0), axes[:, ::-1]
    # With fewer items than dimensions some directions have no spread, and whitening them would amplify noise.
    kept = min(components, int((spread > 1e-9 * max(spread[0], 1e-300)).sum()) or 1)
    basis = axes[:, :kept] / np.maximum(spread[:kept], 1e-300) ** (whiten / 2)
    scale = float(np.sqrt(((rest @ basis) ** 2).mean()))
    basis = basis / scale if scale > LEAST_SPREAD else np.zeros_like(basis)
    return Space(centre.astype(np.float32), basis.astype(np.float32))
