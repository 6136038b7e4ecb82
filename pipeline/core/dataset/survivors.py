"""List the pictures to fetch, and prune each mode to the items and users that are left once the ledger is known.

`catalogue.py` later merges equal pictures and removes held-out photos.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.dataset.candidates import ALL, BOUGHT
from pipeline.core.errors import InputError
from pipeline.core.signatures import freshest, keyed

IMAGES = pa.schema(
    [
        pa.field("item", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("position", pa.int16(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        ("review_id", pa.string()),
        ("reviewer_id", pa.string()),
    ]
)
# Image mode -> (sources of its pictures, whether an item has only its first). docs/how-to.md says how to add a mode.
RULES: dict[str, tuple[tuple[str, ...], bool]] = {
    "vendor_single": (("vendor",), True),
    "vendor_all": (("vendor",), False),
    "vendor_customer": (("vendor", "customer"), False),
}
MOST_POSITIONS = np.iinfo(np.int16).max


@dataclass(frozen=True)
class Surviving:
    """One mode after pruning.

    `images` has one row per (item, url, reviewer); vendor pictures have a null reviewer. counts["item_images"] is the
    number of distinct (item, url), as in Table 2 of NAF.
    """

    mode: str
    pairs: pa.Table  # INTERACTIONS
    images: pa.Table  # IMAGES: working pictures of the items that are left
    counts: dict[str, int] = field(default_factory=dict)


def image_urls(
    items: pa.Table,
    products: pa.Table,
    reviews: pa.Table,
    *,
    vendor_resolution: str = "low",
    extra_per_class: int = 0,
    seed: int = 0,
    modes: Collection[str] = schemas.IMAGE_MODES,
) -> pa.Table:
    """Build IMAGE_URLS: the vendor pictures of every 5-core item and the customer pictures of all reviews of it.

    A URL has one row per item if it is a vendor picture (the first position), else one row per item and reviewer (the
    first review). Reviewers have rows of their own because a photo is removed with each of their held-out reviews.

    Args:
        items: ITEMS.
        products: PRODUCTS, of which only asin, garment_class and `url_columns` are read.
        reviews: REVIEWS.
        vendor_resolution: low (imageURL, as in NAF) or high; a product without pictures in it has those in the other.
        extra_per_class: how many products outside the 5-core to add for the generator, per garment class, with item
            null; 0: none. The choice is seeded and does not depend on the order of files.
        seed: of that choice.
        modes: image modes whose pictures are listed; if each has only an item's first, so has the table.
    """
    sources = {source for mode in modes for source in RULES[mode][0]}
    products, column = in_one_size(products, vendor_resolution), url_columns(vendor_resolution)[0]
    extra = _extra_products(items, products, extra_per_class, seed) if extra_per_class else products.slice(0, 0)
    item_of = pc.index_in(products["asin"], value_set=items["asin"].combine_chunks())
    wanted = products.filter(pc.is_valid(item_of))
    vendor = pa.concat_tables([_exploded(wanted, column, "vendor"), _exploded(extra, column, "vendor")])
    if all(RULES[mode][1] for mode in modes):
        vendor = vendor.filter(pc.equal(vendor["position"], 0))
    of_items = pc.is_in(reviews["asin"], value_set=items["asin"].combine_chunks())
    of_items = of_items if "customer" in sources else pa.repeat(pa.scalar(False), reviews.num_rows)
    customer = _exploded(reviews.filter(of_items), "image_urls", "customer")
    table = pa.concat_tables([vendor, customer])
    # URLs that differ only in their signature are one picture, to be fetched at its newest address. From here on,
    # equal URLs are equal pictures.
    table = table.set_column(table.schema.get_field_index("url"), "url", freshest(table["url"]))
    at = pc.index_in(table["asin"], value_set=items["asin"].combine_chunks())
    table = table.append_column("item", items["item"].combine_chunks().take(at))
    # Each URL once as a vendor picture and once per reviewer; a customer's copy of a vendor URL is dropped below.
    keys = pa.table({"asin": table["asin"], "url": table["url"], "reviewer": table["reviewer_id"].fill_null("")})
    table = table.filter(pa.array(_first_of(keys)))
    pairs = _pair_codes(table["asin"], table["url"])
    is_vendor = np.asarray(pc.equal(table["source"], "vendor"))
    table = table.filter(pa.array(is_vendor | ~np.isin(pairs, pairs[is_vendor])))
    return table.select(schemas.IMAGE_URLS.names).cast(schemas.IMAGE_URLS)


def url_columns(vendor_resolution: str) -> list[str]:
    """Return the columns of PRODUCTS with vendor pictures, those in that resolution (low or high) first."""
    if vendor_resolution not in ("low", "high"):
        raise ValueError(f"vendor_resolution: {vendor_resolution!r} is neither low nor high")
    columns = ["vendor_urls", "vendor_urls_high"]
    return columns if vendor_resolution == "low" else columns[::-1]


def lacking_size(products: pa.Table, vendor_resolution: str) -> pa.Array:
    """Mark the products that have vendor pictures, but none in that resolution: bool [rows]."""
    wanted, other = url_columns(vendor_resolution)
    if other not in products.column_names:
        return pa.repeat(pa.scalar(False), products.num_rows)
    has = {name: pc.greater(pc.list_value_length(products[name]), 0).fill_null(False) for name in (wanted, other)}
    return pc.and_not(has[other], has[wanted]).combine_chunks()


def in_one_size(products: pa.Table, vendor_resolution: str) -> pa.Table:
    """Give each product without vendor pictures in that resolution those in the other, where that column was read."""
    wanted, other = url_columns(vendor_resolution)
    lacking = lacking_size(products, vendor_resolution)
    if not pc.any(lacking).as_py():
        return products
    at = products.schema.get_field_index(wanted)
    column = pc.if_else(lacking, products[other].cast(products[wanted].type), products[wanted])
    return products.set_column(at, products.schema.field(wanted), column)


def _extra_products(items: pa.Table, products: pa.Table, cap: int, seed: int) -> pa.Table:
    other = pc.invert(pc.is_in(products["asin"], value_set=items["asin"].combine_chunks()))
    pool = products.filter(pc.and_(other, pc.is_valid(products["garment_class"])))
    asins, classes = pool["asin"].to_pylist(), pool["garment_class"].to_pylist()
    order = sorted(range(len(asins)), key=lambda row: hashlib.blake2b(f"{seed}\0{asins[row]}".encode()).digest())
    taken: dict[str, int] = {}
    rows = []
    for row in order:
        taken[classes[row]] = taken.get(classes[row], 0) + 1
        if taken[classes[row]] <= cap:
            rows.append(row)
    return pool.take(pa.array(sorted(rows), pa.int64()))


def _exploded(table: pa.Table, column: str, source: str) -> pa.Table:
    """Expand the list column to one row per URL, with its place in the list."""
    lists = table[column].combine_chunks()
    row = pc.list_parent_indices(lists)
    lengths = np.asarray(pc.list_value_length(lists)).astype(np.int64)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    position = np.minimum(np.arange(lengths.sum()) - starts, MOST_POSITIONS).astype(np.int16)
    nulls = pa.nulls(len(row), pa.string())
    customer = source == "customer"
    return pa.table(
        {
            "asin": table["asin"].take(row),
            "source": pa.array([source] * len(row), pa.string()),
            "position": pa.array(position),
            "url": pc.list_flatten(lists),
            "review_id": table["review_id"].take(row) if customer else nulls,
            "reviewer_id": table["reviewer_id"].take(row) if customer else nulls,
        }
    )


def surviving(
    interactions: pa.Table, image_urls: pa.Table, ledger: pa.Table, mode: str, k: int = 5, *, candidates: str = BOUGHT
) -> Surviving:
    """Prune `mode`: drop items without a working picture, then users with fewer than `k` items, then untouched items.

    RULES says which pictures a mode has. One pass is enough, because dropping items that no remaining user touched
    takes nothing from any user. With candidates "all" untouched items keep their pictures, so that they can be
    recommended. `counts` has the numbers of each step.

    Raises:
        InputError: no picture works, or no user is left.
    """
    if mode not in schemas.IMAGE_MODES:
        raise ValueError(f"mode: {mode!r} is not one of {', '.join(schemas.IMAGE_MODES)}")
    images = _working(image_urls, ledger)
    sources, first_alone = RULES[mode]
    images = images.filter(pc.is_in(images["source"], value_set=pa.array(sources)))
    if first_alone:
        images = images.sort_by([("item", "ascending"), ("position", "ascending"), ("url", "ascending")])
        images = images.filter(pa.array(_first_of(images.select(["item"]))))
    if not images.num_rows:
        raise InputError(
            f"{mode}: no working picture of any of {len(pc.unique(interactions['item'])):,} items; look at the reasons"
            f" in image_ledger ({_reasons(ledger)})"
        )
    users, items = interactions["user"].to_numpy(), interactions["item"].to_numpy()
    counts = {"users_before": len(np.unique(users)), "items_before": len(np.unique(items))}
    counts["interactions_before"] = len(users)
    pictured = np.isin(items, images["item"].to_numpy())
    counts["items_without_picture"] = len(np.unique(items[~pictured]))
    enough = np.bincount(users[pictured], minlength=users.max(initial=0) + 1) >= k
    kept = pictured & enough[users]
    counts["users_under_k"] = counts["users_before"] - len(np.unique(users[kept]))
    counts["items_untouched"] = len(np.unique(items[pictured])) - len(np.unique(items[kept]))
    pairs = interactions.filter(pa.array(kept))
    if not pairs.num_rows:
        raise InputError(
            f"{mode}: no user is left with {k} items that have a working picture ({counts['items_without_picture']:,}"
            f" of {counts['items_before']:,} items have none); look at the reasons in image_ledger"
        )
    if candidates == BOUGHT:
        images = images.filter(pc.is_in(images["item"], value_set=pc.unique(pairs["item"])))
    counts |= {"users": len(np.unique(users[kept])), "items": len(np.unique(items[kept]))}
    counts["item_images"] = len(np.unique(_pair_codes(images["item"], images["url"])))
    counts["interactions"] = pairs.num_rows
    if candidates == ALL:
        counts["items_never_bought"] = len(pc.unique(images["item"])) - counts["items"]
    return Surviving(mode, pairs, images, counts)


def _working(image_urls: pa.Table, ledger: pa.Table) -> pa.Table:
    """Select IMAGES of 5-core items whose URL is ok in the ledger, in the order of `image_urls`; `url` is its key."""
    good = ledger.filter(pc.and_(pc.equal(ledger["status"], "ok"), pc.is_valid(ledger["sha256"])))
    table = image_urls.filter(pc.is_valid(image_urls["item"]))
    table = keyed(table)
    at = pc.index_in(table["url"], value_set=keyed(good)["url"].combine_chunks())
    table = table.append_column("sha256", good["sha256"].combine_chunks().take(at))
    return table.filter(pc.is_valid(at)).select(IMAGES.names).cast(IMAGES)


def _reasons(ledger: pa.Table) -> str:
    """Count the reasons why pictures do not work, the most frequent first."""
    broken = ledger.filter(pc.not_equal(ledger["status"], "ok"))["reason"].value_counts().to_pylist()
    counted = sorted(((entry["counts"], entry["values"]) for entry in broken), reverse=True)
    return ", ".join(f"{reason} {count:,}" for count, reason in counted) or "it has no picture"


def _pair_codes(left: pa.ChunkedArray, right: pa.ChunkedArray) -> np.ndarray:
    """Encode pairs as int64 [rows], equal exactly where both columns are equal."""
    a, b = (column.combine_chunks().dictionary_encode() for column in (left, right))
    return a.indices.to_numpy().astype(np.int64) * (len(b.dictionary) + 1) + b.indices.to_numpy()


def _first_of(keys: pa.Table) -> np.ndarray:
    """Mark the first row of each distinct combination of the columns of `keys`: bool [rows]."""
    codes = np.zeros(keys.num_rows, np.int64)
    for column in keys.columns:
        encoded = column.combine_chunks().dictionary_encode()
        mixed = codes * (len(encoded.dictionary) + 1) + encoded.indices.to_numpy()
        codes = np.unique(mixed, return_inverse=True)[1].astype(np.int64)  # made dense, so that nothing overflows
    first = np.zeros(keys.num_rows, bool)
    first[np.unique(codes, return_index=True)[1]] = True
    return first
