"""Decide whether enough interactions changed to train an out-of-date model again automatically.

`automation.py` finds out which models are out of date. A person or a run from the terminal trains regardless of this.
"""

import math
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import parquet as pq
from pipeline.home.storage import Storage
from pipeline.recommenders.registry import baselines, main, of_preset
from pipeline.recommenders.warm_start import PAIR
from pipeline.settings.assets import RefreshSettings
from pipeline.settings.method import Method

SHARE = 0.01  # of the interactions that the model was trained on; the default of min_new_interactions
RECOMMENDERS = {one.op: one.name for one in main()}  # asset -> the recommender that it trains
BASELINES = "baselines"


class TrainingGate:
    """Opens for a recommender once enough interactions changed since its model was trained.

    An interaction changed if it was added or removed, or if the model was trained on it and it is held out now: another
    protocol, seed or cut moves the hold-outs of many users, and no figure of the old model would hold for them.
    """

    def __init__(self, storage: Storage, method: Method) -> None:
        self._storage = storage
        self._method = method

    def __call__(self, asset: str, mode: str | None) -> bool:
        """Return whether `asset` may be made in this image mode; True if it is no recommender or has no model yet."""
        if asset not in (*RECOMMENDERS, BASELINES) or mode is None:
            return True
        before = self._splits_of(asset, mode)
        now = self._storage.tables / "splits" / f"{mode}.parquet"
        if before is None or not before.is_file() or not now.is_file():
            return True
        changed, total = _cached_counts(before, now, now.stat().st_mtime_ns)
        op = asset if asset in RECOMMENDERS else of_preset(self._method.chosen_preset()).op
        settings = self._method.settings(RefreshSettings, op)
        wanted = settings.min_new_interactions
        return changed >= (math.ceil(SHARE * total) if wanted is None else wanted)

    def _splits_of(self, asset: str, mode: str) -> Path | None:
        """Find the splits that the asset's last model in this mode was trained on; None if there is no model."""
        if asset == BASELINES:
            if not (self._storage.parent(BASELINES, mode) / "current.json").is_file():
                return None
            return self._storage.current(BASELINES, mode).path / baselines()[0].name / "splits.parquet"
        last = self._storage.newest_of(RECOMMENDERS[asset], mode)
        return None if last is None else last.path / "splits.parquet"


def count_changed(before: pa.Table, now: pa.Table) -> int:
    """Count the (user, item) pairs that only one of two SPLITS tables has.

    Held-out pairs count too: they are interactions of the mode, and which pairs are held out may change by itself.
    """
    old, new = (table.select(PAIR).group_by(PAIR).aggregate([]) for table in (before, now))
    return old.join(new, PAIR, join_type="left anti").num_rows + new.join(old, PAIR, join_type="left anti").num_rows


def count_moved(before: pa.Table, now: pa.Table) -> int:
    """Count the (user, item) pairs that are train in one SPLITS table, and in another one held out and not train."""
    trained, trains = (table.filter(pc.equal(table["split"], "train")).select(PAIR) for table in (before, now))
    moved = trained.join(now.select(PAIR), PAIR, join_type="left semi").join(trains, PAIR, join_type="left anti")
    return moved.group_by(PAIR).aggregate([]).num_rows


@lru_cache(maxsize=16)
def _cached_counts(before: Path, now: Path, _mtime_ns: int) -> tuple[int, int]:
    """Return (changed pairs, pairs before), cached until `now` is written again."""
    old, new = (pq.read_table(path, columns=[*PAIR, "split"]) for path in (before, now))
    changed = count_changed(old, new) + count_moved(old, new)
    return changed, old.group_by(PAIR).aggregate([]).num_rows
