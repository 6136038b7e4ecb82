"""What the soak's homes are made of, and how two of them are compared."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.core.durable import TEMPORARY_SUFFIX
from pipeline.home import environment, instance
from pipeline.home.storage import CURRENT, IN_USE
from tests.pipeline.conftest import TINY, VARIABLES, small_catalogue

# The faults that a later run would rightly ask again, or that count how often they were asked.
STEADY = ("unavailable", "truncated", "hang", "busy_twice")
UNFINISHED = [dg.DagsterRunStatus[name] for name in ("NOT_STARTED", "QUEUED", "STARTING", "STARTED", "CANCELING")]


@dataclass(frozen=True)
class Shop:
    """A small shop whose picture server runs, and what a run on it needs in its environment."""

    folder: Path
    variables: dict[str, str]
    profile: Path = TINY

    def of(self, home: Path) -> dict[str, str]:
        """The environment of a process that works on `home`."""
        return {**self.variables, "ATELIER_HOME": str(home), "ATELIER_PROFILE": str(self.profile)}


@contextmanager
def opened(folder: Path) -> Iterator[Shop]:
    """Write the shop and serve its pictures until the block ends; in the same folder it is the same shop again."""
    from pipeline.sample import server
    from pipeline.sample.catalogue import write_catalogue

    faults = dict(server.FAULTS)
    server.FAULTS.update(dict.fromkeys(STEADY, 0.0))
    try:
        known = folder / "port"  # every URL of the shop names it
        settings = small_catalogue(**({"port": int(known.read_text())} if known.is_file() else {}))
        known.write_text(str(settings.port))
        catalogue = write_catalogue(folder / "catalogue", settings)
        variables = {
            **dict.fromkeys(VARIABLES, ""),
            "ATELIER_REVIEWS": str(catalogue.reviews),
            "ATELIER_PRODUCTS": str(catalogue.products),
            "ATELIER_ALLOW_HOSTS": f"{server.HOST}:{settings.port}",
            "ATELIER_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
        }
        with server.serve(catalogue.folder, settings.port):
            yield Shop(folder, variables)
    finally:
        server.FAULTS.update(faults)


def lost(home: Path, undisturbed: Path) -> list[str]:
    """What a home lacks of an undisturbed one: tables, models, pictures, and whatever is still open."""
    return [*differences(home, undisturbed), *left_open(home)]


def differences(home: Path, undisturbed: Path) -> list[str]:
    """The tables, models, banks and features that are not the undisturbed home's, row by row and number by number."""
    return [*_tables(home, undisturbed), *_models(home, undisturbed), *_arrays(home, undisturbed)]


def half_written(home: Path) -> set[Path]:
    """Files that their writers had not finished."""
    return set(home.rglob(f"*{TEMPORARY_SUFFIX}"))


def _tables(home: Path, undisturbed: Path) -> Iterator[str]:
    names = {path.relative_to(place / "tables") for place in (home, undisturbed) for path in _parquet(place)}
    for name in sorted(names):
        ours, theirs = (place / "tables" / name for place in (home, undisturbed))
        if not ours.is_file() or not theirs.is_file():
            yield f"table {name}: {'missing' if theirs.is_file() else 'only where it was killed'}"
            continue
        found, wanted = (_without_fetch_time(pq.read_table(path)) for path in (ours, theirs))
        if not found.equals(wanted):
            columns = [
                column
                for column in wanted.column_names
                if column not in found.column_names or not found[column].equals(wanted[column])
            ]
            yield f"table {name}: differs in {', '.join(columns)}"


def _parquet(home: Path) -> Iterator[Path]:
    return (home / "tables").rglob("*.parquet")


def _without_fetch_time(table: pa.Table) -> pa.Table:
    """Drop the time each URL was fetched, which differs between runs."""
    return table.drop_columns(["fetched_at"]) if "fetched_at" in table.column_names else table


def _models(home: Path, undisturbed: Path) -> Iterator[str]:
    for pointer in sorted([*undisturbed.glob(f"*/**/{CURRENT}"), *undisturbed.glob(f"*/**/{IN_USE}")]):
        place = pointer.relative_to(undisturbed)
        if not (home / place).is_file():
            yield f"{place}: missing"
        elif json.loads((home / place).read_text())["run"] != json.loads(pointer.read_text())["run"]:
            yield f"{place}: another model"


def _arrays(home: Path, undisturbed: Path) -> Iterator[str]:
    """Numbers: of trained models, of the bank, the features and the generator's pictures."""
    for path in sorted([*undisturbed.rglob("*.npz"), *undisturbed.rglob("*.npy"), *undisturbed.rglob("generator.pt")]):
        name = path.relative_to(undisturbed)
        if name.parts[0] not in ("recommender", "baselines", "generator", "bank", "features", "garments"):
            continue
        if not (home / name).is_file():
            yield f"{name}: missing"
        elif not _equal(_loaded(path), _loaded(home / name)):
            yield f"{name}: other numbers"


def _loaded(path: Path) -> Any:
    if path.suffix == ".pt":
        return torch.load(path, weights_only=True)
    found = np.load(path)
    return {name: found[name] for name in found.files} if path.suffix == ".npz" else found


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, (np.ndarray, torch.Tensor)):
        return np.array_equal(np.asarray(one), np.asarray(other))
    return one == other


def left_open(home: Path) -> list[str]:
    """Dagster runs that never end, pool slots that stay claimed, MLflow runs that stay RUNNING."""
    from mlflow.tracking import MlflowClient

    found = []
    with instance.open_instance(home) as opened:
        runs = opened.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        found += [f"Dagster run {run.run_id}: stays {run.status.value}" for run in runs]
        for pool in ("gpu", "network"):
            claimed = opened.event_log_storage.get_concurrency_info(pool).active_slot_count
            found += [f"pool {pool}: {claimed} slot(s) stay claimed"] if claimed else []
    address = environment.tracking_uri(home)
    if address.startswith("sqlite:///") and not Path(address.removeprefix("sqlite:///")).is_file():
        return found  # nothing was ever tracked
    client = MlflowClient(tracking_uri=address)
    for experiment in client.search_experiments():
        running = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
        found += [f"MLflow run {run.info.run_id}: stays RUNNING" for run in running]
    return found


def emptied(home: Path) -> Path:
    """The home, with nothing in it."""
    shutil.rmtree(home, ignore_errors=True)
    return home
