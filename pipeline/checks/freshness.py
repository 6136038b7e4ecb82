"""Check that the raw files were observed recently. A table's age shows nothing: unchanged data is not rebuilt.

The check runs with every observation, and by a sensor, because it must also warn when nothing runs. Dagster's own
freshness checks test when an observed source changed, not when it was observed.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg

SOURCES = ("raw_reviews", "raw_products", "raw_customers")
# The schedule observes every night. 36 hours allow for one run that is late by hours, but not for two missed runs.
OBSERVED_WITHIN = timedelta(hours=36)
EVERY = timedelta(hours=1)


def last_observed(instance: dg.DagsterInstance, source: str) -> float | None:
    """Return when a source was last observed, in Unix seconds; None if never."""
    records = instance.fetch_observations(dg.AssetKey(source), limit=1).records
    return records[0].timestamp if records else None


def is_stale(instance: dg.DagsterInstance, source: str) -> bool:
    """Return whether the last observation is older than OBSERVED_WITHIN; a source never observed is not stale."""
    last = last_observed(instance, source)
    return last is not None and time.time() - last > OBSERVED_WITHIN.total_seconds()


def _check(source: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=source,
        name="was_looked_at_lately",
        description=f"The files were observed within the last {OBSERVED_WITHIN.total_seconds() / 3600:.0f} hours.",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        last = last_observed(context.instance, source)
        when = "never" if last is None else datetime.fromtimestamp(last, UTC).isoformat(timespec="seconds")
        return dg.AssetCheckResult(
            passed=not is_stale(context.instance, source),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"last_looked_at": when, "expected_within_hours": OBSERVED_WITHIN.total_seconds() / 3600},
        )

    return check


checks = [_check(source) for source in SOURCES]
job = dg.define_asset_job(
    "freshness_of_sources",
    selection=dg.AssetSelection.checks(*checks),
    executor_def=dg.in_process_executor,
    description="Warn if the raw files have not been observed recently.",
)


def _newly_stale(stale: Callable[[str], bool], cursor: str | None) -> tuple[bool, str]:
    """Return whether a source has become stale since the cursor, and the new cursor."""
    now = sorted(source for source in SOURCES if stale(source))
    known = json.loads(cursor) if cursor else []
    return bool(set(now) - set(known)), json.dumps(now)


@dg.sensor(
    job=job,
    name="freshness",
    minimum_interval_seconds=int(EVERY.total_seconds()),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Runs the checks when the raw files have not been observed recently.",
)
def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Request the checks once each time a source becomes stale."""
    stale, cursor = _newly_stale(lambda source: is_stale(context.instance, source), context.cursor)
    return dg.SensorResult(run_requests=[dg.RunRequest()] if stale else [], cursor=cursor)
