"""Choose among trained models by validation. What the candidates are is the business of each baseline."""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from models.data.dataset import Dataset
from models.metrics import selection
from models.metrics.scoring import ScoringModel

Model = TypeVar("Model", bound=ScoringModel)
Point = TypeVar("Point")


def best(
    candidates: Iterable[tuple[Point, Model]], held_out: np.ndarray, touched: np.ndarray
) -> tuple[Point, Model, dict[Point, float]]:
    """Measure each (point, model) as `selection.measure` does: (best point, its model, all values by point).

    Ties, and data without held-out pairs, go to the first candidate. Raises ValueError if there is none.
    """
    values: dict[Point, float] = {}
    chosen: tuple[Point, Model] | None = None
    for point, model in candidates:
        values[point] = selection.measure(model, held_out, touched)
        if chosen is None or values[point] > values[chosen[0]]:
            chosen = point, model
    if chosen is None:
        raise ValueError("no candidate to choose from")
    return *chosen, values


def touched(data: Dataset) -> np.ndarray:
    """List the pairs of all splits, [m, 2]."""
    return np.concatenate([data.train, data.validation, data.test])
