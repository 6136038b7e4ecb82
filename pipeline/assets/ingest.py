"""Ingest: observe the raw files, read them into typed tables, and filter to the 5-core.

Code that reads belongs in `core/raw/`, code that filters in `core/dataset/kcore.py`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from pipeline.core import schemas
from pipeline.core.dataset import candidates, kcore
from pipeline.core.dataset import extent as extents
from pipeline.core.durable import sole_writer
from pipeline.core.erasure import Erasures
from pipeline.core.generator import categories
from pipeline.core.raw import ingest, parts
from pipeline.core.raw.shop_tables import described
from pipeline.core.shop import written
from pipeline.core.tables import StoredTable, concatenated, table_digest
from pipeline.home.io_managers import SCHEMAS
from pipeline.home.storage import Storage, digest
from pipeline.inspection.causes import of_reading
from pipeline.runtime.failures import network
from pipeline.runtime.progress import reporter
from pipeline.runtime.resources import RawSources
from pipeline.settings.assets import FiveCoreSettings, IngestSettings
from pipeline.settings.launchpad import FiveCoreConfig, IngestConfig
from pipeline.settings.method import Method
from pipeline.views import filter_counts as steps
from pipeline.views import paper, plots
from pipeline.views.metadata import table_output, thumbnail, waterfall

GROUP = "ingest"


# Dagster's `observable_source_asset` takes neither owners nor kinds, hence specs.
def _source(name: str, kind: str, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(name, description=description, group_name=GROUP, kinds={kind})


@dg.multi_observable_source_asset(
    specs=[_source("raw_reviews", "json", "The review files; data version: their digest, or their server's version.")]
)
def raw_reviews(raw: RawSources):
    """Observe the review files."""
    yield dg.ObserveResult("raw_reviews", data_version=dg.DataVersion(raw.review_version()))


@dg.multi_observable_source_asset(
    specs=[_source("raw_products", "json", "The product metadata; data version: its digest, or its server's version.")]
)
def raw_products(raw: RawSources):
    """Observe the metadata files."""
    yield dg.ObserveResult("raw_products", data_version=dg.DataVersion(raw.product_version()))


@dg.multi_observable_source_asset(
    specs=[_source("raw_customers", "csv", "The files of customers, if any; data version: their digest.")]
)
def raw_customers(raw: RawSources):
    """Observe the files of customers."""
    yield dg.ObserveResult("raw_customers", data_version=dg.DataVersion(raw.customer_version()))


@dg.multi_observable_source_asset(
    specs=[_source("garment_rules", "toml", "The garment classes and their words; data version: digest of the rules.")]
)
def garment_rules(raw: RawSources, method: Method):
    """Observe the file of garment classes, or the built-in classes."""
    rules = raw.class_rules(method.settings(IngestSettings, "ingest").classes)
    yield dg.ObserveResult("garment_rules", data_version=dg.DataVersion(rules.digest))


@dg.multi_asset(
    name="ingest",
    group_name=GROUP,
    outs={
        "reviews": dg.AssetOut(description="One row per review, typed.", kinds={"parquet", "duckdb"}),
        "products": dg.AssetOut(
            description="One row per product, with its garment class.", kinds={"parquet", "duckdb"}
        ),
        "rejects": dg.AssetOut(
            description="Every line that could not be read: file, line number, reason, first 500 characters.",
            kinds={"parquet"},
        ),
    },
    deps=[raw_reviews, raw_products, garment_rules],
    internal_asset_deps={
        "reviews": {dg.AssetKey("raw_reviews")},
        "products": {dg.AssetKey("raw_products"), dg.AssetKey("garment_rules")},
        "rejects": {dg.AssetKey("raw_reviews"), dg.AssetKey("raw_products")},
    },
    pool="network",
    code_version=f"5, of files {parts.VERSION}",
)
def ingest_files(
    context: dg.AssetExecutionContext,
    config: IngestConfig,
    method: Method,
    raw: RawSources,
    storage: Storage,
):
    """Read new raw files; write lines that cannot be read to `rejects`, so that accepted + rejected = lines."""
    settings = method.settings(IngestSettings, "ingest", config)
    rules = raw.class_rules(settings.classes)
    if rules.moved:
        context.log.info(f"garment classes: words moved out of built-in lists: {rules.moved}")
    with network(context):
        product_files, review_files, customer_files = raw.product_files(), raw.review_files(), raw.customer_files()
    for message in raw.hidden_files():
        context.log.info(message)  # not a warning: a command has warned of it already
    shop = raw.shop_layout(review_files, product_files, customer_files)
    if shop is not None:
        context.log.info(f"the files were understood as\n{described(shop)}")
        if not raw.shop:
            written.write_to_edit(storage.home / written.NAME, shop.toml())
    erased = Erasures.of(storage.home)
    with sole_writer(storage.staged) as staged:
        read_context = ingest.ReadContext(staged, storage.parts, erased)
        products = ingest.read_products(
            product_files,
            settings.vintage,
            _progress(context, "reading products"),
            read_context,
            partial(categories.map_products, rules=rules),
            shop=shop,
        )
        read = (
            ingest.read_reviews(
                review_files, settings.vintage, _progress(context, "reading reviews"), read_context, shop=shop
            )
            if review_files
            else None
        )
        if read is not None:
            doubts = of_reading(read.counts, read.unread)
            for doubt in doubts:
                context.log.warning(doubt)
            yield table_output(read.reviews_file, "reviews", **_counts_metadata(read), doubts=doubts or None)
        else:
            context.log.warning("no review files: only the generator's assets can be made")
            yield table_output(schemas.REVIEWS.empty_table(), "reviews", lines=0, accepted=0)
        mapped = products.products_file
        classes = mapped.read(["garment_class"])["garment_class"].value_counts().to_pylist()
        counted = {entry["values"] or "none": entry["counts"] for entry in classes}
        yield table_output(
            mapped,
            "products",
            version=digest(version_of_products(mapped), rules.digest),
            **_counts_metadata(products),
            garment_classes={**dict.fromkeys(rules.names, 0), **counted},
            class_rules=rules.digest,
            words_moved=rules.moved or None,
        )
        rejected = [found.rejects_file for found in (read, products) if found is not None]
        rejects = concatenated(rejected, staged / "rejects.parquet")
        reasons = rejects.read(["reason"])["reason"].value_counts().to_pylist()
        yield table_output(
            rejects, "rejects", leave_out=["text"], reasons={entry["values"]: entry["counts"] for entry in reasons}
        )


@dg.asset(
    group_name=GROUP,
    deps=[raw_customers],
    kinds={"parquet"},
    pool="network",
    output_required=False,
    code_version=f"1, of files {parts.VERSION}",
)
def customers(context: dg.AssetExecutionContext, raw: RawSources, storage: Storage):
    """Read what is known of the customers: one row per customer, with attributes. Not made without such files."""
    with network(context):
        files = raw.customer_files()
    if not files:
        context.log.info("no files of customers are named, so none are kept")
        return
    with network(context):
        shop = raw.shop_layout(raw.review_files(), raw.product_files(), files)
    with sole_writer(storage.staged) as staged:
        read_context = ingest.ReadContext(staged, storage.parts, Erasures.of(storage.home))
        read = ingest.read_customers(files, _progress(context, "reading customers"), read_context, shop=shop)
        reasons = read.rejects_file.read(["reason"])["reason"].value_counts().to_pylist()
        # Personal data: Dagster keeps a preview for ever, so there is none.
        yield table_output(
            read.customers_file,
            leave_out=schemas.CUSTOMERS.names,
            **_counts_metadata(read),
            rejected={entry["values"]: entry["counts"] for entry in reasons},
        )


def version_of_products(products: StoredTable) -> str:
    """Digest the columns from which something is made: a price that changes daily must not make everything anew."""
    used = [field for field in products.schema if field.name not in schemas.KEPT_OF_PRODUCTS]
    return StoredTable(products.path, pa.schema(used)).digest()


def _counts_metadata(read: ingest.ReviewsRead | ingest.ProductsRead | ingest.CustomersRead) -> dict[str, Any]:
    """Return the counts of reading as asset metadata."""
    return {
        "lines": read.lines,
        "accepted": read.accepted,
        "files": read.files,
        "files_known": read.files_known,
        "erased": read.erased or None,
        "counts": read.counts,
        "vintages": read.vintages,
    }


def _progress(context: dg.AssetExecutionContext, title: str) -> Callable[[ingest.IngestProgress], None]:
    report = reporter(context, title)
    return lambda now: report(now.bytes >> 10, now.bytes_total >> 10, f"KB of {now.note}, {now.lines:,} lines")


def _previous(storage: Storage, name: str, kind: str) -> pa.Table | None:
    from pipeline.core import parquet as pq

    path: Path = storage.tables / f"{name}.parquet"
    return Erasures.of(storage.home).from_names(pq.read_table(path), kind) if path.is_file() else None


@dg.multi_asset(
    name="five_core",
    group_name=GROUP,
    outs={
        "interactions": dg.AssetOut(
            description="The 5-core: users with at least k distinct items (five, unless a run asks for another k), all "
            "or a sample of them, and the items they reviewed.",
            kinds={"parquet"},
        ),
        "users": dg.AssetOut(description="User numbers: append-only, never re-sorted.", kinds={"parquet"}),
        "items": dg.AssetOut(description="Item numbers: append-only, never re-sorted.", kinds={"parquet"}),
    },
    ins={"reviews": dg.AssetIn()},
    code_version="1",
)
def five_core(config: FiveCoreConfig, method: Method, storage: Storage, reviews: StoredTable):
    """Filter to the 5-core in the paper's order, counting after every step."""
    settings = method.settings(FiveCoreSettings, "five_core", config)
    if not reviews.num_rows:  # there are only products: the generator needs no users
        for name in ("interactions", "users", "items"):
            yield table_output(SCHEMAS[name].empty_table(), name)
        return
    storage.staged.mkdir(parents=True, exist_ok=True)
    core = kcore.five_core(
        reviews,
        settings.k,
        iterative=settings.iterative,
        sample=settings.sample,
        previous_users=_previous(storage, "users", "reviewer"),
        previous_items=_previous(storage, "items", "asin"),
        folder=storage.staged,
    )
    extent, items = replace(core.extent, candidates=settings.candidates), core.items
    if settings.candidates == candidates.ALL:
        items = candidates.with_all_products(
            items, StoredTable(storage.tables / "products.parquet", SCHEMAS["products"])
        )
    ours = paper.our_data_set("this run", core.counts)
    falls = steps.five_core(core.counts, settings.k, settings.iterative)
    # The same rows of another extent are another table: image modes are pruned by its k.
    version = table_digest(core.interactions)
    yield table_output(
        extents.carrying(core.interactions, extent),
        "interactions",
        version=version if extent == extents.Extent() else digest(version, extent.plain()),
        steps=waterfall(core.counts),
        waterfall=thumbnail(plots.waterfall(falls, f"The {settings.k}-core, step by step")),
        counts=core.counts,
        k=settings.k,
        iterative=settings.iterative,
        extent=extent.label or None,
        candidates=settings.candidates,
        sample=vars(settings.sample) if settings.sample and core.extent.sampled else None,
        table_1=dg.MetadataValue.md(paper.table_1(ours)),
        # Separate numbers, so that the UI plots each over the runs.
        table_1_reviews=ours.reviews,
        table_1_users=ours.users,
        table_1_items=ours.items,
        table_1_core_users=ours.core_users,
        table_1_core_items=ours.core_items,
    )
    yield table_output(core.users, "users")
    yield table_output(items, "items")
