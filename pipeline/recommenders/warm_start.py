"""Choose the model that a recommender's training begins from, and keep its evaluation honest.

A model that began from another one was also trained on that model's pairs; they are recorded beside it.
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
TRAINED_ON = "trained_on.parquet"  # in the folder of a model that began from another: what its line was trained on
MOST_SEEN = 0.01  # share of the held-out pairs that the line may have been trained on


@dataclass(frozen=True)
class Start:
    """Where a training begins."""

    folder: Path | None  # of the model it goes on from; None: as new
    run: str | None  # that model's run
    why: str  # in words, either way


def start(
    storage: Storage, mode: str, configuration: Mapping[str, Any], code_version: str, splits: pa.Table, wanted: bool
) -> Start:
    """The mode's current model, where it was trained by the same configuration and code; otherwise none.

    Pairs that were trained on and are held out now (an item left, and the next one of its user took its place) would
    be known to the new model. Few are no reason to begin anew: they are not evaluated (`seen`). Many are: more than
    1 % of what is held out, as another split's would be.

    Args:
        storage: the home.
        mode: the image mode.
        configuration: all that was set, nested; as the manifest of a model keeps it.
        code_version: of the training code.
        splits: SPLITS, as they are now.
        wanted: whether to look for a model at all.
    """
    if not wanted:
        return Start(None, None, "as new: warm_start is off")
    if not (storage.parent("recommender", mode) / "current.json").is_file():
        return Start(None, None, "as new: the mode's first model")
    last = storage.current("recommender", mode)
    manifest = last.manifest()
    different = differences(manifest.get("configuration", {}), configuration)
    held, known = _held_out(splits).num_rows, seen(splits, trained_on(last.path)).num_rows
    if digests.mismatched(last.path, manifest.get("files", {})):
        return Start(None, None, f"as new: the files of {last.run} are damaged (python -m pipeline.check)")
    if last.marked:
        return Start(None, None, f"as new: {last.run} learnt from something that was erased since")
    if manifest.get("code_version") != code_version:
        obstacle = "by another version of the code"
    elif different:
        obstacle = f"with other {', '.join(different)}"
    elif known > MOST_SEEN * held:
        obstacle = f"on {known:,} of the {held:,} pairs that are held out now"
    else:
        return Start(last.path, last.run, f"from {last.run}; {known:,} of {held:,} pairs held out now were trained on")
    return Start(None, None, f"as new: {last.run} was trained {obstacle}")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings, as `section.name`, in which two configurations differ and which make another training."""
    flat = [
        {f"{section}.{name}": value for section, values in found.items() for name, value in values.items()}
        for found in (before, now)
    ]
    ignored = {f"dvbpr.{name}" for name in MAY_CHANGE} | {"triplets.epochs"}
    names = sorted((set(flat[0]) | set(flat[1])) - ignored)
    return [name for name in names if flat[0].get(name) != flat[1].get(name)]


def keep_trained_on(folder: Path, splits: pa.Table, begun_from: Start) -> None:
    """Write down, beside a model that goes on from another, all pairs that its line was trained on."""
    if begun_from.folder is None:
        return
    own = _of_train(splits)
    both = pa.concat_tables([trained_on(begun_from.folder), own]).group_by(PAIR).aggregate([])
    whole = both.select(PAIR).sort_by([(name, "ascending") for name in PAIR])
    write_whole(folder / TRAINED_ON, partial(pq.write_table, whole, compression="zstd"))


def trained_on(folder: Path) -> pa.Table:
    """The (user, item) pairs that the model in `folder`, and every model before it in its line, was trained on."""
    path = folder / TRAINED_ON
    return _pairs(pq.read_table(path)) if path.is_file() else _of_train(pq.read_table(folder / "splits.parquet"))


def seen(splits: pa.Table, trained: pa.Table) -> pa.Table:
    """The held-out rows of SPLITS whose pair is among those `trained` on: their score says nothing.

    A pair that has a picture in train by the split's own rule (`split_unit: image`) is not meant.
    """
    return _held_out(splits).join(trained, PAIR, join_type="left semi")


def _held_out(splits: pa.Table) -> pa.Table:
    held = splits.filter(pc.not_equal(splits["split"], "train"))
    return held.join(_of_train(splits), PAIR, join_type="left anti")


def _of_train(splits: pa.Table) -> pa.Table:
    return _pairs(splits.filter(pc.equal(splits["split"], "train")))


def _pairs(table: pa.Table) -> pa.Table:
    """Of one schema, whether a table came from a file, a join or a grouping."""
    return pa.table([table[name] for name in PAIR], names=PAIR)
