"""The data set of each image mode: hold-outs, the catalogue of pictures, sampled triplets.

Code that computes survivors, splits, catalogue and triplets belongs in `core/dataset/`.
"""

from dataclasses import asdict, replace
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import parquet as pq
from pipeline.core import schemas
from pipeline.core.dataset import catalogue as catalogues
from pipeline.core.dataset import splits as hold_outs
from pipeline.core.dataset import survivors
from pipeline.core.dataset import triplets as triplet_sampling
from pipeline.core.dataset.bought_again import bought_again
from pipeline.core.dataset.extent import Extent, carrying, extent_of, recorded
from pipeline.core.dataset.loss import PictureLoss, picture_loss
from pipeline.core.dataset.split_facts import protocol_line, split_facts
from pipeline.core.dataset.triplets import TripletSettings
from pipeline.core.errors import InputError
from pipeline.core.images.bank import open_bank
from pipeline.core.schemas import IMAGE_MODES
from pipeline.core.tables import StoredTable
from pipeline.home.partitions import image_modes
from pipeline.home.storage import Storage
from pipeline.settings.assets import FiveCoreSettings, LossSettings, SplitSettings
from pipeline.settings.launchpad import SplitsConfig, TripletsConfig
from pipeline.settings.method import Method
from pipeline.views import filter_counts as steps
from pipeline.views import loss as losses
from pipeline.views import paper, plots
from pipeline.views.metadata import table_output, thumbnail, waterfall

GROUP = "dataset"


def _extent(method: Method, interactions: pa.Table) -> Extent:
    """Return the extent of the interactions; those of an earlier version do not record it, so k is the method's."""
    return extent_of(interactions, method.settings(FiveCoreSettings, "five_core").k)


def _surviving(
    method: Method, interactions: pa.Table, image_urls: pa.Table, image_ledger: pa.Table, mode: str
) -> survivors.Surviving:
    listed = extent_of(image_urls).modes
    if mode not in listed:
        raise InputError(
            f"image mode {mode}: image_urls lists only the pictures of {', '.join(listed)}: materialise it with this"
            " mode among its setting `modes`, then image_ledger and image_bank (--quick --modes does that)."
        )
    extent = _extent(method, interactions)
    k, candidates = extent.k, extent.candidates
    found = survivors.surviving(interactions, image_urls, image_ledger, mode, k=k, candidates=candidates)
    if not found.pairs.num_rows:
        raise InputError(
            f"image mode {mode}: no user keeps {k} items with a working picture ({found.counts}). "
            "See the reasons in image_ledger; materialise it again to retry pictures that could not be reached."
        )
    return found


@dg.asset(group_name=GROUP, partitions_def=image_modes, kinds={"parquet"}, code_version="3")
def splits(
    context: dg.AssetExecutionContext,
    config: SplitsConfig,
    method: Method,
    storage: Storage,
    interactions: pa.Table,
    users: pa.Table,
    items: pa.Table,
    image_urls: pa.Table,
    image_ledger: pa.Table,
) -> dg.Output[pa.Table]:
    """Hold out pairs for validation and for test, the same in every mode where they survive."""
    settings = method.settings(SplitSettings, "splits", config)
    loss = _loss(storage, interactions, items, image_urls, image_ledger, context.partition_key)
    extent = _extent(method, interactions)
    bound = method.settings(LossSettings, "splits", config).warn_lost
    shown = losses.plain(loss, bound, extent.k) if loss is not None else None
    if shown and losses.is_large(shown):
        context.log.warning(losses.line(context.partition_key, shown))
    by_mode: dict[str, survivors.Surviving] = {}
    for mode in IMAGE_MODES:
        if mode != context.partition_key and mode not in extent_of(image_urls).modes:
            continue
        try:
            by_mode[mode] = _surviving(method, interactions, image_urls, image_ledger, mode)
        except InputError as error:  # a shop with customers' photos alone has nobody in the shop's modes
            if mode == context.partition_key:
                raise
            context.log.warning(f"held-out items are not shared with another mode: {error}")
    if settings.hold_out == hold_outs.AUTO:
        shares = settings.cut, settings.test_share, settings.validation_share
        hold_out, why = hold_outs.choose_hold_out(by_mode, users, *shares)
        context.log.info(f"hold_out auto is {hold_out}: {why}")
        settings = replace(settings, hold_out=hold_out)
    table = hold_outs.assign(by_mode, context.partition_key, users, items, **asdict(settings))
    if settings.split_unit == "image":
        context.log.warning(
            "split_unit is image: other pictures of held-out pairs stay in training, so these figures leak; compare "
            "with interaction, the default"
        )
    surviving = by_mode[context.partition_key]
    facts = split_facts(table)
    context.log.info(protocol_line(facts))
    left_out = surviving.pairs.num_rows - table.group_by(["user", "item"]).aggregate([]).num_rows
    users_left_out = pc.count_distinct(surviving.pairs["user"]).as_py() - pc.count_distinct(table["user"]).as_py()
    if left_out:
        context.log.warning(
            f"{left_out:,} purchases are in no split: they are too late to train on, and their user has nothing to"
            f" train on ({users_left_out:,} people, who are not evaluated), their item no lasting picture, or another"
            " image mode lacks them"
        )
    sizes = {entry["values"]: entry["counts"] for entry in table["split"].value_counts().to_pylist()}
    paired = pc.count_distinct(table.filter(table["paired"])["user"]).as_py()
    counts = surviving.counts
    falls = steps.pruning(counts, extent.k)
    return table_output(
        carrying(table, recorded(interactions)),
        **sizes,
        paired_users=paired,
        split_unit=settings.split_unit,
        hold_out=settings.hold_out,
        protocol=protocol_line(facts),
        facts=facts,
        in_no_split=left_out,
        users_in_no_split=users_left_out,
        bought_again=_bought_again(storage, settings, table, users, items),
        steps=waterfall(counts),
        waterfall=thumbnail(plots.waterfall(falls, f"{context.partition_key}: what has a working picture")),
        surviving=counts,
        k=extent.k,
        extent=extent.label or None,
        loss=shown,
    )


