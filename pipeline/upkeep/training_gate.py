"""Decide whether enough interactions changed to train an out-of-date model again automatically.

`automation.py` finds out which models are out of date. A person or a run from the terminal trains regardless of this.
"""

import math
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from pipeline.core import parquet as pq
from pipeline.home.storage import Storage
from pipeline.recommenders.registry import baselines, main, of_preset
from pipeline.recommenders.warm_start import PAIR
from pipeline.settings.assets import RefreshSettings
from pipeline.settings.method import Method

SHARE = 0.01  # of the interactions that the model was trained on; the default of min_new_interactions
# asset -> (the kind of its models, the splits file in the model's folder)
TRAINED = {one.op: ("recommender", "splits.parquet") for one in main()}
TRAINED["baselines"] = ("baselines", f"{baselines()[0].name}/splits.parquet")


class TrainingGate:
    """Opens for a recommender once enough interactions were added or removed since its model was trained."""

    def __init__(self, storage: Storage, method: Method) -> None:
        self._storage = storage
        self._method = method

    def __call__(self, asset: str, mode: str | None) -> bool:
        """Return whether `asset` may be made in this image mode; True if it is no recommender or has no model yet."""
        if asset not in TRAINED or mode is None:
            return True
        kind, splits_file = TRAINED[asset]
        if not (self._storage.parent(kind, mode) / "current.json").is_file():
            return True
        before = self._storage.current(kind, mode).path / splits_file
        now = self._storage.tables / "splits" / f"{mode}.parquet"
        if not before.is_file() or not now.is_file():
            return True
        changed, total = _cached_counts(before, now, now.stat().st_mtime_ns)
        settings = self._method.settings(RefreshSettings, of_preset(self._method.chosen_preset()).op)
        wanted = settings.min_new_interactions
        return changed >= (math.ceil(SHARE * total) if wanted is None else wanted)


def count_changed(before: pa.Table, now: pa.Table) -> int:
    """Count the (user, item) pairs that only one of two SPLITS tables has.

    Held-out pairs count too: they are interactions of the mode, and which pairs are held out may change by itself.
    """
    old, new = (table.select(PAIR).group_by(PAIR).aggregate([]) for table in (before, now))
    return old.join(new, PAIR, join_type="left anti").num_rows + new.join(old, PAIR, join_type="left anti").num_rows


@lru_cache(maxsize=16)
def _cached_counts(before: Path, now: Path, _mtime_ns: int) -> tuple[int, int]:
    """Return (changed pairs, pairs before), cached until `now` is written again."""
    old, new = (pq.read_table(path, columns=PAIR) for path in (before, now))
    return count_changed(old, new), old.group_by(PAIR).aggregate([]).num_rows
