"""Charts of the lookbook: SVG by `pipeline/views/plots.py`, or intervals that a style sheet draws in a table's row.

What is charted belongs to the section builders.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Chart:
    """A drawing with its title, and in words what it shows, for who cannot see it."""

    title: str
    summary: str
    svg: str
    asset: str  # that its figures came from
    partition: str | None = None


@dataclass(frozen=True)
class Span:
    """An interval on a common scale, in per cent of its width."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Scale:
    """A common scale for intervals."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value lies, in per cent."""
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 2)

    def span(self, low: float, middle: float, high: float) -> Span:
        """An interval's place."""
        return Span(self.place(low), self.place(middle), self.place(high))


def scale(values: Sequence[float]) -> Scale:
    """The scale that holds all values, to round marks outside them."""
    marks = _round_marks(min(values), max(values))
    return Scale(min(marks[0], *values), max(marks[-1], *values))


def _round_marks(low: float, high: float) -> list[float]:
    """Three to seven round numbers that cover [low, high]."""
    if high - low < 1e-9:
        low, high = low - 0.01, high + 0.01
    rough = (high - low) / 4
    power = 10 ** np.floor(np.log10(rough))
    step = float(next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough))
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    return [round(step * number, 10) for number in range(first, last + 1)]
