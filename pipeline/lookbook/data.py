"""The data's section: counts, what each step of the 5-core took away, what became of the pictures, Tables 1 and 2."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.schemas import IMAGE_MODES, SOURCES
from pipeline.lookbook import paper
from pipeline.lookbook.album import Album
from pipeline.lookbook.home import Home
from pipeline.lookbook.page import LeftOut, Section
from pipeline.sheets import load

TITLE = "The data"
# Counts of core/kcore.py in the order of its steps: what is counted there, and in words.
STEPS = (
    ("Reviews read", "reviews", "users", "items"),
    ("of users with at least five", "reviews_of_users_with_k_reviews", "users_with_k_reviews",
     "items_of_users_with_k_reviews"),
    ("distinct, five items or more", "interactions", "five_core_users", "five_core_items"),
)  # fmt: skip
REASONS = {
    "http_404": "gone (404)",
    "http_4xx": "refused (4xx)",
    "http_5xx": "server error",
    "http_429": "told to slow down",
    "timeout": "too slow",
    "connection": "no connection",
    "truncated": "cut short",
    "too_large": "too many bytes",
    "not_a_picture": "not a picture",
    "too_small": "too small",
    "too_many_pixels": "too many pixels",
    "placeholder": "placeholder",
    "bad_url": "not a web address",
    "too_many_redirects": "too many redirects",
    "private_address": "private address",
    "robots": "robots said no",
}
MODES = {
    "vendor_single": "first shop picture",
    "vendor_all": "all shop pictures",
    "vendor_customer": "shop and customer pictures",
}
CLASS_NAMES = {
    "women_tops": "Women’s tops",
    "women_pants": "Women’s trousers",
    "women_shoes": "Women’s shoes",
    "men_tops": "Men’s tops",
    "men_pants": "Men’s trousers",
    "men_shoes": "Men’s shoes",
}


@dataclass(frozen=True)
class Bar:
    """A count with its share of the largest."""

    name: str
    count: int
    share: float  # 0-100


@dataclass(frozen=True)
class Step:
    """What a step of the 5-core left."""

    name: str
    reviews: int
    users: int
    items: int
    share: float  # of the reviews read, 0-100


def bars(counts: Mapping[str, int], names: Mapping[str, str]) -> list[Bar]:
    """Counts as bars, largest first."""
    most = max(counts.values(), default=0)
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Bar(names.get(name, name), count, round(100 * count / most, 1)) for name, count in ordered if count]


def steps(counts: Mapping[str, int]) -> list[Step]:
    """The waterfall of the 5-core."""
    reviews = max(1, counts["reviews"])
    return [
        Step(name, counts[r], counts[u], counts[i], round(100 * counts[r] / reviews, 1))
        for name, r, u, i in STEPS
        if {r, u, i} <= counts.keys()
    ]


def median_heights(image_urls: pa.Table, image_ledger: pa.Table) -> dict[str, float]:
    """Median height in pixels of the working pictures of each source."""
    ok = image_ledger.filter(pc.equal(image_ledger["status"], "ok")).select(["url", "height"])
    joined = image_urls.select(["url", "source"]).join(ok, "url", join_type="inner")
    heights = joined["height"].to_numpy(zero_copy_only=False)
    source = joined["source"].to_numpy(zero_copy_only=False)
    return {name: float(np.median(heights[source == name])) for name in SOURCES if (source == name).any()}


def our_data_set(home: Home) -> paper.DataSet:
    """Our row of Table 1."""
    reviews, core = home.metadata("reviews"), home.metadata("interactions").get("counts", {})
    urls, ledger = home.table("image_urls"), home.table("image_ledger")
    heights = median_heights(urls, ledger) if urls is not None and ledger is not None else {}
    return paper.DataSet(
        f"This run: {home.label}",
        reviews.get("dagster/row_count"),
        core.get("users"),
        core.get("items"),
        core.get("five_core_users"),
        core.get("five_core_items"),
        heights.get("vendor"),
        heights.get("customer"),
    )


def section(home: Home, album: Album) -> Section | LeftOut:
    """The section, with or without reviews."""
    products = home.metadata("products")
    if not products:
        return LeftOut(TITLE, "nothing was ingested yet: materialise the group ingest")
    fetched = home.metadata("image_ledger")
    broken: dict[str, int] = fetched.get("images_broken", {})
    core = home.metadata("interactions").get("counts", {})
    per_mode = [_mode(home, mode) for mode in IMAGE_MODES]
    sheet = home.storage.reports / "pictures" / "bank.png"
    content: dict[str, Any] = {
        "products": products.get("dagster/row_count"),
        "rejects": home.metadata("rejects").get("dagster/row_count"),
        "reject_reasons": home.metadata("rejects").get("reasons", {}),
        "duplicates": core.get("duplicate_reviews"),
        "steps": steps(core) if core else [],
        "urls": (fetched["images_ok"] + sum(broken.values())) if fetched else None,
        "working": fetched.get("images_ok"),
        "broken": sum(broken.values()),
        "reasons": bars(broken, REASONS),
        "classes": bars({k: v for k, v in products.get("garment_classes", {}).items() if k != "none"}, CLASS_NAMES),
        "unclassed": products.get("garment_classes", {}).get("none", 0),
        "modes": [found for found in per_mode if found],
        "table_1": [*paper.TABLE_1, our_data_set(home)] if core else [],
        "table_2": [(mode, MODES[mode], paper.TABLE_2[mode], _ours(per_mode, mode)) for mode in IMAGE_MODES],
        "original": paper.TABLE_2[paper.ORIGINAL],
        "sheet": album.add(load(sheet), "A sample of the decoded pictures of the catalogue", 400)
        if sheet.is_file()
        else None,
    }
    wanted = [(name, None) for name in ("reviews", "products", "rejects", "interactions", "image_urls", "image_ledger")]
    wanted += [(name, mode) for mode in IMAGE_MODES for name in ("splits", "catalogue", "triplets")]
    return Section("data", TITLE, "Data", content, home.sources(wanted))


def _mode(home: Home, mode: str) -> dict[str, Any] | None:
    split = home.metadata("splits", mode)
    if not split:
        return None
    surviving = split.get("surviving", {})
    return {
        "mode": mode,
        "words": MODES[mode],
        "users": surviving.get("users"),
        "items": surviving.get("items"),
        "item_images": surviving.get("item_images"),
        "without_picture": surviving.get("items_without_picture"),
        "train": split.get("train"),
        "validation": split.get("validation"),
        "test": split.get("test"),
        "triplets": home.metadata("triplets", mode).get("triplets_per_epoch"),
    }


def _ours(per_mode: list[dict[str, Any] | None], mode: str) -> dict[str, Any]:
    return next((found for found in per_mode if found and found["mode"] == mode), {})
