"""Choose the model that a recommender's training starts from, and record the pairs that must not be evaluated.

A model that started from another one was also trained on that model's pairs, which are recorded beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from models.dvbpr.settings import MAY_CHANGE
from pipeline.core import digests
from pipeline.core import parquet as pq
from pipeline.core.durable import write_whole
from pipeline.home.storage import Storage

PAIR = ["user", "item"]
TRAINED_ON = "trained_on.parquet"  # beside a warm-started model: the pairs that it and its ancestors were trained on
MOST_SEEN = 0.01  # largest share of the held-out pairs that an ancestor may have been trained on


@dataclass(frozen=True)
class Start:
    """The starting point of a training."""

    folder: Path | None  # folder of the model it starts from; None: from scratch
    run: str | None  # that model's run
    why: str  # the reason, in words


def start(
    storage: Storage,
    mode: str,
    name: str,
    configuration: Mapping[str, Any],
    code_version: str,
    splits: pa.Table,
    wanted: bool,
) -> Start:
    """Start from the recommender's newest model in the mode if configuration and code are equal; else from scratch.

    A pair that was trained on can be held out later: an item left the data, and another of the user's items took its
    place in the split. The new model would know such pairs. If they are at most 1% of the held-out pairs, they are
    left out of the evaluation (`seen`). If there are more, as with another split, training starts from scratch.

    Args:
        storage: the home.
        mode: the image mode.
        name: the recommender.
        configuration: {section: {setting: value}}, as in a model's manifest.
        code_version: version of the training code.
        splits: the current SPLITS.
        wanted: whether to start from a model at all.
    """
    if not wanted:
        return Start(None, None, "from scratch: warm_start is off")
    last = storage.newest_of(name, mode)
    if last is None:
        return Start(None, None, "from scratch: the mode's first model")
    manifest = last.manifest()
    different = differences(manifest.get("configuration", {}), configuration)
    held, known = _held_out(splits).num_rows, seen(splits, trained_on(last.path)).num_rows
    if digests.mismatched(last.path, manifest.get("files", {})):
        return Start(None, None, f"from scratch: the files of {last.run} are damaged (python -m pipeline.check)")
    if last.marked:
        return Start(None, None, f"from scratch: {last.run} learnt from data that has been erased since")
    if manifest.get("code_version") != code_version:
        obstacle = "by another version of the code"
    elif different:
        obstacle = f"with other {', '.join(different)}"
    elif known > MOST_SEEN * held:
        obstacle = f"on {known:,} of the {held:,} pairs that are held out now"
    else:
        return Start(last.path, last.run, f"from {last.run}; {known:,} of {held:,} pairs held out now were trained on")
    return Start(None, None, f"from scratch: {last.run} was trained {obstacle}")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the settings, as `section.name`, that differ between two configurations and rule out a warm start."""
    flat = [
        {f"{section}.{name}": value for section, values in found.items() for name, value in values.items()}
        for found in (before, now)
    ]
    ignored = {f"dvbpr.{name}" for name in MAY_CHANGE} | {"triplets.epochs"}
    names = sorted((set(flat[0]) | set(flat[1])) - ignored)
    return [name for name in names if flat[0].get(name) != flat[1].get(name)]


def keep_trained_on(folder: Path, splits: pa.Table, begun_from: Start) -> None:
    """Record, beside a model that starts from another, all pairs that it and its ancestors were trained on."""
    if begun_from.folder is None:
        return
    own = _train_pairs(splits)
    both = pa.concat_tables([trained_on(begun_from.folder), own]).group_by(PAIR).aggregate([])
    whole = both.select(PAIR).sort_by([(name, "ascending") for name in PAIR])
    write_whole(folder / TRAINED_ON, partial(pq.write_table, whole, compression="zstd"))


def trained_on(folder: Path) -> pa.Table:
    """Read the (user, item) pairs that the model in `folder` and its ancestors were trained on."""
    path = folder / TRAINED_ON
    return _pairs(pq.read_table(path)) if path.is_file() else _train_pairs(pq.read_table(folder / "splits.parquet"))


def seen(splits: pa.Table, trained: pa.Table) -> pa.Table:
    """Return the held-out rows of SPLITS whose pair is in `trained`; their score is meaningless.

    Pairs that have pictures in train because of `split_unit: image` do not count.
    """
    return _held_out(splits).join(trained, PAIR, join_type="left semi")


def _held_out(splits: pa.Table) -> pa.Table:
    held = splits.filter(pc.not_equal(splits["split"], "train"))
    return held.join(_train_pairs(splits), PAIR, join_type="left anti")


def _train_pairs(splits: pa.Table) -> pa.Table:
    return _pairs(splits.filter(pc.equal(splits["split"], "train")))


def _pairs(table: pa.Table) -> pa.Table:
    """Select the pair columns, so that tables from files, joins and groupings have the same schema."""
    return pa.table([table[name] for name in PAIR], names=PAIR)
