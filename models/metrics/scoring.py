"""How a model is asked for scores: a few users over all items at a time, whatever the model is made of.

`Recommender` is all that evaluation knows of a model, `Factors` its commonest form. What the scores are worth is
`evaluate.py`; how they were learned, the models'.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.metrics.poolings import POOLINGS


class Scorer(Protocol):
    """A model on its device."""

    def items(self, users: np.ndarray) -> Tensor:
        """Scores of the user rows [c] over all items: float32 [c, I], new memory that the caller may overwrite."""
        ...

    def pictures(self, users: np.ndarray) -> Tensor | None:
        """Scores over all pictures, [c, images]; None from a model whose pictures have their item's score."""
        ...


class Recommender(Protocol):
    """A trained model: whose rows it knows, and a scorer."""

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
        """The model on a device, ready to score."""
        ...


def pooled(model: Recommender, how: str) -> Recommender:
    """The model with each item scored by the `how` of its pictures' scores: mean, max or sum.

    Every model of ours scores an item by the mean of its pictures already and comes back as it is. The other two
    exist to show a leak: the more pictures, the higher a max or a sum, and the picture count knows what was bought.
    Items without a picture, and models that see none, keep their scores. ValueError for another `how`.
    """
    if how not in POOLINGS:
        raise ValueError(f"item_score={how!r} is unknown; give one of {', '.join(POOLINGS)}")
    return model if how == "mean" else _Pooled(model, {"max": "amax", "sum": "sum"}[how])


@dataclass(frozen=True, eq=False)
class _Pooled:
    model: Recommender
    reduce: str  # torch's name of the reduction

    @property
    def users(self) -> np.ndarray:
        return self.model.users

    @property
    def items(self) -> np.ndarray:
        return self.model.items

    @property
    def image_item(self) -> np.ndarray:
        return self.model.image_item

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
