"""Train and measure one cell of a study: one model on one split and seed of one protocol and image mode.

Each cell has its own folder. A folder with a manifest is finished and is never written again. A folder with the reason
why its model was skipped is tried again.
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from models.data.factors import Factors
from models.metrics import diversity
from models.metrics.evaluate import PerUser, evaluate
from models.metrics.scoring import ScoringModel
from pipeline.core import parquet as pq
from pipeline.core.dataset.split_facts import split_facts
from pipeline.core.durable import write_whole
from pipeline.core.errors import InputError
from pipeline.home.storage import MANIFEST, digest, write_json
from pipeline.recommenders.contract import FitProgress, Fitted
from pipeline.recommenders.with_prior import WithPriorRecommender
from pipeline.runtime.provenance import commit
from pipeline.study.data import ModeData
from pipeline.study.entries import Entry, Task
from pipeline.study.weeks import WeekAfter

FACTORS, IDS, PER_USER, SKIPPED, WORK = "factors.npz", "ids.npz", "per_user.parquet", "skipped.json", "work-"
SHUFFLED = "~shuffled"  # suffix of the label of a model that is trained and measured on shuffled labels


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model, protocol, image mode, split and seed, and where its results are kept."""

    root: Path
    protocol: str
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
        of_split = self.root / self.protocol / self.mode / f"split-{self.split}"
        return of_split / f"seed-{self.seed}" / self.label.replace("/", "_")

    @property
    def title(self) -> str:
        """Name the cell in progress and error messages."""
        return f"{self.protocol} {self.mode} split {self.split} seed {self.seed} {self.label}"

    @property
    def finished(self) -> bool:
        """Whether the cell is finished: its manifest is written last."""
        return (self.folder / MANIFEST).is_file()

    def manifest(self) -> dict[str, Any]:
        """Read the manifest of a finished cell."""
        return json.loads((self.folder / MANIFEST).read_text())

    def without_prior(self) -> "Cell | None":
        """Return the cell of the same model without the prior; None if it has none to be left out."""
        if not isinstance(self.entry.recommender, WithPriorRecommender):
            return None
        inner, (_, *changes) = self.entry.recommender.inner, self.entry.label.split("+")
        return dataclasses.replace(
            self, entry=dataclasses.replace(self.entry, label="+".join([inner.name, *changes]), recommender=inner)
        )

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


def run(cell: Cell, task: Task, evaluation: dict[str, Any], weeks: Sequence[WeekAfter] = ()) -> dict[str, Any]:
    """Train, measure and store one cell; return its manifest.

    An interrupted training continues from its checkpoint, or starts again if its model has none. Checkpoints are
    deleted at the end: the factors are the model, and a study has many cells. A model that is not factors may have a
    figure for every two items, and is not kept.

    Args:
        cell: the cell.
        task: its training.
        evaluation: the settings by which it is split and measured.
        weeks: measure test by the weeks after the cut instead of as a whole.

    Raises:
        InputError: the cell is already finished.
        NotApplicableError: the model cannot be trained on this data or machine.
    """
    if cell.finished:
        raise InputError(f"{cell.folder} is finished: a study never overwrites a cell.")
    for other in cell.folder.glob(f"{WORK}*"):
        if other != task.folder:
            shutil.rmtree(other)
    task.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    fitted, before = _fitted(cell, task, evaluation)
    trained = time.monotonic()
    if isinstance(fitted.model, Factors):
        fitted.model.save(cell.folder / FACTORS)
    else:  # an erasure looks for them
        np.savez(cell.folder / IDS, users=task.data.arrays.users, items=task.data.arrays.items)
    table, lists = measured(fitted.model, task.data, evaluation["seed"], task.device, weeks)
    write_whole(cell.folder / PER_USER, partial(pq.write_table, table, compression="zstd"))
    shutil.rmtree(task.folder)
    manifest = {
        "model": cell.label,
        "protocol": cell.protocol,
        "image_mode": cell.mode,
        "split": cell.split,
        "seed": cell.seed,
        "shuffled": cell.shuffled,
        "settings": cell.entry.plain(),
        "inputs": task.data.inputs,
        "evaluation": evaluation,
        "split_facts": split_facts(task.data.splits),
        "users": len(task.data.arrays.users),
        "items": len(task.data.arrays.items),
        "images": len(task.data.arrays.image_item),
        "weeks": [week.facts() for week in weeks],
        "lists": lists,
        "validation_auc": validation_auc(table),
        "seconds": round(time.monotonic() - started + before, 2),
        "training_seconds": round(trained - started + before, 2),
        "device": str(task.device),
        "code": commit(),
        "selected_by": fitted.selected_by,
        "notes": fitted.details,
    }
    write_json(cell.folder / MANIFEST, manifest)
    (cell.folder / SKIPPED).unlink(missing_ok=True)
    return manifest


