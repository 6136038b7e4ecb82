"""Close the runs of killed processes at start-up, and free what they held.

Every command that runs assets and `make ui` do this first. While the daemon runs, `launcher.py` lets it do the same,
and the sensor here closes the MLflow runs. Data needs no repair: files appear whole or not at all.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from pipeline.core.durable import TEMPORARY_SUFFIX, is_abandoned
from pipeline.home.storage import Storage
from pipeline.runtime.tracking import Tracker
from pipeline.upkeep import mlflow_records
from pipeline.upkeep.former_keys import carry_over
from pipeline.upkeep.workers import Liveness, liveness

# A command that is killed between making its run and starting it leaves a run NOT_STARTED.
UNFINISHED = tuple(dg.DagsterRunStatus[name] for name in ("NOT_STARTED", "STARTING", "STARTED", "CANCELING"))
# Folders of the home whose files are written under a temporary name and then renamed.
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
ABANDONED_AFTER = 3600  # seconds; a living writer renames its file long before


@dataclass(frozen=True)
class Recovered:
    """Counts of what was closed, freed and removed."""

    runs: tuple[str, ...] = ()
    slots: int = 0
    tracked: int = 0  # MLflow runs
    files: int = 0

    def __str__(self) -> str:
        parts = [
            f"{len(self.runs)} {_runs(self.runs)} of a killed process marked failed" if self.runs else "",
            f"{self.slots} pool {'slot' if self.slots == 1 else 'slots'} freed" if self.slots else "",
            f"{self.tracked} MLflow {_runs(range(self.tracked))} closed" if self.tracked else "",
            f"{self.files} half-written {'file' if self.files == 1 else 'files'} removed" if self.files else "",
        ]
        return "; ".join(filter(None, parts))


def _runs(some: Iterable[object]) -> str:
    return "run" if len(list(some)) == 1 else "runs"


def recover(instance: dg.DagsterInstance, home: Path, tracker: Tracker) -> Recovered:
    """Close what killed processes left open. If it is interrupted, the next call does the rest.

    Models that an earlier version trained under another key get their own (`former_keys.py`).
    """
    carry_over(instance, Storage(root=str(home)))
    runs = instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)))
    gone = [run for run in runs if liveness(instance, run) is Liveness.GONE]
    tracked = 0
    if gone:  # MLflow's runs first, since they are found by the open Dagster runs; importing MLflow costs seconds
        ids = {run.run_id for run in gone}
        tracked = mlflow_records.close(tracker, lambda run_id: run_id in ids or _finished(instance, run_id))
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
    """Free the pool slots of runs that have ended; return the number of those runs."""
    storage = instance.event_log_storage
    held = [run_id for run_id in storage.get_concurrency_run_ids() if _finished(instance, run_id)]
    for run_id in held:
        storage.free_concurrency_slots_for_run(run_id)
    return len(held)


def _sweep(home: Path) -> int:
    """Remove the temporary files that killed writers left; return their number."""
    old = time.time() - ABANDONED_AFTER
    removed = 0
    for folder in WRITTEN:
        for path in (home / folder).rglob(f"*{TEMPORARY_SUFFIX}"):
            try:
                if path.is_file() and path.stat().st_mtime < old and is_abandoned(path):
                    path.unlink()
                    removed += 1
            except FileNotFoundError:  # a living writer has renamed it
                continue
    return removed


@dg.run_failure_sensor(
    name="close_tracked_runs",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Closes the MLflow run of a step that was killed.",
)
def close_tracked_runs(context: dg.RunFailureSensorContext, tracker: Tracker) -> None:
    """Close the MLflow runs that a failed Dagster run left RUNNING."""
    failed = context.dagster_run.run_id
    closed = mlflow_records.close(tracker, lambda run_id: run_id == failed)
    if closed:
        context.log.info(f"{closed} MLflow run(s) of {failed} closed")
