"""What came of a drop that was asked for, by Dagster's own record: its run, and the ingest that followed from it."""

from collections.abc import Iterable
from datetime import datetime

import dagster as dg

from pipeline.core.quoting import printable
from pipeline.upkeep.drops import INGEST, OBSERVE, Drop, End, Outcome

DROP = "atelier/drop"  # the tag of a run that a drop was asked for with
MAKE_TABLES = ("everything", "read_again")  # jobs that do where no assets were selected
TABLE, SOURCES = dg.AssetKey("reviews"), ("raw_reviews", "raw_products", "garment_rules")
INPUT_VERSION = "dagster/input_data_version/"  # of a materialisation: which version of an input it was made from
ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
AT_WORK = [
    dg.DagsterRunStatus[name] for name in ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING", "MANAGED")
]


def outcome(instance: dg.DagsterInstance, drop: Drop) -> Outcome:
    """How far it has come: read means looked at, and ingested where the home has an ingest that follows."""
    found = instance.get_run_records(dg.RunsFilter(tags={DROP: drop.id}), limit=1)  # the newest: Dagster retries
    run = found[0].dagster_run if found else None
    if run is None or run.status in AT_WORK:
        return Outcome(End.LOST if run is None else End.RUNNING)
    if run.status in ENDED_BADLY:
        return Outcome(End.FAILED, error_of(instance, run), INGEST if _makes_tables(run) else OBSERVE)
    if _ingested(instance):
        return Outcome(End.WELL)
    return _of_the_ingest(instance, found[0].create_timestamp)


def _of_the_ingest(instance: dg.DagsterInstance, since: datetime) -> Outcome:
    """What came of it since the sources were looked at; it is behind."""
    if any(map(_makes_tables, _runs(instance, dg.RunsFilter(statuses=AT_WORK)))):
        return Outcome(End.RUNNING)
    ended = dg.RunsFilter(statuses=[*ENDED_BADLY, dg.DagsterRunStatus.SUCCESS])
    for record in instance.get_run_records(ended, limit=100):
        run = record.dagster_run
        if _makes_tables(run):
            if run.status is dg.DagsterRunStatus.SUCCESS:
                break
            if record.create_timestamp > since:
                return Outcome(End.FAILED, error_of(instance, run), INGEST)
            # It failed before, perhaps from these very versions, from which the automation asks no second time.
            return Outcome(End.WAITING, error_of(instance, run), INGEST)
    return Outcome(End.WAITING)


def error_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Why a run failed, in the words of the step that did, in one line."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED}
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.dagster_event
        error = event.step_failure_data.error if event is not None and event.is_step_failure else None
        while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
            error = error.cause  # Dagster's wrapping; what it wraps names the file
        if error is not None:
            kind, _, said = error.message.strip().partition(": ")
            ours = said and kind.split(".")[-1] == error.cls_name
            return printable(said if ours else error.message.strip(), 1000)
    return "its process is gone" if run.status is dg.DagsterRunStatus.FAILURE else "it was cancelled"


def _ingested(instance: dg.DagsterInstance) -> bool:
    """Whether the tables are made from what the sources are now; so they are where there never were any."""
    made = instance.get_latest_materialization_event(TABLE)
    if made is None or made.asset_materialization is None:
        return True
    products = instance.get_latest_materialization_event(dg.AssetKey("products"))
    tags = dict(made.asset_materialization.tags or {})
    if products is not None and products.asset_materialization is not None:
        tags |= products.asset_materialization.tags or {}
    for source in SOURCES:
        seen = instance.fetch_observations(dg.AssetKey(source), limit=1).records
        version = seen[0].asset_observation.data_version if seen and seen[0].asset_observation else None
        if version is not None and tags.get(INPUT_VERSION + source) != version:
            return False
    return True


def _makes_tables(run: dg.DagsterRun) -> bool:
    return TABLE in run.asset_selection if run.asset_selection else run.job_name in MAKE_TABLES


def _runs(instance: dg.DagsterInstance, which: dg.RunsFilter) -> Iterable[dg.DagsterRun]:
    return instance.get_runs(which, limit=100)
