"""Check that something can come of the input, before any picture is fetched."""

from collections.abc import Collection, Mapping
from typing import Any

import dagster as dg

from pipeline.core import parquet as pq
from pipeline.core.dataset.extent import Sample
from pipeline.core.errors import InputError
from pipeline.home.storage import Storage
from pipeline.inspection.causes import Cause, pointless
from pipeline.inspection.facts import KS, Facts, LineCounts
from pipeline.inspection.measuring import rejected
from pipeline.inspection.table_facts import of_tables
from pipeline.runtime.plan import generator_alone
from pipeline.runtime.summary import LatestMetadata
from pipeline.settings.assets import FiveCoreSettings
from pipeline.settings.method import Method
from pipeline.upkeep.workers import PROCESS_TAG

# Tags of a run: its input was inspected before it began; it goes on whatever the check finds.
INSPECTED, ANYWAY_TAG = "atelier/inspected", "atelier/anyway"


@dg.asset_check(
    asset="image_urls",
    blocking=True,
    description="Lines were read, ids of reviews and products meet, some user has k items, some product a picture.",
)
def something_can_come_of_the_input(
    context: dg.AssetCheckExecutionContext, storage: Storage, method: Method
) -> dg.AssetCheckResult:
    """Look for a cause that makes everything after this pointless, unless the command has already looked.

    The tag `atelier/anyway` on a run lets it go on.
    """
    run = context.run
    if INSPECTED in run.tags:
        return dg.AssetCheckResult(passed=True, metadata={"skipped": "the command inspected the input before the run"})
    selected = [key.to_user_string() for key in run.asset_selection or ()]
    latest = LatestMetadata(context.instance)
    made = latest.of("interactions")
    k = made.get("k") or method.settings(FiveCoreSettings, "five_core").k
    sample = Sample(**made["sample"]) if made.get("sample") else None
    found = causes(storage, latest, selected, k, sample)
    if found and PROCESS_TAG in run.tags and ANYWAY_TAG not in run.tags:
        raise InputError(found[0].stop)
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN if ANYWAY_TAG in run.tags else dg.AssetCheckSeverity.ERROR,
        description=found[0].text if found else None,
        metadata={cause.name: cause.text for cause in found},
    )


def causes(
    storage: Storage, latest: LatestMetadata, selected: Collection[str], k: int, sample: Sample | None = None
) -> list[Cause]:
    """Judge the home's tables of reviews, products and rejects, as the command judges the files."""
    tables = storage.tables
    products = tables / "products.parquet"
    if not products.is_file():
        return []
    lines = {name: _lines(storage, latest.of(name)) for name in ("reviews", "products")}
    with_reviews = lines["reviews"].lines > 0
    stored = tables / "reviews.parquet" if with_reviews else None
    found = of_tables(stored, products, sorted({*KS, k}), draw=(k, sample) if sample else None)
    facts = Facts((), lines["reviews"] if with_reviews else None, lines["products"], found)
    return pointless(facts, k, generator_alone(selected))


def _lines(storage: Storage, about: Mapping[str, Any]) -> LineCounts:
    """Count lines from a materialisation's metadata; the reasons only where no line was accepted."""
    counted, accepted = about.get("lines", 0), about.get("accepted", 0)
    reasons, first = {}, ""
    path = storage.tables / "rejects.parquet"
    if counted and not accepted and path.is_file():
        rejects = pq.read_table(path, columns=["file", "line", "reason", "text"])
        files = list(about.get("vintages", {}))
        of_kind = [name in files for name in rejects["file"].to_pylist()]
        reasons, first = rejected(rejects.filter(of_kind))
    return LineCounts(counted, accepted, reasons, first, about.get("counts", {}))
