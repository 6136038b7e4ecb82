"""Pictures: the wanted URLs, the result of each fetch, the decoded bank, near-duplicates and frozen features.

Code that fetches, decodes and embeds belongs in `core/images/`.
"""

from dataclasses import asdict, replace
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import digests
from pipeline.core.dataset import extent as extents
from pipeline.core.dataset import survivors
from pipeline.core.dataset.candidates import BOUGHT
from pipeline.core.durable import write_whole
from pipeline.core.errors import InputError, UnreachableError
from pipeline.core.generator.likeness import most_alike
from pipeline.core.images.bank import build_bank, open_bank
from pipeline.core.images.formats.heif import MEND as HEIC_MEND
from pipeline.core.images.formats.heif import heif_is_read
from pipeline.core.images.ledger import STATUS_OF, PictureStore, mark_placeholders
from pipeline.core.images.near_duplicates import NearDuplicateSettings, find, largest_across_items
from pipeline.core.images.pending import placeholders_to_retry
from pipeline.core.images.pictures import decode
from pipeline.core.images.transfer import FetchSettings
from pipeline.core.signatures import keyed, keys
from pipeline.core.tables import StoredTable
from pipeline.home.storage import Storage, digest, save_array
from pipeline.runtime.failures import network
from pipeline.runtime.progress import reporter, terminal
from pipeline.runtime.resources import Compute, Engine, ImageFetcher, RawSources
from pipeline.settings.assets import BankSettings, FeatureSettings, ImageUrlSettings, LedgerSettings
from pipeline.settings.launchpad import (
    ImageBankConfig,
    ImageFeaturesConfig,
    ImageLedgerConfig,
    ImageUrlsConfig,
    NearDuplicatesConfig,
)
from pipeline.settings.method import Method
from pipeline.views import fetch_table, plots, sheets
from pipeline.views.metadata import file, table_digest, table_output, thumbnail

GROUP = "images"
ALIKE = 6, 8  # rows of pictures with similar features, pictures per row
SHEET_ROWS, SHEET_COLUMNS = 20, 8  # clusters shown, pictures per cluster
READ = f"JPEG, PNG, WebP, GIF and AVIF are read, and {HEIC_MEND}"
OF_HOSTS = {"connection", "timeout", "http_5xx", "http_429", "http_4xx", "http_404", "private_address"}  # reasons


@dg.asset(group_name=GROUP, kinds={"parquet"}, code_version="1")
def image_urls(
    config: ImageUrlsConfig,
    method: Method,
    interactions: pa.Table,
    items: pa.Table,
    products: StoredTable,
    reviews: StoredTable,
) -> dg.Output[pa.Table]:
    """List one row per wanted picture: all of 5-core items, and for the generator a capped number per garment class."""
    settings = method.settings(ImageUrlSettings, "image_urls", config)
    # Items keep their numbers when they leave the 5-core, for example because a sample was drawn.
    extent = extents.recorded(interactions)
    if extents.extent_of(interactions).candidates == BOUGHT:
        items = items.filter(pc.is_in(items["item"], value_set=pc.unique(interactions["item"])))
    of_items = pc.field("asin").isin(items["asin"].combine_chunks())  # a column without chunks has no type
    wanted = of_items | pc.field("garment_class").is_valid() if settings.extra_per_class else of_items
    with_photo = (pc.list_value_length(pc.field("image_urls")) > 0) & of_items
    shown = products.read(["asin", "garment_class", *survivors.url_columns(settings.vendor_resolution)], wanted)
    other_size = pc.and_(
        survivors.lacking_size(shown, settings.vendor_resolution),
        pc.is_in(shown["asin"], value_set=items["asin"].combine_chunks()).combine_chunks(),
    )
    table = survivors.image_urls(
        items,
        shown,
        reviews.read(where=with_photo),
        vendor_resolution=settings.vendor_resolution,
        extra_per_class=settings.extra_per_class,
        seed=settings.seed,
        modes=settings.modes,
    )
    table = extents.carrying(table, extent and replace(extent, modes=settings.modes))
    by_source = {source: pc.sum(pc.equal(table["source"], source)).as_py() or 0 for source in ("vendor", "customer")}
    # The version ignores signatures: an address that is signed again still names the same picture.
    return table_output(
        table,
        version=table_digest(keyed(table)),
        by_source=by_source,
        urls=pc.count_distinct(table["url"]).as_py(),
        items_shown_in_the_other_size=pc.sum(other_size).as_py() or 0,
        modes=", ".join(settings.modes),
    )


