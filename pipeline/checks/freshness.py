"""Freshness: the raw files were looked at lately. A table's age says nothing: what has not changed is not made again.

The check is evaluated with every look, and by a sensor, because it must speak when nothing runs. Dagster's own
freshness checks ask an observed source when its files changed, not when somebody looked.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg

SOURCES = ("raw_reviews", "raw_products")
# The schedule looks every night; a day and a half allows for one night missed by hours, not for two.
OBSERVED_WITHIN = timedelta(hours=36)
EVERY = timedelta(hours=1)


def looked_at(instance: dg.DagsterInstance, source: str) -> float | None:
    """When a source was last observed, in unix seconds; None where it never was."""
    records = instance.fetch_observations(dg.AssetKey(source), limit=1).records
    return records[0].timestamp if records else None


def is_old(instance: dg.DagsterInstance, source: str) -> bool:
    """Whether it was observed, but not within OBSERVED_WITHIN. A home that never looked has no files to miss."""
    last = looked_at(instance, source)
    return last is not None and time.time() - last > OBSERVED_WITHIN.total_seconds()


def _check(source: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=source,
        name="was_looked_at_lately",
        description=f"Somebody looked within {OBSERVED_WITHIN.total_seconds() / 3600:.0f} hours.",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        last = looked_at(context.instance, source)
        told = "never" if last is None else datetime.fromtimestamp(last, UTC).isoformat(timespec="seconds")
        return dg.AssetCheckResult(
            passed=not is_old(context.instance, source),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"last_looked_at": told, "expected_within_hours": OBSERVED_WITHIN.total_seconds() / 3600},
        )

    return check


checks = [_check(source) for source in SOURCES]
job = dg.define_asset_job(
    "freshness_of_sources",
    selection=dg.AssetSelection.checks(*checks),
    executor_def=dg.in_process_executor,
    description="Say that nobody has looked at the raw files lately.",
)


def _ask(old: Callable[[str], bool], cursor: str | None) -> tuple[bool, str]:
    """Whether to evaluate the checks, and the new cursor: once when a source gets old, again only after it was new."""
    now = sorted(source for source in SOURCES if old(source))
    known = json.loads(cursor) if cursor else []
    return bool(set(now) - set(known)), json.dumps(now)


@dg.sensor(
    job=job,
    name="freshness",
    minimum_interval_seconds=int(EVERY.total_seconds()),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Has the checks speak when nobody has looked at the raw files lately.",
)
def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Ask for the checks once for each time a source gets old."""
    ask, cursor = _ask(lambda source: is_old(context.instance, source), context.cursor)
    return dg.SensorResult(run_requests=[dg.RunRequest()] if ask else [], cursor=cursor)
