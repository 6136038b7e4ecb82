"""Factors: the arrays of a trained recommender, in the same form for every factor model.

The evaluated score is theta . item + item_bias, so any metric can be recomputed from these arrays. Learning and
evaluating factors do not belong here.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.training.files import read_arrays, write_whole

# name: (dtype, number of dimensions)
_LAYOUT = {
    "users": (np.int32, 1),
    "items": (np.int32, 1),
    "theta": (np.float32, 2),
    "item": (np.float32, 2),
    "item_bias": (np.float32, 1),
    "phi": (np.float32, 2),
    "image_item": (np.int32, 1),
}


@dataclass(frozen=True, eq=False)
class Factors:
    """A recommender in factor form: one row of theta for each of `users`, one row of item for each of `items`.

    `users` and `items` are global ids. A picture's score is theta . phi + item_bias[image_item]. For a model that sees
    no pictures, phi is [0, K] and each picture has its item's score. Raises ValueError if the shapes do not match.
    """

    users: np.ndarray  # [U] int32
    items: np.ndarray  # [I] int32
    theta: np.ndarray  # [U, K] float32
    item: np.ndarray  # [I, K] float32
    item_bias: np.ndarray  # [I] float32
    phi: np.ndarray  # [images, K] float32, or [0, K]
    image_item: np.ndarray  # [images] int32, row in `items`

    def __post_init__(self) -> None:
        for name, (dtype, ndim) in _LAYOUT.items():
            array = np.ascontiguousarray(getattr(self, name), dtype)
            if array.ndim != ndim:
                raise ValueError(f"factors: {name} has {array.ndim} dimension(s), not {ndim}")
            object.__setattr__(self, name, array)
        users, items, k, images = len(self.users), len(self.items), self.theta.shape[1], len(self.image_item)
        expected = {"theta": (users, k), "item": (items, k), "item_bias": (items,)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"factors: {name} is {getattr(self, name).shape}; {shape} was expected")
        if self.phi.shape not in ((images, k), (0, k)):
            raise ValueError(f"factors: phi is {self.phi.shape}; {(images, k)}, or {(0, k)} without pictures, expected")
        if images and not (self.image_item.min() >= 0 and self.image_item.max() < items):
            raise ValueError(f"factors: image_item names rows outside 0..{items - 1}")
        for name in ("theta", "item", "item_bias", "phi"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(
                    f"factors: {name} holds values that are not finite; the training that made it diverged: "
                    "lower its learning_rate"
                )

    @property
    def sees_pictures(self) -> bool:
        """Return whether pictures have scores of their own."""
        return len(self.phi) > 0

    def narrowed(self, users: np.ndarray, items: np.ndarray) -> "Factors":
        """Keep only the given users and items, without pictures; select each by a bool mask or by row numbers [n]."""
        return Factors(
            users=self.users[users],
            items=self.items[items],
            theta=self.theta[users],
            item=self.item[items],
            item_bias=self.item_bias[items],
            phi=np.zeros((0, self.theta.shape[1])),
            image_item=np.zeros(0),
        )

    def scorer(self, device: torch.device) -> "_Products":
        """Put the model on a device, ready to score."""
        return _Products(self, device)

    def save(self, path: Path) -> None:
        """Write the arrays to factors.npz: the complete file or nothing."""
        write_arrays(path, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Factors":
        """Read what `save` wrote. FileNotFoundError when there is none, ValueError when it is damaged or foreign."""
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no factors there; train the model first")
        found = read_arrays(path, "factors", _LAYOUT)
        return cls(**{name: found[name] for name in _LAYOUT})


class _Products:
    """Scores by dot product: theta . item + item_bias, and for pictures theta . phi + item_bias of the item."""

    def __init__(self, factors: Factors, device: torch.device) -> None:
        self.theta = torch.from_numpy(factors.theta).to(device)
        self.item = torch.from_numpy(factors.item).to(device)
        self.bias = torch.from_numpy(factors.item_bias).to(device)
        self.phi = torch.from_numpy(factors.phi).to(device) if factors.sees_pictures else None
        self.image_item = torch.from_numpy(factors.image_item.astype(np.int64)).to(device)

    def items(self, users: np.ndarray) -> Tensor:
        return torch.addmm(self.bias, self._theta(users), self.item.T)  # [c, I]

    def pictures(self, users: np.ndarray) -> Tensor | None:
        if self.phi is None:
            return None
        return torch.addmm(self.bias[self.image_item], self._theta(users), self.phi.T)  # [c, images]

    def _theta(self, users: np.ndarray) -> Tensor:
        return self.theta[torch.from_numpy(np.ascontiguousarray(users)).to(self.theta.device)]


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz file atomically: the complete file or nothing."""
    # The type checker thinks that an array could be passed as the keyword allow_pickle, a bool.
    write_whole(path, lambda file: np.savez(file, **arrays))  # ty: ignore[invalid-argument-type]


def item_means(values: np.ndarray, image_item: np.ndarray, items: int) -> np.ndarray:
    """Average the rows of each item's pictures: [images, K] to [items, K] float32.

    The mean, not the max or the sum, so that having many pictures is no advantage. Raises ValueError for an item
    without a picture.
    """
    counts = np.bincount(image_item, minlength=items)
    if len(counts) != items or not counts.all():
        bare = int((counts[:items] == 0).sum())
        raise ValueError(f"{bare} of {items} items have no picture; drop them from the catalogue before training")
    order = np.argsort(image_item, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(values[order].astype(np.float64), starts, axis=0)
    return (sums / counts[:, None]).astype(np.float32)
