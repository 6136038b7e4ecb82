"""Find out from Dagster's records what became of a requested drop: its run, and the ingest that followed."""

from collections.abc import Iterable
from datetime import datetime

import dagster as dg

from pipeline.core.quoting import printable
from pipeline.upkeep.drops import INGEST, OBSERVE, Drop, DropStatus, Outcome

DROP = "atelier/drop"  # tag of a run: the id of the drop that requested it
INGEST_JOBS = ("everything", "read_again")  # they make the tables when no assets are selected
TABLE, SOURCES = dg.AssetKey("reviews"), ("raw_reviews", "raw_products", "garment_rules")
INPUT_VERSION = "dagster/input_data_version/"  # tag prefix of a materialisation: the version of each input
UNSUCCESSFUL = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
IN_PROGRESS = [
    dg.DagsterRunStatus[name] for name in ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING", "MANAGED")
]


def outcome(instance: dg.DagsterInstance, drop: Drop) -> Outcome:
    """Find out how far a drop has come. It is done when it was observed and any ingest of the home followed."""
    found = instance.get_run_records(dg.RunsFilter(tags={DROP: drop.id}), limit=1)  # the newest, since Dagster retries
    run = found[0].dagster_run if found else None
    if run is None or run.status in IN_PROGRESS:
        return Outcome(DropStatus.NEVER_STARTED if run is None else DropStatus.RUNNING)
    if run.status in UNSUCCESSFUL:
        return Outcome(DropStatus.FAILED, error_of(instance, run), INGEST if _makes_tables(run) else OBSERVE)
    if _ingested(instance):
        return Outcome(DropStatus.DONE)
    return _ingest_outcome(instance, found[0].create_timestamp)


def _ingest_outcome(instance: dg.DagsterInstance, since: datetime) -> Outcome:
    """Find out what became of an ingest that is behind, since the observation."""
    if any(map(_makes_tables, _runs(instance, dg.RunsFilter(statuses=IN_PROGRESS)))):
        return Outcome(DropStatus.RUNNING)
    ended = dg.RunsFilter(statuses=[*UNSUCCESSFUL, dg.DagsterRunStatus.SUCCESS])
    for record in instance.get_run_records(ended, limit=100):
        run = record.dagster_run
        if _makes_tables(run):
            if run.status is dg.DagsterRunStatus.SUCCESS:
                break
            if record.create_timestamp > since:
                return Outcome(DropStatus.FAILED, error_of(instance, run), INGEST)
            # It failed before, perhaps from the same versions, which the automation does not request again.
            return Outcome(DropStatus.WAITING, error_of(instance, run), INGEST)
    return Outcome(DropStatus.WAITING)


def error_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return the message of the step that failed, in one line."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED}
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.dagster_event
        error = event.step_failure_data.error if event is not None and event.is_step_failure else None
        while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
            error = error.cause  # Dagster's wrapper; the error inside names the file
        if error is not None:
            kind, _, text = error.message.strip().partition(": ")
            has_class_name = text and kind.split(".")[-1] == error.cls_name
            return printable(text if has_class_name else error.message.strip(), 1000)
    return "its process is gone" if run.status is dg.DagsterRunStatus.FAILURE else "it was cancelled"


def _ingested(instance: dg.DagsterInstance) -> bool:
    """Return whether the tables are made from the sources' present versions; True if there never were tables."""
    made = instance.get_latest_materialization_event(TABLE)
    if made is None or made.asset_materialization is None:
        return True
    products = instance.get_latest_materialization_event(dg.AssetKey("products"))
    tags = dict(made.asset_materialization.tags or {})
    if products is not None and products.asset_materialization is not None:
        tags |= products.asset_materialization.tags or {}
    for source in SOURCES:
        latest = instance.fetch_observations(dg.AssetKey(source), limit=1).records
        version = latest[0].asset_observation.data_version if latest and latest[0].asset_observation else None
        if version is not None and tags.get(INPUT_VERSION + source) != version:
            return False
    return True


def _makes_tables(run: dg.DagsterRun) -> bool:
    return TABLE in run.asset_selection if run.asset_selection else run.job_name in INGEST_JOBS


def _runs(instance: dg.DagsterInstance, which: dg.RunsFilter) -> Iterable[dg.DagsterRun]:
    return instance.get_runs(which, limit=100)