# The fetcher retries each URL itself, and the next run asks for transient failures again. The step itself is only
# retried if no picture could be fetched.
@dg.asset(group_name=GROUP, kinds={"parquet", "aiohttp"}, code_version="1", pool="network")
def image_ledger(
    context: dg.AssetExecutionContext,
    config: ImageLedgerConfig,
    method: Method,
    fetcher: ImageFetcher,
    storage: Storage,
    raw: RawSources,
    image_urls: pa.Table,
) -> dg.Output[pa.Table]:
    """Fetch URLs that are missing or failed transiently; record each URL's result, and store each content once.

    Pictures in files are read inside the folders of the tables and those that shop.toml names.
    """
    store = PictureStore(storage.pictures)
    urls = pc.unique(image_urls["url"]).to_pylist()
    fetching = method.settings(FetchSettings, "image_ledger", config)
    again = placeholders_to_retry(storage.tables / "image_ledger.parquet", fetching)
    fetching = replace(fetching, picture_folders=raw.picture_folders(), retry_urls=again)
    plan = fetcher.plan(urls, store, fetching)
    context.log.info("pictures to fetch: " + fetch_table.line(plan))
    terminal.show(fetch_table.terminal_table(plan))
    report = fetcher.fetch(urls, store, fetching, reporter(context, "fetching pictures"))
    known = store.ledger()
    wanted = known.filter(pc.is_in(keys(known["url"]), value_set=keys(pa.array(urls, pa.string()))))
    settings = method.settings(LedgerSettings, "image_ledger", config)
    table = mark_placeholders(wanted, image_urls, settings.placeholder_items, settings.known_placeholders)
    counts = {entry["values"]: entry["counts"] for entry in table["reason"].value_counts().to_pylist()}
    ok = counts.pop("ok", 0)
    if "unsupported_format" in counts and not heif_is_read():
        context.log.warning(f"{counts['unsupported_format']:,} pictures have an unsupported format: {READ}")
    if urls and not ok:
        may_pass = any(STATUS_OF[reason] == "transient" for reason in counts)
        with network(context):
            raise (UnreachableError if may_pass else InputError)(
                f"none of {len(urls):,} pictures could be fetched: {counts}. {_mend(counts)}"
            )
    return table_output(
        table,
        version=table_digest(keyed(table)),
        requests=report.requests,
        images_ok=ok,
        images_broken=counts,
        broken_share=round(1 - ok / max(1, len(urls)), 5),
        plan=dg.MetadataValue.md(fetch_table.markdown(plan)),
        planned_requests=plan.requests,
        planned_megabytes=round(plan.bytes / 1e6, 3),
        planned_seconds=round(plan.seconds, 1),
        fetch_seconds=round(report.seconds, 1),
        **_picture_metadata(table, store, counts, storage),
    )


def _mend(broken: dict[str, int]) -> str:
    """Return a sentence on what to do if no picture could be fetched or read."""
    said = []
    if "file_missing" in broken:
        said.append("Paths of pictures on this machine are relative to the folder of their table: are the files there?")
    if "outside_folders" in broken:
        said.append(
            "Pictures on this machine are read only inside the folders of the tables: move or copy them there, or name"
            " their folder in shop.toml: [pictures] folders. Those in s3:// are read only"
            " inside a folder s3://bucket/prefix that is named there."
        )
    if "file_unreadable" in broken:
        said.append("Files could not be read: check their permissions, and the credentials for those in s3://.")
    if "unsupported_format" in broken and not heif_is_read():
        said.append(f"Pictures have an unsupported format: {READ}.")
    if not said or set(broken) & OF_HOSTS:
        said.append("Are the hosts up? Private addresses must be named in ATELIER_ALLOW_HOSTS as host:port.")
    return " ".join(said)


def _picture_metadata(table: pa.Table, store: PictureStore, broken: dict[str, int], storage: Storage) -> dict[str, Any]:
    """Draw a contact sheet of kept pictures and a bar chart of the reasons for the others; return both as metadata."""
    folder = storage.reports / "pictures"
    shown: dict[str, Any] = {}
    chosen = _sample(table.filter(pc.equal(table["status"], "ok")))
    if chosen:
        kept = dict(store.read(chosen))
        sheet = sheets.grid([sheets.framed(decode(kept[sha])) for sha in chosen], 12)
        shown |= {"kept": thumbnail(sheet), "kept_sheet": file(sheets.save(folder / "kept.png", sheet))}
    if broken:
        chart = plots.bars(broken, f"{sum(broken.values()):,} of {len(table):,} pictures not kept, by reason")
        shown |= {"pruned": thumbnail(chart), "pruned_chart": file(sheets.save(folder / "pruned.png", chart))}
    return shown


def _sample(ok: pa.Table, ranges: int = 5, each: int = 12) -> list[str]:
    """Choose hashes from a few ranges of fetch time, so that few shards are read."""
    in_order = list(dict.fromkeys(ok.sort_by("fetched_at")["sha256"].to_pylist()))
    starts = np.linspace(0, max(0, len(in_order) - each), ranges).astype(int)
    return list(dict.fromkeys(sha for start in starts.tolist() for sha in in_order[start : start + each]))


