"""AUC by groups, to see for whom the recommender works: by activity of the person, by popularity of the hidden items.

Tables in, means with intervals out. Drawing does not belong here.
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
    """Groups of people, and the mean AUC of every model in each group."""

    title: str
    of: str  # the quantity that defines the groups
    labels: list[str]
    people: list[int]
    series: dict[str, list[tuple[float, float, float]]]  # model -> mean, low, high of each group

    @property
    def own(self) -> list[tuple[float, float, float]]:
        """Return the values of the first model."""
        return next(iter(self.series.values()))


def by_activity(evaluation: pa.Table, splits: pa.Table, models: Sequence[str]) -> Groups | None:
    """Group people by their number of items in training; tables RECOMMENDER_EVALUATION and SPLITS of a mode."""
    known = _of_split(splits, "train").groupby("user").size()
    return _grouped(evaluation, models, known, "By how much a person bought", "items in training")


def by_popularity(evaluation: pa.Table, splits: pa.Table, models: Sequence[str]) -> Groups | None:
    """Group people by how many people have their hidden items in training, on average; 0 means cold items only."""
    bought = _of_split(splits, "train").groupby("item").size()
    hidden = _of_split(splits, "test")
    known = hidden["item"].map(bought).fillna(0).groupby(hidden["user"]).mean()
    title = "By how often the hidden items were bought"
    return _grouped(evaluation, models, known, title, "people who have them in training")


def ranges(values: np.ndarray, most: int = GROUPS) -> list[tuple[int, int]]:
    """Cut whole numbers [n] into at most `most` ranges with about equally many values: (first, last), both included."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, most + 1)[1:], method="inverted_cdf").astype(int))
    firsts = [int(values.min()), *(int(edge) + 1 for edge in edges[:-1])]
    return [(first, int(last)) for first, last in zip(firsts, edges, strict=True)]


def _of_split(splits: pa.Table, split: str) -> pd.DataFrame:
    frame = splits.select(["user", "item", "split"]).to_pandas()
    return frame[frame["split"] == split]


def _grouped(evaluation: pa.Table, models: Sequence[str], known: pd.Series, title: str, of: str) -> Groups | None:
    frame = evaluation.select(["user", "model", "split", "auc"]).to_pandas()
    frame = frame[frame["split"] == "test"]
    present = [name for name in models if (frame["model"] == name).any()]
    if not present:
        return None
    frame = frame.assign(count=frame["user"].map(known).fillna(0).astype(int))
    own = frame[frame["model"] == present[0]]
    cut = ranges(own["count"].to_numpy())
    series = {}
    for name in present:
        of_model = frame[frame["model"] == name]
        series[name] = [
            _mean(of_model[of_model["count"].between(first, last)]["auc"].to_numpy(float)) for first, last in cut
        ]
    labels = [f"{first}" if first == last else f"{first}–{last}" for first, last in cut]
    people = [int(own["count"].between(first, last).sum()) for first, last in cut]
    return Groups(title, of, labels, people, series)


def _mean(values: np.ndarray) -> tuple[float, float, float]:
    return float(values.mean()), *bootstrap_mean(values, seed=0)
