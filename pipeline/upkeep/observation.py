"""What sets a refresh in motion: the raw files looked at, every minute by size and date, every night by content.

A sensor asks cheaply whether anything may have changed, and has the job `observe_sources` find out; the schedule has
it find out in any case. What an observation brings about is `automation.py`'s.
"""

import json

import dagster as dg

from pipeline.core.raw.sources import BadInput
from pipeline.runtime.resources import RawSources
from pipeline.settings.assets import IngestSettings
from pipeline.settings.method import Method
from pipeline.study.jobs import observe_sources
from pipeline.upkeep.automation import NIGHT

EVERY = 60  # seconds between two looks; a URL is asked for its headers as often
TURN = 30  # seconds between two evaluations of what is behind


@dg.sensor(
    name="new_files",
    job=observe_sources,
    minimum_interval_seconds=EVERY,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks whether the raw files may have changed: sizes and dates of files, ETags of URLs.",
)
def new_files(context: dg.SensorEvaluationContext, raw: RawSources, method: Method) -> dg.SensorResult | dg.SkipReason:
    """Have the sources observed when their looks differ from the last ones."""
    try:
        looks = raw.looks(method.settings(IngestSettings, "ingest").classes)
    except BadInput as error:
        return dg.SkipReason(f"the raw files cannot be looked at: {error}")
    before = json.loads(context.cursor) if context.cursor else {}
    new = changed(before, looks)
    if not new:
        return dg.SkipReason("the raw files look as they did")
    # No run_key: Dagster remembers those for ever, and a file may come back. The cursor says what was asked for.
    return dg.SensorResult(
        run_requests=[dg.RunRequest(tags={"atelier/changed": ", ".join(new)})], cursor=json.dumps(looks, sort_keys=True)
    )


def changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Which sources look otherwise than before, or were never looked at."""
    return sorted(name for name, look in now.items() if before.get(name) != look)


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
