"""What a shop knows of its items besides pictures and purchases, as arrays. Nothing here learns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ItemFacts:
    """Text features and category paths of I items. Raises ValueError if the arrays do not match."""

    text: np.ndarray  # [I, T] float32, features of title and categories; a row of zeros where there is no text
    categories: np.ndarray  # [I, L] int32, the item's category on each level of its path, broad to narrow; -1 for none
    names: tuple[tuple[str, ...], ...]  # of each level's categories

    def __post_init__(self) -> None:
        for name, dtype in (("text", np.float32), ("categories", np.int32)):
            array = np.ascontiguousarray(getattr(self, name), dtype)
            if array.ndim != 2:
                raise ValueError(f"item facts: {name} has {array.ndim} dimension(s), not 2")
            object.__setattr__(self, name, array)
        if len(self.text) != len(self.categories) or self.categories.shape[1] != len(self.names):
            raise ValueError(
                f"item facts: text {self.text.shape}, categories {self.categories.shape} and {len(self.names)} levels "
                "of names do not match"
            )
        if not np.isfinite(self.text).all():
            raise ValueError("item facts: text holds values that are not finite")
        for level, names in enumerate(self.names):
            codes = self.categories[:, level]
            if len(codes) and not (codes.min() >= -1 and codes.max() < len(names)):
                raise ValueError(f"item facts: level {level} names categories outside -1..{len(names) - 1}")

    @classmethod
    def none(cls, items: int) -> "ItemFacts":
        """Return the facts of items of which nothing is known."""
        return cls(np.zeros((items, 0)), np.zeros((items, 0)), ())

    def rows(self, chosen: np.ndarray) -> "ItemFacts":
        """Select items by row numbers [n]."""
        return ItemFacts(self.text[chosen], self.categories[chosen], self.names)