def _bought_again(
    storage: Storage, settings: SplitSettings, splits: pa.Table, users: pa.Table, items: pa.Table
) -> dict[str, Any] | None:
    """Count purchases of something owned, for hold_out time; None without reviews, which no split needs."""
    path = storage.tables / "reviews.parquet"
    if settings.hold_out != "time" or not path.is_file():
        return None
    return bought_again(StoredTable(path, schemas.REVIEWS), splits, users, items)


def _loss(
    storage: Storage, interactions: pa.Table, items: pa.Table, image_urls: pa.Table, image_ledger: pa.Table, mode: str
) -> PictureLoss | None:
    """Count the items without a picture; None without products, which no split needs, or with an older version's."""
    path = storage.tables / "products.parquet"
    if not path.is_file():
        return None
    with pq.named(path):
        if "pictures_refused" not in pq.read_schema(path).names:
            return None
    of_items = pc.field("asin").isin(items["asin"].combine_chunks())
    known = StoredTable(path, schemas.PRODUCTS).read(["asin", "pictures_refused"], of_items)
    return picture_loss(interactions, items, known, image_urls, image_ledger, mode)


@dg.asset(group_name=GROUP, partitions_def=image_modes, kinds={"parquet"}, code_version="2", deps=["image_bank"])
def catalogue(
    context: dg.AssetExecutionContext,
    method: Method,
    storage: Storage,
    interactions: pa.Table,
    users: pa.Table,
    image_urls: pa.Table,
    image_ledger: pa.Table,
    splits: pa.Table,
) -> dg.Output[pa.Table]:
    """List the mode's surviving pictures, without photos of held-out reviews; merge equal pictures of an item."""
    surviving = _surviving(method, interactions, image_urls, image_ledger, context.partition_key)
    built = catalogues.build(surviving, splits, open_bank(storage.bank).index, users)
    mode = context.partition_key
    ours = paper.our_preprocessed(f"this run, {mode}", surviving.counts)
    return table_output(
        built.table,
        item_images=built.table.num_rows,
        items=pc.count_distinct(built.table["item"]).as_py(),
        steps=waterfall(built.counts),
        waterfall=thumbnail(plots.waterfall(steps.catalogue(built.counts), f"{mode}: the catalogue's pictures")),
        counts=built.counts,
        table_2=dg.MetadataValue.md(paper.table_2(ours)),
        # Separate numbers, so that the UI plots each over the runs. As in the paper, equal pictures count separately.
        table_2_users=ours.users,
        table_2_item_images=ours.item_images,
    )


@dg.asset(group_name=GROUP, partitions_def=image_modes, kinds={"parquet"}, code_version="2")
def triplets(config: TripletsConfig, method: Method, catalogue: pa.Table, splits: pa.Table) -> dg.Output[pa.Table]:
    """Sample training triplets for each epoch: a user, a picture of one of their items, pictures of other items."""
    settings = method.settings(TripletSettings, "triplets", config)
    table = triplet_sampling.sample(splits, catalogue, settings)
    return table_output(
        table,
        triplets_per_epoch=table.num_rows // settings.epochs,
        epochs=settings.epochs,
        negatives=settings.negatives,
    )
