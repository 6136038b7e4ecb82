"""A recommender as its scores of all users and items, for models that are no product of factors."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.training.files import read_array, read_arrays, write_whole

MOST_SCORES = 50_000_000  # users x items: 200 MB
_SCORES, _REST = "scores.npy", "score_matrix.npz"


@dataclass(frozen=True, eq=False)
class ScoreMatrix:
    """The score of each of U users for each of I items. Raises ValueError if the arrays do not match."""

    users: np.ndarray  # [U] int32, global ids
    items: np.ndarray  # [I] int32, global ids
    image_item: np.ndarray  # [images] int32, row in `items`
    scores: np.ndarray  # [U, I] float32, an array or a memory map

    def __post_init__(self) -> None:
        for name in ("users", "items", "image_item"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), np.int32))
        expected = (len(self.users), len(self.items))
        if self.scores.shape != expected or self.scores.dtype != np.float32:
            raise ValueError(f"scores are {self.scores.dtype} {self.scores.shape}; float32 {expected} was expected")
        if any(not np.isfinite(row).all() for row in self.scores):  # a row at a time: it may be a memory map
            raise ValueError("scores hold values that are not finite")

    def scorer(self, device: torch.device) -> "_Rows":
        """Prepare to score; the matrix stays where it is, and rows are copied to the device when they are needed."""
        return _Rows(self.scores, device)

    def save(self, folder: Path) -> None:
        """Write the arrays into `folder`; the scores last, each file complete or not at all."""
        ids = {"users": self.users, "items": self.items, "image_item": self.image_item}
        write_whole(folder / _REST, lambda file: np.savez(file, **ids))  # ty: ignore[invalid-argument-type]
        write_whole(folder / _SCORES, lambda file: np.save(file, self.scores))

    @classmethod
    def load(cls, folder: Path) -> "ScoreMatrix":
        """Read what `save` wrote, with the scores as a memory map. Raises ValueError if it is missing or damaged."""
        ids = read_arrays(folder / _REST, "a score matrix", ("users", "items", "image_item"))
        scores = read_array(folder / _SCORES, "scores", memory_map=True)
        return cls(ids["users"], ids["items"], ids["image_item"], scores)


class _Rows:
    """Rows of a score matrix; pictures have their item's score."""

    def __init__(self, scores: np.ndarray, device: torch.device) -> None:
        self.scores, self.device = scores, device

    def items(self, users: np.ndarray) -> Tensor:
        return torch.from_numpy(self.scores[users].astype(np.float32, copy=True)).to(self.device)

    def pictures(self, users: np.ndarray) -> None:
        return None
