"""The report: a lookbook over everything. Thin: `pipeline/lookbook/` builds and writes it."""

from datetime import UTC, datetime

import dagster as dg

from pipeline.config import LookbookConfig
from pipeline.lookbook.album import Album
from pipeline.lookbook.build import build
from pipeline.lookbook.home import Home
from pipeline.lookbook.page import Page
from pipeline.lookbook.publish import publish
from pipeline.metadata import file
from pipeline.method import Method
from pipeline.provenance import commit
from pipeline.resources import RawSources
from pipeline.settings import LookbookSettings
from pipeline.storage import Storage

GROUP = "report"
# Shown in the lookbook; read from the home, not as inputs, so that what is missing is a missing section.
WHOLE = (
    "reviews", "products", "rejects", "interactions", "users", "items", "image_urls", "image_ledger", "image_bank",
    "recommender_comparison", "garments", "lsgan", "generator_evaluation", "generated_garments", "personal_designs",
    "restyled_products", "designs_tradeoff",
)  # fmt: skip
BY_MODE = ("splits", "catalogue", "triplets", "dvbpr", "recommender_evaluation", "recommendations")


@dg.asset(
    group_name=GROUP,
    kinds={"html"},
    code_version="2",
    deps=[*WHOLE, *(dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping()) for name in BY_MODE)],
)
def lookbook(
    context: dg.AssetExecutionContext, config: LookbookConfig, method: Method, storage: Storage, raw: RawSources
) -> dg.MaterializeResult:
    """Pages to look at: the data, how good the models are beside the paper's figures, and what they made."""
    settings = method.settings(LookbookSettings, "lookbook", config)
    album = Album()
    page = build(Home(storage, context.instance, raw), album, settings, commit(), datetime.now(UTC))
    for left in page.left_out:
        context.log.info(f"left out: {left.title} ({left.reason})")
    published = publish(page, album, storage.reports)
    return dg.MaterializeResult(
        metadata={
            "preview": dg.MetadataValue.md(_facts(page)),
            "page": file(published.path.resolve()),
            "sections": len(page.sections),
            "left_out": [left.title for left in page.left_out],
            "people": page.people,
            "files": published.files,
            "bytes": published.size,
        }
    )


def _facts(page: Page) -> str:
    """The figures at the lookbook's head, as a table."""
    return "\n".join(["| | |", "|---:|---|", *(f"| **{fact.value}** | {fact.words} |" for fact in page.facts)])
