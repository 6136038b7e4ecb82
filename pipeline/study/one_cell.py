"""One cell of a study: a model trained and measured on one split and seed of one image mode, in a folder of its own.

A folder with a manifest is finished and is never written again. Which cells there are is `study.py`, what they say
together `study_report.py`.
"""

import dataclasses
import inspect
import json
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from models.evaluate import evaluate
from models.factors import Factors
from pipeline.core import parquet as pq
from pipeline.core.durable import write_whole
from pipeline.core.raw.sources import BadInput
from pipeline.provenance import commit
from pipeline.storage import MANIFEST, digest, write_json
from pipeline.study.contenders import Entry, Step, Task
from pipeline.study.data import ModeData

FACTORS, PER_USER, WORK = "factors.npz", "per_user.parquet", "work-"
SHUFFLED = "~shuffled"  # ends the label of a model that was trained and measured on shuffled labels


@dataclasses.dataclass(frozen=True)
class Cell:
    """What is trained on what, and where it is kept."""

    root: Path
    mode: str
    split: int
    seed: int
    entry: Entry
    shuffled: bool = False

    @property
    def label(self) -> str:
        """The model's name in folders and tables."""
        return self.entry.label + (SHUFFLED if self.shuffled else "")

    @property
    def folder(self) -> Path:
        """Its own folder."""
        return self.root / self.mode / f"split-{self.split}" / f"seed-{self.seed}" / self.label

    @property
    def finished(self) -> bool:
        """Whether it is done: the manifest is written last."""
        return (self.folder / MANIFEST).is_file()

    def manifest(self) -> dict[str, Any]:
        """What made it."""
        return json.loads((self.folder / MANIFEST).read_text())

    def differences(self, inputs: dict[str, str], evaluation: dict[str, Any]) -> list[str]:
        """In what a finished cell differs from what this call would make: `field: there, here`."""
        made = self.manifest()
        here = {"inputs": inputs, "settings": self.entry.plain(), "evaluation": evaluation}
        return [
            f"{part}.{name}: {made[part].get(name)} there, {value} here"
            for part, values in here.items()
            for name, value in json.loads(json.dumps(values, default=str)).items()
            if made[part].get(name) != value
        ]

    def task(self, data: ModeData, device: torch.device, home: Path, report: Callable[[Step], None]) -> Task:
        """What its training is given. Checkpoints lie in a folder that these settings and data alone use."""
        work = self.folder / f"{WORK}{digest(self.entry.plain(), data.inputs)}"
        return Task(data, self.entry.triplets, self.seed, work, device, home, report)


def run(cell: Cell, task: Task, evaluation: dict[str, Any]) -> dict[str, Any]:
    """Train, measure and keep one cell; its manifest.

    A training that was cut off goes on if its loop can, and starts again if not. Checkpoints are not kept: the
    factors are the model, and a study has many.

    Raises:
        BadInput: the cell is finished already.
    """
    if cell.finished:
        raise BadInput(f"{cell.folder} is finished: nothing in a study is written twice.")
    for other in cell.folder.glob(f"{WORK}*"):
        if other != task.folder:
            shutil.rmtree(other)
    task.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    fitted = cell.entry.contender.fit(task, cell.entry.settings)
    trained = time.monotonic()
    fitted.factors.save(cell.folder / FACTORS)
    table = measured(fitted.factors, task.data, evaluation["seed"], task.device)
    write_whole(cell.folder / PER_USER, partial(pq.write_table, table, compression="zstd"))
    shutil.rmtree(task.folder)
    manifest = {
        "model": cell.label,
        "image_mode": cell.mode,
        "split": cell.split,
        "seed": cell.seed,
        "shuffled": cell.shuffled,
        "settings": cell.entry.plain(),
        "inputs": task.data.inputs,
        "evaluation": evaluation,
        "users": len(task.data.arrays.users),
        "items": len(task.data.arrays.items),
        "images": len(task.data.arrays.image_item),
        "validation_auc": validation_auc(table),
        "seconds": round(time.monotonic() - started, 2),
        "training_seconds": round(trained - started, 2),
        "device": str(task.device),
        "code": commit(),
        "notes": fitted.notes,
    }
    write_json(cell.folder / MANIFEST, manifest)
    return manifest


def validation_auc(table: pa.Table) -> float:
    """The mean over validation users: all that is said of a cell before the report."""
    rows = table.filter(pc.equal(table["part"], "validation"))
    return float(np.mean(rows["auc"].to_numpy())) if rows.num_rows else float("nan")


def measured(factors: Factors, data: ModeData, seed: int, device: torch.device) -> pa.Table:
    """Every metric there is of every held-out item, validation and test, a row a (user, part); ids are global."""
    # Within the product type where `evaluate` can.
    more = {"category": data.types} if "category" in inspect.signature(evaluate).parameters else {}
    pairs, parts = data.arrays.pairs, []
    for part, remaining in (("validation", "test"), ("test", "validation")):
        found = evaluate(factors, pairs[part], pairs["train"], pairs[remaining], seed=seed, device=device, **more)
        there = np.isfinite(found.auc)  # a user who has touched everything has nothing to rank
        columns = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
        columns |= {"user": data.arrays.users[found.user], "item": data.arrays.items[found.item]}
        flat = {name: values[there] for name, values in columns.items() if np.ndim(values) == 1}
        parts.append(pa.table({"part": pa.array([part] * int(there.sum()), pa.string()), **flat}))
    return pa.concat_tables(parts)
