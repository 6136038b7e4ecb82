"""What sets a refresh in motion: the raw files looked at, every minute by size and date, every night by content.

A sensor asks cheaply whether anything may have changed, and has the job `observe_sources` find out; the schedule has
it find out in any case. What an observation brings about is `automation.py`'s.
"""

import time
from datetime import UTC, datetime

import dagster as dg

from pipeline.core.errors import InputError
from pipeline.core.raw import passed_over
from pipeline.core.raw.passed_over import GivenUp
from pipeline.runtime.resources import RawSources
from pipeline.settings.assets import IngestSettings
from pipeline.settings.method import Method
from pipeline.upkeep.automation import NIGHT
from pipeline.upkeep.drop_check import SOURCES, evaluation
from pipeline.upkeep.drops import INGEST, TRIES, Marks, State, Step, asked_anew, step
from pipeline.upkeep.jobs import observe_sources, read_again
from pipeline.upkeep.readings import DROP, outcome

EVERY = 60  # seconds between two looks; a URL is asked for its headers as often
TURN = 30  # seconds between two evaluations of what is behind


@dg.sensor(
    name="new_files",
    jobs=[observe_sources, read_again],
    minimum_interval_seconds=EVERY,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks whether raw files may have changed (sizes, dates, ETags), and follows them until they are read.",
)
def new_files(context: dg.SensorEvaluationContext, raw: RawSources, method: Method) -> dg.SensorResult | dg.SkipReason:
    """Have the sources observed when files look otherwise than those that were last read well."""
    return look(context.instance, context.cursor, raw, method.settings(IngestSettings, "ingest").classes, time.time())


def look(
    instance: dg.DagsterInstance, cursor: str | None, raw: RawSources, classes: str, now: float
) -> dg.SensorResult | dg.SkipReason:
    """One look of the sensor. The cursor moves on only when a run has read what it saw, or it was given up on."""
    state = State.of(cursor)
    try:
        marks = _marks(raw, classes)
        if state.looks is not None:
            state = _of_looks(state.looks, raw.legacy_digests(marks), marks)
        found = step(state, marks, now, outcome(instance, state.drop) if state.drop else None)
        events = []
        if found.given_up:
            events = _give_up(raw, found, marks, now)
            found = asked_anew(found.state, _marks(raw, classes), now)
    except InputError as error:
        return dg.SkipReason(f"the raw files cannot be looked at: {error}")
    after = found.state.cursor()
    if not found.ask:
        return dg.SensorResult(skip_reason=found.told, cursor=after)
    assert found.state.drop is not None
    # No run_key: Dagster remembers those for ever, and a file may come back. The cursor says what was asked for.
    request = dg.RunRequest(
        job_name=(read_again if found.ask == INGEST else observe_sources).name,
        tags={"atelier/changed": ", ".join(found.changed), DROP: found.state.drop.id},
    )
    return dg.SensorResult(run_requests=[request], cursor=after, asset_events=events)


def _marks(raw: RawSources, classes: str) -> Marks:
    """What is there, less what was given up on; also where it could not be passed over, being all there is."""
    given_up = {(entry.source, entry.name) for entry in raw.given_up()}
    return {
        source: {name: mark for name, mark in files.items() if (source, name) not in given_up}
        for source, files in raw.marks(classes).items()
    }


def _of_looks(before: dict[str, str], now: dict[str, str], marks: Marks) -> State:
    """The state of a cursor of an earlier version, which knew no files: what looks as it did was taken."""
    return State(taken={source: marks[source] for source, seen in now.items() if before.get(source) == seen})


def _give_up(raw: RawSources, found: Step, marks: Marks, now: float) -> list[dg.AssetCheckEvaluation]:
    """Put files on the home's list of what is passed over; the failed checks that say so."""
    lost = {(source, name) for source, name, _, _ in found.given_up}
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    entries = raw.given_up()
    for source, name, mark, error in found.given_up:
        left = any((source, other) not in lost for other in marks[source] if other != "erased")
        entries.append(GivenUp(source, name, mark, error, TRIES, at, passed_over=left))
    passed_over.write(raw.home, entries)
    return [evaluation(source, entries) for source in sorted({source for source, _ in lost} & set(SOURCES))]


nightly = dg.ScheduleDefinition(
    name="every_night",
    job=observe_sources,
    cron_schedule=NIGHT,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Looks at the raw files by content, whatever their dates say.",
)

refresh = dg.AutomationConditionSensorDefinition(
    name="refresh",
    target=dg.AssetSelection.all(),
    use_user_code_server=True,  # the condition is our own
    emit_backfills=False,  # a run each mode: one that fails holds up no other
    minimum_interval_seconds=TURN,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes again what is behind; see pipeline/upkeep/automation.py.",
)

sensors = [new_files, refresh]
schedules = [nightly]
