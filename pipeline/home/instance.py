"""The Dagster instance of a home: its folder, its configuration, and the record of the profile that ran there."""

import os
import shutil
import tempfile
from pathlib import Path

import dagster as dg

from pipeline.core.durable import held, write_whole
from pipeline.home import environment, place, sqlite_files
from pipeline.home.storage import write_json

CONFIGURATION = Path(__file__).with_name("dagster.yaml")
RECORD = "home.json"
MAKING = "making-"
# Dagster's SQLite files, besides one per run.
SQLITE = tuple(
    sqlite_files.DatabaseKind(path, main, frozenset({main, "alembic_version", *tables}), lost)
    for path, main, tables, lost in (
        ("history/runs.db", "runs", ("run_tags", "snapshots"), "the list of runs"),
        ("history/runs/index.db", "event_logs", ("asset_keys",), "which assets were materialised, and when"),
        ("schedules/schedules.db", "job_ticks", ("jobs", "instigators"), "ticks and cursors of sensors and schedules"),
    )
)
# Appended to the configuration if ATELIER_DATABASE is set; the address stays in the environment.
DATABASE = """
storage:
  postgres:
    postgres_url:
      env: ATELIER_DATABASE
"""


def prepare(home: Path) -> Path:
    """Make `home/dagster` the DAGSTER_HOME of this process, configured by the project's dagster.yaml.

    Raises:
        InputError: the home has a newer format, or one of its databases is unusable; the message says what to do.
    """
    home.mkdir(parents=True, exist_ok=True)
    place.bring_up_to_date(home.resolve(), environment.artifact_root(home.resolve()))
    folder = home / "dagster"
    folder.mkdir(exist_ok=True)
    text = CONFIGURATION.read_text()
    if environment.database():
        text += DATABASE
        os.environ["ATELIER_DATABASE"] = environment.database()
    path = folder / "dagster.yaml"
    with held(home / place.LOCK):
        if not path.is_file() or path.read_text() != text:  # servers may be reading it
            write_whole(path, lambda temporary: temporary.write_text(text))
        if not environment.database():
            _make_databases(folder)
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def _make_databases(folder: Path) -> None:
    """Create Dagster's missing SQLite files atomically, and repair those whose creation was interrupted."""
    for leftover in folder.glob(f"{MAKING}*"):  # of a killed process: the caller holds the lock
        shutil.rmtree(leftover)
    present = [kind for kind in SQLITE if (folder / kind.path).is_file()]
    unfinished = [kind for kind in present if not sqlite_files.is_complete(folder / kind.path, kind)]
    if len(present) == len(SQLITE) and not unfinished:
        return
    before = os.environ.get("DAGSTER_HOME")
    with tempfile.TemporaryDirectory(prefix=MAKING, dir=folder) as name:
        fresh = Path(name)
        (fresh / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        try:
            os.environ["DAGSTER_HOME"] = name
            with dg.DagsterInstance.get() as made:
                made.get_runs(limit=1)
        finally:
            os.environ.pop("DAGSTER_HOME")
            if before is not None:
                os.environ["DAGSTER_HOME"] = before
        for kind in unfinished:
            sqlite_files.repair_or_refuse(folder / kind.path, fresh / kind.path, kind)
        for kind in SQLITE:
            if not (folder / kind.path).is_file():
                sqlite_files.move_into_place(fresh / kind.path, folder / kind.path)


def open_instance(home: Path) -> dg.DagsterInstance:
    """Open the persistent instance of a home. Raises InputError as `prepare` does."""
    prepare(home)
    with held(home / place.LOCK):  # creates the tables of a PostgreSQL database
        return dg.DagsterInstance.get()


def remember(home: Path, **facts: str) -> None:
    """Record how the home was last run, for `make ui`."""
    with held(home / place.LOCK):
        write_json(home / RECORD, {**recall(home), **facts})


def recall(home: Path) -> dict[str, str]:
    """Read what `remember` recorded; empty for a new home."""
    import json

    path = home / RECORD
    return json.loads(path.read_text()) if path.is_file() else {}
