"""Watch the raw files: every minute by size and date, every night by content.

A sensor checks cheaply whether files may have changed, and then requests the job `observe_sources`, which digests their
content. The nightly schedule requests that job in any case. `automation.py` acts on the observations.
"""

import time
from datetime import UTC, datetime

import dagster as dg

from pipeline.core.errors import InputError
from pipeline.core.raw import passed_over
from pipeline.core.raw.passed_over import GivenUp
from pipeline.runtime.resources import NOT_FILES, RawSources
from pipeline.settings.assets import IngestSettings
from pipeline.settings.method import Method
from pipeline.upkeep.automation import NIGHT
from pipeline.upkeep.drop_check import SOURCES, evaluation
from pipeline.upkeep.drop_outcome import DROP, outcome
from pipeline.upkeep.drops import INGEST, TRIES, DropStep, Marks, State, force_observation, step
from pipeline.upkeep.jobs import observe_sources, read_again

FILES_INTERVAL = 60  # seconds between two checks of the files; each one also requests the headers of every URL
REFRESH_INTERVAL = 30  # seconds between two evaluations of the automation condition


@dg.sensor(
    name="new_files",
    jobs=[observe_sources, read_again],
    minimum_interval_seconds=FILES_INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Checks whether raw files changed (sizes, dates, ETags), and follows changes until they are read.",
)
def new_files(context: dg.SensorEvaluationContext, raw: RawSources, method: Method) -> dg.SensorResult | dg.SkipReason:
    """Request an observation of the sources when files differ from those that a run last read."""
    classes = method.settings(IngestSettings, "ingest").classes
    return evaluate(context.instance, context.cursor, raw, classes, time.time())


def evaluate(
    instance: dg.DagsterInstance, cursor: str | None, raw: RawSources, classes: str, now: float
) -> dg.SensorResult | dg.SkipReason:
    """Evaluate the sensor once. Its cursor advances only after a run has read the changed files or gave up on them."""
    state = State.of(cursor)
    try:
        marks = _marks(raw, classes)
        if state.looks is not None:
            state = _from_older_cursor(state.looks, raw.legacy_digests(marks), marks)
        result = step(state, marks, now, outcome(instance, state.drop) if state.drop else None)
        events = []
        if result.given_up:
            events = _give_up(raw, result, marks, now)
            result = force_observation(result.state, _marks(raw, classes), now)
    except InputError as error:
        return dg.SkipReason(f"the raw files cannot be checked: {error}")
    after = result.state.cursor()
    if not result.request:
        return dg.SensorResult(skip_reason=result.message, cursor=after)
    assert result.state.drop is not None
    # No run_key: Dagster remembers those for ever, and a file may come back. The cursor records the request.
    request = dg.RunRequest(
        job_name=(read_again if result.request == INGEST else observe_sources).name,
        tags={"atelier/changed": ", ".join(result.changed), DROP: result.state.drop.id},
    )
    return dg.SensorResult(run_requests=[request], cursor=after, asset_events=events)


def _marks(raw: RawSources, classes: str) -> Marks:
    """Mark the present files, without those given up on, even if a source has no other file."""
    given_up = {(entry.source, entry.name) for entry in raw.given_up()}
    return {
        source: {name: mark for name, mark in files.items() if (source, name) not in given_up}
        for source, files in raw.marks(classes).items()
    }


def _from_older_cursor(before: dict[str, str], now: dict[str, str], marks: Marks) -> State:
    """Convert an older version's cursor, which has one digest per source: an unchanged source has been read."""
    return State(taken={source: marks[source] for source, digest in now.items() if before.get(source) == digest})


def _give_up(raw: RawSources, result: DropStep, marks: Marks, now: float) -> list[dg.AssetCheckEvaluation]:
    """Add the files to the home's list of skipped files; return the failed checks that report them."""
    lost = {(source, name) for source, name, _, _ in result.given_up}
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    entries = raw.given_up()
    for source, name, mark, error in result.given_up:
        others_left = any((source, other) not in lost for other in marks[source] if other not in NOT_FILES)
        entries.append(GivenUp(source, name, mark, error, TRIES, at, passed_over=others_left))
    passed_over.write(raw.home, entries)
    return [evaluation(source, entries) for source in sorted({source for source, _ in lost} & set(SOURCES))]


nightly = dg.ScheduleDefinition(
    name="every_night",
    job=observe_sources,
    cron_schedule=NIGHT,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Observes the raw files by content, whatever their dates say.",
)

refresh = dg.AutomationConditionSensorDefinition(
    name="refresh",
    target=dg.AssetSelection.all(),
    use_user_code_server=True,  # the condition is our own
    emit_backfills=False,  # one run per mode, so that a failed mode does not block the others
    minimum_interval_seconds=REFRESH_INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes assets again that are behind; see pipeline/upkeep/automation.py.",
)

sensors = [new_files, refresh]
schedules = [nightly]