def _fitted(cell: Cell, task: Task, evaluation: dict[str, Any]) -> tuple[Fitted, float]:
    """Train a cell's model; return it with the seconds that an earlier cell spent on it.

    A model with the prior is made from that of the finished cell without the prior, if it is kept and was made from the
    same inputs and settings.
    """
    inner, recommender = cell.without_prior(), cell.entry.recommender
    if (
        inner is None
        or not isinstance(recommender, WithPriorRecommender)
        or not inner.finished
        or inner.differences(task.data.inputs, evaluation)
        or not (inner.folder / FACTORS).is_file()
    ):
        return task.fit(cell.entry), 0.0
    made = inner.manifest()
    fitted = Fitted(Factors.load(inner.folder / FACTORS), details=made["notes"], selected_by=made["selected_by"])
    return recommender.added(fitted, task.data.dataset()), made["training_seconds"]


def skip(cell: Cell, reason: str) -> None:
    """Record why the cell's model cannot be trained here, for the report."""
    keys = {"model": cell.label, "protocol": cell.protocol, "image_mode": cell.mode, "split": cell.split}
    cell.folder.mkdir(parents=True, exist_ok=True)
    for work in cell.folder.glob(f"{WORK}*"):
        shutil.rmtree(work)
    write_json(cell.folder / SKIPPED, {**keys, "seed": cell.seed, "reason": reason})


def validation_auc(table: pa.Table) -> float:
    """Average the AUC over validation users: the only figure of a cell shown before the report."""
    rows = table.filter(pc.equal(table["part"], "validation"))
    return float(np.mean(rows["auc"].to_numpy())) if rows.num_rows else float("nan")


def measured(
    model: ScoringModel, data: ModeData, seed: int, device: torch.device, weeks: Sequence[WeekAfter] = ()
) -> tuple[pa.Table, dict[str, float]]:
    """Compute all metrics of validation and test, and those of all test lists together.

    Returns one row per user and part, with global ids, and {coverage_at_10, gini_at_10}. With `weeks`, test has a row
    per user and week, with its `age`; the other weeks' purchases are no candidates, so models with different cuts rank
    the same items.
    """
    pairs = data.arrays.pairs
    parts = [("validation", 0, pairs["validation"], pairs["test"])]
    parts += [("test", 0, pairs["test"], pairs["validation"])] if not weeks else []
    for week in weeks:
        others = [pairs["validation"], *(other.pairs for other in weeks if other is not week)]
        parts += [("test", week.age, week.pairs, np.concatenate(others))]
    tables, lists = [], {}
    for part, age, held, others in parts:
        metrics = evaluate(model, held, pairs["train"], others, category=data.types, seed=seed, device=device)
        tables.append(_table(metrics, data, part, age if weeks else None))
        if part == "test" and age <= 1:
            shown, items = metrics.recommended[np.isfinite(metrics.auc)], len(data.arrays.items)
            lists = {"coverage_at_10": diversity.coverage(shown, items), "gini_at_10": diversity.gini(shown, items)}
    return pa.concat_tables(tables), lists


def _table(metrics: PerUser, data: ModeData, part: str, age: int | None) -> pa.Table:
    """Convert metrics to rows with global ids; skip users with nothing to rank, who have touched every item."""
    ranked = np.isfinite(metrics.auc)
    columns = {field.name: getattr(metrics, field.name) for field in dataclasses.fields(metrics)}
    columns |= {"user": data.arrays.users[metrics.user]}
    flat = {name: values[ranked] for name, values in columns.items() if np.ndim(values) == 1}
    count = int(ranked.sum())
    keys = {"part": pa.array([part] * count, pa.string())}
    keys |= {} if age is None else {"age": pa.array([age] * count, pa.int16())}
    return pa.table({**keys, **flat})
