"""What a start does about the last end: runs whose process was killed are closed, and what they held is given back.

Done by every command that runs assets and by `make ui`, before anything else; while the daemon runs, it does the same
through `launcher.py`, and the sensor here closes the MLflow runs. Data needs no mending: tables, checkpoints and models
appear whole or not at all, so the next run goes on from them.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from pipeline.core.durable import TEMPORARY_SUFFIX, is_abandoned
from pipeline.tracking import Tracker
from pipeline.upkeep import tracked_ends
from pipeline.upkeep.workers import Life, life

# NOT_STARTED: a command that is killed between making its run and starting it leaves that.
UNFINISHED = tuple(dg.DagsterRunStatus[name] for name in ("NOT_STARTED", "STARTING", "STARTED", "CANCELING"))
# Folders of the home in which files are written beside their place first.
WRITTEN = (
    "tables",
    "staged",
    "pictures",
    "bank",
    "features",
    "garments",
    "recommender",
    "baselines",
    "generator",
    "lookbook",
)
ABANDONED_AFTER = 3600  # seconds: a writer that lives renames its file long before


@dataclass(frozen=True)
class Recovered:
    """What was closed, freed and removed."""

    runs: tuple[str, ...] = ()
    slots: int = 0
    tracked: int = 0
    files: int = 0

    def __str__(self) -> str:
        told = [
            f"{len(self.runs)} {_runs(self.runs)} of a killed process marked failed" if self.runs else "",
            f"{self.slots} pool {'slot' if self.slots == 1 else 'slots'} freed" if self.slots else "",
            f"{self.tracked} MLflow {_runs(range(self.tracked))} closed" if self.tracked else "",
            f"{self.files} half-written {'file' if self.files == 1 else 'files'} removed" if self.files else "",
        ]
        return "; ".join(filter(None, told))


def _runs(some: Iterable[object]) -> str:
    return "run" if len(list(some)) == 1 else "runs"


def recover(instance: dg.DagsterInstance, home: Path, tracker: Tracker) -> Recovered:
    """Close what killed processes left open. Cut off itself, the next call does the rest."""
    runs = instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)))
    gone = [run for run in runs if life(instance, run) is Life.GONE]
    tracked = 0
    if gone:  # before the runs are closed, by which they are found; MLflow costs seconds, so only then
        ids = {run.run_id for run in gone}
        tracked = tracked_ends.close(tracker, lambda run_id: run_id in ids or _finished(instance, run_id))
    for run in gone:
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "Its process is gone.")
        else:
            instance.report_run_failed(run, "Its process is gone: killed, or the machine stopped.")
    return Recovered(tuple(run.run_id for run in gone), _free_slots(instance), tracked, _sweep(home))


def _finished(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


def _free_slots(instance: dg.DagsterInstance) -> int:
    """Free the pool slots of runs that have ended; how many runs held one."""
    storage = instance.event_log_storage
    held = [run_id for run_id in storage.get_concurrency_run_ids() if _finished(instance, run_id)]
    for run_id in held:
        storage.free_concurrency_slots_for_run(run_id)
    return len(held)


def _sweep(home: Path) -> int:
    """Remove what killed writers left beside the files they were about to replace."""
    old = time.time() - ABANDONED_AFTER
    found = 0
    for folder in WRITTEN:
        for path in (home / folder).rglob(f"*{TEMPORARY_SUFFIX}"):
            try:
                if path.is_file() and path.stat().st_mtime < old and is_abandoned(path):
                    path.unlink()
                    found += 1
            except FileNotFoundError:  # its writer was alive, and has renamed it
                continue
    return found


@dg.run_failure_sensor(
    name="close_tracked_runs",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A step that was killed could not close its MLflow run; this does.",
)
def close_tracked_runs(context: dg.RunFailureSensorContext, tracker: Tracker) -> None:
    """Close what a failed Dagster run left RUNNING in MLflow."""
    failed = context.dagster_run.run_id
    closed = tracked_ends.close(tracker, lambda run_id: run_id == failed)
    if closed:
        context.log.info(f"{closed} MLflow run(s) of {failed} closed")
