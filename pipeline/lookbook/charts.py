"""Charts of the lookbook: SVG drawings, and intervals that the style sheet draws in a table row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Chart:
    """A drawing with its title, and a summary in words for readers who cannot see it."""

    title: str
    summary: str
    svg: str
    asset: str  # the asset that its figures came from
    partition: str | None = None


@dataclass(frozen=True)
class IntervalBar:
    """An interval on a common scale, in per cent of the scale's width."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Scale:
    """A common scale for intervals."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Compute the position of a value in per cent."""
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 2)

    def span(self, low: float, middle: float, high: float) -> IntervalBar:
        """Compute the position of an interval."""
        return IntervalBar(self.place(low), self.place(middle), self.place(high))


def scale(values: Sequence[float]) -> Scale:
    """Make a scale that covers all values and ends at round numbers."""
    marks = _round_marks(min(values), max(values))
    return Scale(min(marks[0], *values), max(marks[-1], *values))


def _round_marks(low: float, high: float) -> list[float]:
    """Choose three to seven round numbers that cover [low, high]."""
    if high - low < 1e-9:
        low, high = low - 0.01, high + 0.01
    rough = (high - low) / 4
    power = 10 ** np.floor(np.log10(rough))
    step = float(next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough))
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    return [round(step * number, 10) for number in range(first, last + 1)]
