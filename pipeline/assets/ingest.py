"""Ingest: the raw files observed, read into typed tables, and filtered to the 5-core.

Thin: reading is `core/ingest.py`, filtering is `core/kcore.py`.
"""

from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import FiveCoreConfig, FiveCoreSettings, IngestConfig, IngestSettings
from pipeline.core import categories, ingest, kcore, schemas
from pipeline.io_managers import SCHEMAS
from pipeline.metadata import table_output, waterfall
from pipeline.method import Method
from pipeline.resources import RawSources
from pipeline.storage import Storage

GROUP = "ingest"


@dg.observable_source_asset(
    group_name=GROUP, description="The review files; the data version is their content or their server's."
)
def raw_reviews(raw: RawSources) -> dg.DataVersion:
    """Observe the review files."""
    return dg.DataVersion(raw.review_version())


@dg.observable_source_asset(
    group_name=GROUP, description="The product metadata; the data version is its content or its server's."
)
def raw_products(raw: RawSources) -> dg.DataVersion:
    """Observe the metadata files."""
    return dg.DataVersion(raw.product_version())


@dg.multi_asset(
    name="ingest",
    group_name=GROUP,
    outs={
        "reviews": dg.AssetOut(description="One row a review, typed.", kinds={"parquet", "duckdb"}),
        "products": dg.AssetOut(description="One row a product, with its garment class.", kinds={"parquet", "duckdb"}),
        "rejects": dg.AssetOut(
            description="Every line that could not be read: file, line number, reason, first 500 characters.",
            kinds={"parquet"},
        ),
    },
    deps=[raw_reviews, raw_products],
    internal_asset_deps={
        "reviews": {dg.AssetKey("raw_reviews")},
        "products": {dg.AssetKey("raw_products")},
        "rejects": {dg.AssetKey("raw_reviews"), dg.AssetKey("raw_products")},
    },
    code_version="1",
)
def ingest_files(context: dg.AssetExecutionContext, config: IngestConfig, method: Method, raw: RawSources):
    """Read the raw files; what cannot be read is kept in `rejects`, so that accepted + rejected = lines."""
    settings = method.settings(IngestSettings, "ingest", config)
    products = ingest.read_products(raw.product_files(), vintage=settings.vintage)
    review_files = raw.review_files()
    if review_files:
        read = ingest.read_reviews(review_files, vintage=settings.vintage)
        reviews, review_rejects = read.reviews, read.rejects
        found: dict[str, Any] = {
            "lines": read.lines,
            "accepted": read.accepted,
            "counts": read.counts,
            "vintages": read.vintages,
        }
    else:
        context.log.warning("no review files: only the generator's assets can be made")
        reviews, review_rejects = schemas.REVIEWS.empty_table(), schemas.REJECTS.empty_table()
        found = dict[str, Any](lines=0, accepted=0)
    rejects = pa.concat_tables([review_rejects, products.rejects])
    reviewers = reviews.column("reviewer_id")
    yield table_output(
        reviews,
        "reviews",
        **found,
        users=pc.count_distinct(reviewers).as_py(),
        items=pc.count_distinct(reviews.column("asin")).as_py(),
        duplicate_reviews=reviews.num_rows - reviews.group_by(["reviewer_id", "asin"]).aggregate([]).num_rows,
    )
    mapped = categories.map_products(products.products)
    classes = mapped.column("garment_class").value_counts().to_pylist()
    yield table_output(
        mapped,
        "products",
        lines=products.lines,
        accepted=products.accepted,
        counts=products.counts,
        vintages=products.vintages,
        garment_classes={entry["values"] or "none": entry["counts"] for entry in classes},
    )
    reasons = rejects.column("reason").value_counts().to_pylist()
    yield table_output(
        rejects, "rejects", preview=False, reasons={entry["values"]: entry["counts"] for entry in reasons}
    )


def _previous(storage: Storage, name: str) -> pa.Table | None:
    import pyarrow.parquet as pq

    path: Path = storage.tables / f"{name}.parquet"
    return pq.read_table(path) if path.is_file() else None


@dg.multi_asset(
    name="five_core",
    group_name=GROUP,
    outs={
        "interactions": dg.AssetOut(
            description="The 5-core: users with at least five distinct items, and the items they reviewed.",
            kinds={"parquet"},
        ),
        "users": dg.AssetOut(description="User numbers: append-only, never re-sorted.", kinds={"parquet"}),
        "items": dg.AssetOut(description="Item numbers: append-only, never re-sorted.", kinds={"parquet"}),
    },
    ins={"reviews": dg.AssetIn()},
    code_version="1",
)
def five_core(config: FiveCoreConfig, method: Method, storage: Storage, reviews: pa.Table):
    """Filter to the 5-core in the paper's order, counting after every step."""
    settings = method.settings(FiveCoreSettings, "five_core", config)
    if not reviews.num_rows:  # products alone: nothing to filter, and the generator needs no users
        for name in ("interactions", "users", "items"):
            yield table_output(SCHEMAS[name].empty_table(), name)
        return
    core = kcore.five_core(
        reviews,
        settings.k,
        iterative=settings.iterative,
        previous_users=_previous(storage, "users"),
        previous_items=_previous(storage, "items"),
    )
    yield table_output(core.interactions, "interactions", steps=waterfall(core.counts), counts=core.counts)
    yield table_output(core.users, "users", preview=False)
    yield table_output(core.items, "items", preview=False)
