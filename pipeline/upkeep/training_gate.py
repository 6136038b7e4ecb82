"""How much new data a training is worth: whether a model that is behind is trained again by itself.

Counting only. That a model is behind is `automation.py`'s to know; a person, or a run from the terminal, trains
whatever this says.
"""

import math
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from pipeline.core import parquet as pq
from pipeline.method import Method
from pipeline.settings import RefreshSettings
from pipeline.storage import Storage
from pipeline.upkeep.warm_start import PAIR

SHARE = 0.01  # of the interactions that a model was made from, where no number is set
# asset -> (the kind of its models, the splits that every model's folder keeps)
TRAINED = {"dvbpr": ("recommender", "splits.parquet"), "baselines": ("baselines", "popularity/splits.parquet")}


class TrainingGate:
    """Opens for a recommender once enough interactions came or went since its model was trained."""

    def __init__(self, storage: Storage, method: Method) -> None:
        self._storage = storage
        self._method = method

    def __call__(self, asset: str, mode: str | None) -> bool:
        """Whether `asset` of this image mode may be trained; True for what is no recommender, or has no model."""
        if asset not in TRAINED or mode is None:
            return True
        kind, kept = TRAINED[asset]
        if not (self._storage.parent(kind, mode) / "current.json").is_file():
            return True
        before, now = self._storage.current(kind, mode).path / kept, self._storage.tables / "splits" / f"{mode}.parquet"
        if not before.is_file() or not now.is_file():
            return True
        changed, of = _changed(before, now, now.stat().st_mtime_ns)
        wanted = self._method.settings(RefreshSettings, "dvbpr").min_new_interactions
        return changed >= (math.ceil(SHARE * of) if wanted is None else wanted)


def changed(before: pa.Table, now: pa.Table) -> int:
    """(user, item) pairs of two SPLITS that only one of them has: what came, and what went.

    Held-out pairs count as well: they are interactions of the mode. Which of them is held out may change by itself.
    """
    old, new = (table.select(PAIR).group_by(PAIR).aggregate([]) for table in (before, now))
    return old.join(new, PAIR, join_type="left anti").num_rows + new.join(old, PAIR, join_type="left anti").num_rows


@lru_cache(maxsize=16)
def _changed(before: Path, now: Path, _written: int) -> tuple[int, int]:
    """(pairs changed, pairs before); read once for each table that is written, not at every evaluation."""
    old, new = (pq.read_table(path, columns=PAIR) for path in (before, now))
    return changed(old, new), old.group_by(PAIR).aggregate([]).num_rows
