"""Every raw file was read: what the automation gave up on is a failed check that names the file and the mend.

Evaluated with every look at the files, and reported by the sensor `new_files` when it gives up.
"""

from collections.abc import Iterable

import dagster as dg

from pipeline.core.raw.passed_over import GivenUp
from pipeline.resources import RawSources

SOURCES, NAME = ("raw_reviews", "raw_products"), "every_file_was_read"
MEND = (
    "Put a whole file in its place, or take it out: it is read again as soon as it has changed. Where the file was not "
    "to blame, delete passed_over.json in the home."
)


def evaluation(source: str, given_up: Iterable[GivenUp]) -> dg.AssetCheckEvaluation:
    """The check of a source as an event, apart from any run."""
    result = _result([entry for entry in given_up if entry.source == source])
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(source), check_name=NAME, passed=result.passed, metadata=result.metadata
    )


def _result(bad: list[GivenUp]) -> dg.AssetCheckResult:
    told = [f"{e.name}: {e.error} (tried {e.tries} times, {e.at}). {'' if e.passed_over else 'Nothing new is read.'}"
            for e in bad]  # fmt: skip
    metadata = {"files": [entry.name for entry in bad], "why": "\n".join(told), "mend": MEND} if bad else {}
    return dg.AssetCheckResult(passed=not bad, severity=dg.AssetCheckSeverity.ERROR, metadata=metadata)


def _check(source: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=source, name=NAME, description="No file was given up on after three tries.")
    def check(raw: RawSources) -> dg.AssetCheckResult:
        return _result([entry for entry in raw.given_up() if entry.source == source])

    return check


checks = [_check(source) for source in SOURCES]
