"""Is the recommender good for everybody? AUC by how much a person bought, and by how often the hidden item was bought.

Tables in, means with intervals out; drawing them is `pipeline/views/plots.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from models.metrics.intervals import bootstrap_mean

GROUPS = 4  # at most


@dataclass(frozen=True)
class Groups:
    """People in groups, and every model's mean AUC in each."""

    title: str
    of: str  # what the groups are of
    labels: list[str]
    people: list[int]
    series: dict[str, list[tuple[float, float, float]]]  # model -> mean, low, high of each group

    @property
    def own(self) -> list[tuple[float, float, float]]:
        """Of the first model."""
        return next(iter(self.series.values()))


def by_activity(evaluation: pa.Table, splits: pa.Table, models: Sequence[str]) -> Groups | None:
    """By the number of items that a person has in training; tables RECOMMENDER_EVALUATION and SPLITS of a mode."""
    known = _training(splits).groupby("user").size()
    return _grouped(evaluation, models, "user", known, "By how much a person bought", "items in training")


def by_popularity(evaluation: pa.Table, splits: pa.Table, models: Sequence[str]) -> Groups | None:
    """By the number of people who have the hidden item in training; nobody's is a cold item."""
    known = _training(splits).groupby("item").size()
    title = "By how often the hidden item was bought"
    return _grouped(evaluation, models, "item", known, title, "people who have it in training")


def ranges(values: np.ndarray, most: int = GROUPS) -> list[tuple[int, int]]:
    """Whole numbers [n] cut into at most `most` ranges of about as many values each, (first, last), both inside."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, most + 1)[1:], method="inverted_cdf").astype(int))
    firsts = [int(values.min()), *(int(edge) + 1 for edge in edges[:-1])]
    return [(first, int(last)) for first, last in zip(firsts, edges, strict=True)]


def _training(splits: pa.Table) -> pd.DataFrame:
    frame = splits.select(["user", "item", "split"]).to_pandas()
    return frame[frame["split"] == "train"]


def _grouped(
    evaluation: pa.Table, models: Sequence[str], key: str, known: pd.Series, title: str, of: str
) -> Groups | None:
    frame = evaluation.select(["user", "model", "split", "item", "auc"]).to_pandas()
    frame = frame[frame["split"] == "test"]
    there = [name for name in models if (frame["model"] == name).any()]
    if not there:
        return None
    frame = frame.assign(count=frame[key].map(known).fillna(0).astype(int))
    own = frame[frame["model"] == there[0]]
    cut = ranges(own["count"].to_numpy())
    series = {}
    for name in there:
        of_model = frame[frame["model"] == name]
        series[name] = [
            _mean(of_model[of_model["count"].between(first, last)]["auc"].to_numpy(float)) for first, last in cut
        ]
    labels = [f"{first}" if first == last else f"{first}–{last}" for first, last in cut]
    people = [int(own["count"].between(first, last).sum()) for first, last in cut]
    return Groups(title, of, labels, people, series)


def _mean(values: np.ndarray) -> tuple[float, float, float]:
    return float(values.mean()), *bootstrap_mean(values, seed=0)
