"""Factors: the form in which every recommender leaves training, whatever it was.

One set of arrays from which any figure can be recomputed: theta . item + item_bias is the score that
is evaluated. How factors are learned, and what they are worth, belongs elsewhere.
"""

import os
import uuid
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.files import read_arrays

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
    """A recommender in factor form. Rows of theta stand for `users`, rows of item for `items` (global ids).

    A picture's score is theta . phi + item_bias[image_item]; a model that sees no pictures has phi of K columns
    and no rows, and every picture has its item's score. Raises ValueError when the shapes do not fit each other.
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
        """Whether pictures have scores of their own."""
        return len(self.phi) > 0

    def narrowed(self, users: np.ndarray, items: np.ndarray) -> "Factors":
        """The rows of `users` and `items`, without pictures; each as bool (all rows) or as row numbers [n]."""
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
        """The model on a device (`scoring.Recommender`)."""
        return _Products(self, device)

    def save(self, path: Path) -> None:
        """Write factors.npz: a whole file or none."""
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
    """theta . item + item_bias, and theta . phi + item_bias of the picture's item."""

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
    """Write an .npz, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            # The stub of savez takes its own keyword for a bool.
            np.savez(file, **arrays)  # ty: ignore[invalid-argument-type]
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def item_means(values: np.ndarray, image_item: np.ndarray, items: int) -> np.ndarray:
    """Mean of the pictures' rows over each item: [images, K] to [items, K] float32.

    The mean, not the max or the sum: having many pictures must be no advantage. Raises ValueError for an item
    without a picture, whose mean does not exist.
    """
    counts = np.bincount(image_item, minlength=items)
    if len(counts) != items or not counts.all():
        bare = int((counts[:items] == 0).sum())
        raise ValueError(f"{bare} of {items} items have no picture; drop them from the catalogue before training")
    order = np.argsort(image_item, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(values[order].astype(np.float64), starts, axis=0)
    return (sums / counts[:, None]).astype(np.float32)
