"""What the soak's homes are made of, and how two of them are compared."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow.parquet as pq

from pipeline import environment, instance
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
    """Write the shop and serve its pictures until the block ends."""
    from pipeline.sample import server
    from pipeline.sample.catalogue import write_catalogue

    faults = dict(server.FAULTS)
    server.FAULTS.update(dict.fromkeys(STEADY, 0.0))
    try:
        settings = small_catalogue()
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
    """What a home lacks of an undisturbed one: tables, models, and whatever is still open."""
    return [*_tables(home, undisturbed), *_models(home, undisturbed), *left_open(home)]


def _tables(home: Path, undisturbed: Path) -> Iterator[str]:
    for path in sorted((undisturbed / "tables").rglob("*.parquet")):
        name = path.relative_to(undisturbed / "tables")
        other = home / "tables" / name
        if not other.is_file():
            yield f"table {name}: missing"
            continue
        ours, theirs = pq.read_table(other), pq.read_table(path)
        if "fetched_at" in theirs.column_names:  # when a URL was fetched is another moment in every run
            ours, theirs = ours.drop_columns(["fetched_at"]), theirs.drop_columns(["fetched_at"])
        if not ours.equals(theirs):
            columns = [
                column
                for column in theirs.column_names
                if column not in ours.column_names or not ours[column].equals(theirs[column])
            ]
            yield f"table {name}: differs in {', '.join(columns)}"


def _models(home: Path, undisturbed: Path) -> Iterator[str]:
    for pointer in sorted(undisturbed.glob("*/**/current.json")):
        place = pointer.relative_to(undisturbed)
        if not (home / place).is_file():
            yield f"model {place.parent}: missing"
            continue
        run = json.loads(pointer.read_text())["run"]
        if json.loads((home / place).read_text())["run"] != run:
            yield f"model {place.parent}: another one is current"
            continue
        for factors in sorted((pointer.parent / run).rglob("factors.npz")):
            with np.load(factors) as theirs, np.load(home / factors.relative_to(undisturbed)) as ours:
                if any(not np.array_equal(theirs[name], ours[name]) for name in theirs.files):
                    yield f"model {factors.parent.relative_to(undisturbed)}: other factors"


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
