"""The interface through which evaluation asks any model for scores: a few users over all items at a time."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.metrics.poolings import POOLINGS


class Scorer(Protocol):
    """A model on its device."""

    def items(self, users: np.ndarray) -> Tensor:
        """Score all items for user rows [c]: float32 [c, I], in new memory that the caller may overwrite."""
        ...

    def pictures(self, users: np.ndarray) -> Tensor | None:
        """Score all pictures: [c, images]; None if each picture simply has its item's score."""
        ...


class ScoringModel(Protocol):
    """A trained model: the users and items that it knows, and a scorer."""

    @property
    def users(self) -> np.ndarray:
        """Global ids of the user rows, [U] int32."""
        ...

    @property
    def items(self) -> np.ndarray:
        """Global ids of the item rows, [I] int32."""
        ...

    @property
    def image_item(self) -> np.ndarray:
        """The item row of each picture, [images] int32."""
        ...

    def scorer(self, device: torch.device) -> Scorer:
        """Put the model on a device, ready to score."""
        ...


def pooled(model: ScoringModel, how: str) -> ScoringModel:
    """Make a model score each item by the mean, max or sum of the scores of its pictures.

    All models here already use the mean, so with `how="mean"` the model is returned unchanged. Max and sum exist to
    show a leak: they grow with the number of pictures, and that number reveals which items were bought. Items without
    a picture, and models that see no pictures, keep their scores. Raises ValueError for any other `how`.
    """
    if how not in POOLINGS:
        raise ValueError(f"item_score={how!r} is unknown; give one of {', '.join(POOLINGS)}")
    return model if how == "mean" else _Pooled(model, {"max": "amax", "sum": "sum"}[how])


@dataclass(frozen=True, eq=False)
class Wrapped:
    """A model that scores another one's users and items in its own way."""

    model: ScoringModel

    @property
    def users(self) -> np.ndarray:
        """Return the global ids of the users, [U]."""
        return self.model.users

    @property
    def items(self) -> np.ndarray:
        """Return the global ids of the items, [I]."""
        return self.model.items

    @property
    def image_item(self) -> np.ndarray:
        """Return the item row of each picture, [images]."""
        return self.model.image_item


@dataclass(frozen=True, eq=False)
class _Pooled(Wrapped):
    reduce: str  # torch's name for the reduction

    def scorer(self, device: torch.device) -> "_PooledScorer":
        return _PooledScorer(self.model.scorer(device), self.image_item, self.reduce, device)


class _PooledScorer:
    def __init__(self, inner: Scorer, image_item: np.ndarray, reduce: str, device: torch.device) -> None:
        self.inner, self.reduce = inner, reduce
        self.image_item = torch.from_numpy(image_item.astype(np.int64)).to(device)

    def items(self, users: np.ndarray) -> Tensor:
        scores, pictures = self.inner.items(users), self.inner.pictures(users)
        if pictures is None:
            return scores
        index = self.image_item.expand(len(users), -1)
        return scores.scatter_reduce_(1, index, pictures, self.reduce, include_self=False)

    def pictures(self, users: np.ndarray) -> Tensor | None:
        return self.inner.pictures(users)