@dg.asset(group_name=GROUP, kinds={"numpy"}, code_version="1")
def image_bank(
    context: dg.AssetExecutionContext,
    config: ImageBankConfig,
    method: Method,
    engine: Engine,
    storage: Storage,
    image_urls: pa.Table,
    image_ledger: pa.Table,
) -> dg.MaterializeResult:
    """Decode the pictures of 5-core items once, into a memory-mapped uint8 array with an index."""
    settings = method.settings(BankSettings, "image_bank", config)
    of_items = image_urls.filter(pc.is_valid(image_urls["item"]))["url"]
    ok = image_ledger.filter(pc.equal(image_ledger["status"], "ok"))
    ok = ok.filter(pc.is_in(keys(ok["url"]), value_set=pc.unique(keys(of_items))))
    contents = sorted(set(ok["sha256"].to_pylist()))
    report = reporter(context, "decoding pictures")
    with engine.running() as runner:
        bank = build_bank(
            PictureStore(storage.pictures),
            contents,
            storage.bank,
            settings.size,
            resample=settings.resample,
            workers=settings.workers,
            on_progress=lambda now: report(now.done, now.total, ""),
            runner=runner,
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


@dg.asset(group_name=GROUP, kinds={"parquet"}, code_version="1", deps=[image_bank])
def near_duplicates(
    context: dg.AssetExecutionContext,
    config: NearDuplicatesConfig,
    method: Method,
    storage: Storage,
    image_urls: pa.Table,
    image_ledger: pa.Table,
) -> dg.Output[pa.Table]:
    """Cluster pictures that show the same photograph; clusters over several items leak across splits."""
    bank = open_bank(storage.bank)
    of_items = image_urls.filter(pc.is_valid(image_urls["item"]))
    ok = image_ledger.filter(pc.equal(image_ledger["status"], "ok"))
    at = pc.index_in(keys(of_items["url"]), value_set=keys(ok["url"]).combine_chunks())
    shown = pa.table({"sha256": ok["sha256"].combine_chunks().take(at), "item": of_items["item"]})
    report = reporter(context, "near-duplicates")
    settings = method.settings(NearDuplicateSettings, "near_duplicates", config)
    found = find(bank.pixels, bank.index["sha256"], shown, settings, lambda done, total: report(done, total, ""))
    metadata: dict[str, Any] = {**found.counts, **asdict(settings)}
    groups = largest_across_items(found.table, SHEET_ROWS)
    if groups:
        sheet = sheets.rows_of([bank.pixels[rows] for rows in groups], SHEET_COLUMNS)
        path = sheets.save(storage.reports / "pictures" / "near_duplicates.png", sheet)
        items = found.table["cluster_items"].to_numpy()
        rows = "\n".join(f"| {n} | {len(group)} | {items[group[0]]} |" for n, group in enumerate(groups, 1))
        table = dg.MetadataValue.md(f"| row of the sheet | pictures | items |\n|---:|---:|---:|\n{rows}")
        metadata |= {"largest_clusters": table, "largest_clusters_sheet": thumbnail(sheet), "contact_sheet": file(path)}
    return table_output(found.table, **metadata)


@dg.asset(group_name=GROUP, kinds={"numpy", "pytorch"}, code_version="2", deps=[image_bank], pool="gpu")
def image_features(
    context: dg.AssetExecutionContext,
    config: ImageFeaturesConfig,
    method: Method,
    engine: Engine,
    storage: Storage,
    compute: Compute,
) -> dg.MaterializeResult:
    """Compute frozen ImageNet features of every picture in the bank, once for all modes and recommenders."""
    from pipeline.core.images import features, trunks

    settings = method.settings(FeatureSettings, "image_features", config)
    bank = open_bank(storage.bank)
    by = trunks.version(settings.network, settings.weights)
    version = digest(bank.digest, {"feature_size": settings.feature_size}, by)
    trunk = storage.feature_network(by) if settings.network != trunks.DEFAULT else None
    if trunk is not None and not trunk.is_file():
        trunks.of_timm(settings.network, settings.weights).save(trunk)
    trunks.expect_size(trunk, settings.feature_size)
    report = reporter(context, "frozen features")
    path = storage.features(version)
    if not path.is_file():
        with engine.running() as runner:
            found = features.embed_bank(
                bank,
                size=settings.feature_size,
                device=compute.resolve(),
                runner=runner,
                trunk=trunk,
                on_progress=lambda done, total: report(done, total, ""),
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: save_array(temporary, found))
        digests.write_sums(path, found)
    # The version covers how features are computed, not which pictures exist: the catalogue covers those. Otherwise new
    # pictures of one mode would train the other modes again.
    made_by = digest(bank.size, bank.resample, {"feature_size": settings.feature_size}, by)
    storage.set_current_features(version, made_by, settings.feature_size, by if trunk else "")
    metadata: dict[str, Any] = {"dagster/row_count": len(bank.pixels), "file": file(path), "network": settings.network}
    alike = most_alike(np.load(path, mmap_mode="r"), *ALIKE)
    if len(alike):
        metadata["each_picture_and_those_most_like_it"] = thumbnail(
            sheets.rows_of([bank.pixels[rows] for rows in alike], ALIKE[1], gap=2)
        )
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(made_by))
