"""Pictures: which are wanted, what became of each URL, and the decoded bank.

Thin: fetching is `core/fetch.py`, the ledger `core/ledger.py`, decoding `core/bank.py`.
"""

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import sheets
from pipeline.config import (
    BankSettings,
    FeatureSettings,
    ImageBankConfig,
    ImageFeaturesConfig,
    ImageLedgerConfig,
    ImageUrlsConfig,
    ImageUrlSettings,
    LedgerSettings,
)
from pipeline.core import features, survivors
from pipeline.core.bank import build_bank, open_bank
from pipeline.core.durable import write_whole
from pipeline.core.ledger import PictureStore, mark_placeholders
from pipeline.core.sources import BadInput
from pipeline.core.transfer import FetchSettings
from pipeline.metadata import file, table_output, thumbnail
from pipeline.method import Method
from pipeline.progress import reporter
from pipeline.resources import Compute, ImageFetcher
from pipeline.storage import Storage, digest, save_array

GROUP = "images"


@dg.asset(group_name=GROUP, kinds={"parquet"}, code_version="1")
def image_urls(
    config: ImageUrlsConfig,
    method: Method,
    items: pa.Table,
    products: pa.Table,
    reviews: pa.Table,
) -> dg.Output[pa.Table]:
    """One row a wanted picture: of every 5-core item, and for the generator of other products up to a cap a class."""
    settings = method.settings(ImageUrlSettings, "image_urls", config)
    table = survivors.image_urls(
        items,
        products,
        reviews,
        vendor_resolution=settings.vendor_resolution,
        extra_per_class=settings.extra_per_class,
        seed=settings.seed,
    )
    by_source = {source: pc.sum(pc.equal(table["source"], source)).as_py() or 0 for source in ("vendor", "customer")}
    return table_output(table, by_source=by_source, urls=pc.count_distinct(table["url"]).as_py())


# No retry policy: the fetcher retries each URL itself, and what stays transient is asked again by the next run.
@dg.asset(group_name=GROUP, kinds={"parquet", "aiohttp"}, code_version="1", pool="network")
def image_ledger(
    context: dg.AssetExecutionContext,
    config: ImageLedgerConfig,
    method: Method,
    fetcher: ImageFetcher,
    storage: Storage,
    image_urls: pa.Table,
) -> dg.Output[pa.Table]:
    """What became of every URL; only what is missing or was transient is fetched, pictures are kept once by content."""
    store = PictureStore(storage.pictures)
    urls = pc.unique(image_urls["url"]).to_pylist()
    report = fetcher.fetch(
        urls, store, method.settings(FetchSettings, "image_ledger", config), reporter(context, "fetching pictures")
    )
    known = store.ledger()
    wanted = known.filter(pc.is_in(known["url"], value_set=pa.array(urls, pa.string())))
    settings = method.settings(LedgerSettings, "image_ledger", config)
    table = mark_placeholders(wanted, image_urls, settings.placeholder_items, settings.known_placeholders)
    counts = {entry["values"]: entry["counts"] for entry in table["reason"].value_counts().to_pylist()}
    ok = counts.pop("ok", 0)
    if urls and not ok:
        raise BadInput(
            f"none of {len(urls):,} pictures could be had: {counts}. Are the hosts up? Private addresses must be "
            "named in ATELIER_ALLOW_HOSTS as host:port."
        )
    return table_output(
        table,
        requests=report.requests,
        images_ok=ok,
        images_broken=counts,
        broken_share=round(1 - ok / max(1, len(urls)), 5),
    )


@dg.asset(group_name=GROUP, kinds={"numpy"}, code_version="1")
def image_bank(
    context: dg.AssetExecutionContext,
    config: ImageBankConfig,
    method: Method,
    storage: Storage,
    image_urls: pa.Table,
    image_ledger: pa.Table,
) -> dg.MaterializeResult:
    """The 5-core items' pictures decoded once: one memory-mapped uint8 array and its index."""
    settings = method.settings(BankSettings, "image_bank", config)
    of_items = image_urls.filter(pc.is_valid(image_urls["item"]))["url"]
    ok = image_ledger.filter(pc.equal(image_ledger["status"], "ok"))
    ok = ok.filter(pc.is_in(ok["url"], value_set=pc.unique(of_items)))
    contents = sorted(set(ok["sha256"].to_pylist()))
    report = reporter(context, "decoding pictures")
    bank = build_bank(
        PictureStore(storage.pictures),
        contents,
        storage.bank,
        settings.size,
        resample=settings.resample,
        workers=settings.workers,
        on_progress=lambda now: report(now.done, now.total, ""),
    )
    if not contents:
        return dg.MaterializeResult(metadata={"dagster/row_count": 0}, data_version=dg.DataVersion(bank.digest))
    sheet = sheets.contact_sheet(bank.pixels)
    path = sheets.save(storage.reports / "pictures" / "bank.png", sheet)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(bank.pixels),
            "size": settings.size,
            "resample": settings.resample,
            "megabytes": round(bank.pixels.nbytes / 1e6, 1),
            "digest": bank.digest,
            "pictures": thumbnail(sheet),
            "contact_sheet": file(path),
        },
        data_version=dg.DataVersion(bank.digest),
    )


@dg.asset(group_name=GROUP, kinds={"numpy", "pytorch"}, code_version="1", deps=[image_bank], pool="gpu")
def image_features(
    context: dg.AssetExecutionContext, config: ImageFeaturesConfig, method: Method, storage: Storage, compute: Compute
) -> dg.MaterializeResult:
    """Frozen ImageNet features of every picture of the bank, once for all modes and methods that want them."""
    settings = method.settings(FeatureSettings, "image_features", config)
    bank = open_bank(storage.bank)
    version = digest(bank.digest, settings, features.NAME)
    report = reporter(context, "frozen features")
    path = storage.features(version)
    if not path.is_file():
        found = features.embed(
            bank.pixels,
            size=settings.feature_size,
            device=compute.resolve(),
            on_progress=lambda done, total: report(done, total, ""),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: save_array(temporary, found))
    storage.point_features(version)
    return dg.MaterializeResult(
        metadata={"dagster/row_count": len(bank.pixels), "file": file(path), "network": features.NAME},
        data_version=dg.DataVersion(version),
    )
