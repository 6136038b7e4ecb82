"""Curves and intervals as coordinates, which the templates draw as SVG and CSS in the reader's own colours.

Charts as pixels, for Dagster and MLflow, are `pipeline/plots.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 340, 210  # of the view box
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 14, 34


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """A curve over whole steps, laid out in a view box of WIDTH x HEIGHT."""

    title: str
    summary: str  # what it shows, in words
    points: tuple[tuple[float, float], ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    reference: Tick | None  # a level to hold against
    x_label: str
    y_label: str


def curve(
    title: str, x: Sequence[float], y: Sequence[float], x_label: str, y_label: str, reference: float | None = None
) -> Curve:
    """Lay out a curve.

    Args:
        title: above it.
        x: steps, ascending, [n >= 1].
        y: values, [n].
        x_label: of the axis.
        y_label: of the axis.
        reference: a level drawn in grey, for example the paper's.
    """
    levels = [*y, *([] if reference is None else [reference])]
    marks = _round_marks(min(levels), max(levels))
    low, high = min(marks[0], *levels), max(marks[-1], *levels)
    first, last = x[0], x[-1]

    def across(value: float) -> float:
        share = 0.5 if last == first else (value - first) / (last - first)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def up(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    steps = sorted({round(step) for step in np.linspace(first, last, min(6, len(x)))})
    return Curve(
        title=title,
        summary=f"{y_label} from {y[0]:.3f} at {x_label} {first:g} to {y[-1]:.3f} at {x_label} {last:g}",
        points=tuple((across(a), up(b)) for a, b in zip(x, y, strict=True)),
        x_ticks=tuple(Tick(across(step), str(step)) for step in steps),
        y_ticks=tuple(Tick(up(mark), f"{mark:g}") for mark in marks),
        reference=None if reference is None else Tick(up(reference), f"{reference:.4f}"),
        x_label=x_label,
        y_label=y_label,
    )


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
