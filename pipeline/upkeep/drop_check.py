"""The check that every raw file was read: it fails for files that the automation gave up on, and names the remedy.

Evaluated with every observation of the files, and reported by the sensor `new_files` when it gives up on one.
"""

from collections.abc import Iterable

import dagster as dg

from pipeline.core.raw.passed_over import GivenUp
from pipeline.runtime.resources import RawSources

SOURCES, NAME = ("raw_reviews", "raw_products", "raw_customers"), "every_file_was_read"
REMEDY = (
    "Put a whole file in its place, or remove it: a changed file is read again. If the file was not to blame, delete "
    "passed_over.json in the home."
)


def evaluation(source: str, given_up: Iterable[GivenUp]) -> dg.AssetCheckEvaluation:
    """Evaluate a source's check as an event that belongs to no run."""
    result = _result([entry for entry in given_up if entry.source == source])
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(source), check_name=NAME, passed=result.passed, metadata=result.metadata
    )


def _result(bad: list[GivenUp]) -> dg.AssetCheckResult:
    reasons = [f"{e.name}: {e.error} (tried {e.tries} times, {e.at}). {'' if e.passed_over else 'Nothing new is read.'}"
               for e in bad]  # fmt: skip
    metadata = {"files": [entry.name for entry in bad], "why": "\n".join(reasons), "mend": REMEDY} if bad else {}
    return dg.AssetCheckResult(passed=not bad, severity=dg.AssetCheckSeverity.ERROR, metadata=metadata)


def _check(source: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=source, name=NAME, description="No file was given up on after three tries.")
    def check(raw: RawSources) -> dg.AssetCheckResult:
        return _result([entry for entry in raw.given_up() if entry.source == source])

    return check


checks = [_check(source) for source in SOURCES]
