"""Train and measure one cell of a study: one model on one split and seed of one image mode.

Each cell has its own folder. A folder with a manifest is finished and is never written again.
"""

import dataclasses
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

from models.data.factors import Factors
from models.metrics.evaluate import evaluate
from pipeline.core import parquet as pq
from pipeline.core.durable import write_whole
from pipeline.core.errors import InputError
from pipeline.home.storage import MANIFEST, digest, write_json
from pipeline.recommenders.contract import FitProgress
from pipeline.runtime.provenance import commit
from pipeline.study.data import ModeData
from pipeline.study.entries import Entry, Task

FACTORS, PER_USER, WORK = "factors.npz", "per_user.parquet", "work-"
SHUFFLED = "~shuffled"  # suffix of the label of a model that is trained and measured on shuffled labels


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model, image mode, split and seed, and where its results are kept."""

    root: Path
    mode: str
    split: int
    seed: int
    entry: Entry
    shuffled: bool = False

    @property
    def label(self) -> str:
        """Return the model's name in folders and tables."""
        return self.entry.label + (SHUFFLED if self.shuffled else "")

    @property
    def folder(self) -> Path:
        """Return the cell's folder."""
        return self.root / self.mode / f"split-{self.split}" / f"seed-{self.seed}" / self.label

    @property
    def finished(self) -> bool:
        """Whether the cell is finished: its manifest is written last."""
        return (self.folder / MANIFEST).is_file()

    def manifest(self) -> dict[str, Any]:
        """Read the manifest of a finished cell."""
        return json.loads((self.folder / MANIFEST).read_text())

    def differences(self, inputs: dict[str, str], evaluation: dict[str, Any]) -> list[str]:
        """List where a finished cell differs from what this call would make, as `field: there, here`."""
        manifest = self.manifest()
        here = {"inputs": inputs, "settings": self.entry.plain(), "evaluation": evaluation}
        return [
            f"{part}.{name}: {manifest[part].get(name)} there, {value} here"
            for part, values in here.items()
            for name, value in json.loads(json.dumps(values, default=str)).items()
            if manifest[part].get(name) != value
        ]

    def task(self, data: ModeData, device: torch.device, home: Path, report: Callable[[FitProgress], None]) -> Task:
        """Prepare the training. The folder of its checkpoints is used by these settings and data only."""
        work = self.folder / f"{WORK}{digest(self.entry.plain(), data.inputs)}"
        return Task(data, self.entry.triplets, self.seed, work, device, home, report)


def run(cell: Cell, task: Task, evaluation: dict[str, Any]) -> dict[str, Any]:
    """Train, measure and store one cell; return its manifest.

    An interrupted training continues from its checkpoint, or starts again if its model has none. Checkpoints are
    deleted at the end: the factors are the model, and a study has many cells.

    Raises:
        InputError: the cell is already finished.
    """
    if cell.finished:
        raise InputError(f"{cell.folder} is finished: a study never overwrites a cell.")
    for other in cell.folder.glob(f"{WORK}*"):
        if other != task.folder:
            shutil.rmtree(other)
    task.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    fitted = task.fit(cell.entry)
    assert isinstance(fitted.model, Factors)
    trained = time.monotonic()
    fitted.model.save(cell.folder / FACTORS)
    table = measured(fitted.model, task.data, evaluation["seed"], task.device)
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
        "notes": fitted.details,
    }
    write_json(cell.folder / MANIFEST, manifest)
    return manifest


def validation_auc(table: pa.Table) -> float:
    """Average the AUC over validation users: the only figure of a cell shown before the report."""
    rows = table.filter(pc.equal(table["part"], "validation"))
    return float(np.mean(rows["auc"].to_numpy())) if rows.num_rows else float("nan")


def measured(factors: Factors, data: ModeData, seed: int, device: torch.device) -> pa.Table:
    """Compute all metrics of the validation and test items, one row per (user, part), with global ids."""
    pairs, parts = data.arrays.pairs, []
    for part, remaining in (("validation", "test"), ("test", "validation")):
        given = factors, pairs[part], pairs["train"], pairs[remaining]
        metrics = evaluate(*given, category=data.types, seed=seed, device=device)
        ranked = np.isfinite(metrics.auc)  # a user who has touched every item has nothing to rank
        columns = {field.name: getattr(metrics, field.name) for field in dataclasses.fields(metrics)}
        columns["user"] = data.arrays.users[metrics.user]
        flat = {name: values[ranked] for name, values in columns.items() if np.ndim(values) == 1}
        parts.append(pa.table({"part": pa.array([part] * int(ranked.sum()), pa.string()), **flat}))
    return pa.concat_tables(parts)
