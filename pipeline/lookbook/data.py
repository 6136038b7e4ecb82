"""The section about the data: counts, what each step of the 5-core removed, the fetched pictures, Tables 1 and 2."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.schemas import IMAGE_MODES, SOURCES
from pipeline.core.signatures import keys
from pipeline.lookbook import contact_sheets
from pipeline.lookbook.album import Album
from pipeline.lookbook.charts import Chart
from pipeline.lookbook.page import LeftOut, Section
from pipeline.views import paper, plots
from pipeline.views.filter_counts import five_core, pruning
from pipeline.views.home_contents import Home
from pipeline.views.loss import is_broken, is_large, words
from pipeline.views.words import MODES, class_words

TITLE = "The data"
REASONS = {
    "http_404": "gone (404)",
    "http_4xx": "refused (4xx)",
    "http_5xx": "server error",
    "http_429": "asked to slow down (429)",
    "timeout": "too slow",
    "connection": "no connection",
    "truncated": "cut short",
    "too_large": "too many bytes",
    "not_a_picture": "not a picture",
    "unsupported_format": "unsupported format",
    "too_costly": "too costly to decode",
    "too_small": "too small",
    "too_many_pixels": "too many pixels",
    "placeholder": "placeholder",
    "bad_url": "not a web address",
    "too_many_redirects": "too many redirects",
    "private_address": "private address",
    "robots": "forbidden by robots.txt",
    "file_missing": "no such file",
    "file_unreadable": "file not readable",
    "outside_folders": "outside the allowed folders",
}
MANY = 6  # items with this many pictures or more are counted together


@dataclass(frozen=True)
class Bar:
    """A count, and its share of the largest count."""

    name: str
    count: int
    share: float  # 0-100


@dataclass(frozen=True)
class ModeLoss:
    """The items of the 5-core that have no picture in an image mode, by reason; items = pictured + lost."""

    mode: str
    words: str
    items: int
    lost: int
    large: bool
    reasons: list[Bar]


@dataclass(frozen=True)
class CoreStep:
    """What is left after a step of the 5-core."""

    name: str
    reviews: int
    users: int
    items: int
    share: float  # of the reviews read, 0-100


def bars(counts: Mapping[str, int], names: Mapping[str, str]) -> list[Bar]:
    """Convert counts to bars, largest first."""
    most = max(counts.values(), default=0)
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Bar(names.get(name, name), count, round(100 * count / most, 1)) for name, count in ordered if count]


def table_of_steps(core: Mapping[str, Any]) -> list[CoreStep]:
    """List the steps of the 5-core from the metadata of the interactions; skip steps without all three counts."""
    counted = five_core(core["counts"], core.get("k", 5), core.get("iterative", False))
    left = {what: {step.name: step.left for step in steps} for what, steps in counted.items()}
    reviews = max(1, *left["reviews"].values())
    return [
        CoreStep(name.capitalize(), n, left["users"][name], left["items"][name], round(100 * n / reviews, 1))
        for name, n in left["reviews"].items()
        if name in left["users"] and name in left["items"]
    ]


def waterfalls(home: Home) -> list[Chart]:
    """Draw what each step of the 5-core left, and what pruning left of the mode with most pictures."""
    core = home.metadata("interactions")
    steps = five_core(core.get("counts", {}), core.get("k", 5), core.get("iterative", False))
    svg = plots.waterfall(steps, f"The {home.k}-core", form=plots.svg)
    left = ", ".join(f"{values[-1].left:,} {what}" for what, values in steps.items() if values)
    charts = [Chart(f"From the files to the {home.k}-core", f"The {home.k}-core leaves {left}", svg, "interactions")]
    mode = next((mode for mode in reversed(IMAGE_MODES) if home.metadata("splits", mode)), None)
    surviving = home.metadata("splits", mode).get("surviving", {}) if mode else {}
    if {"users_before", "items_before", "items_without_picture", "users", "items"} <= set(surviving):
        pruned = pruning(surviving, home.k)
        left = ", ".join(f"{values[-1].left:,} {what}" for what, values in pruned.items())
        svg = plots.waterfall(pruned, "Pictures", form=plots.svg)
        title = f"What has a working picture: {MODES[str(mode)]}"
        charts.append(Chart(title, f"Pruning leaves {left}", svg, "splits", mode))
    return charts


def losses(home: Home) -> list[ModeLoss]:
    """List why items of the 5-core have no picture, in each image mode that was split."""
    found = []
    for mode in IMAGE_MODES:
        known = home.metadata("splits", mode).get("loss")
        if known:
            names = {
                reason: f"broken: {REASONS.get(reason, reason)}" if is_broken(reason) else words(reason)
                for reason in known["lost"]
            }
            lost = sum(known["lost"].values())
            rows = bars(known["lost"], names)
            found.append(ModeLoss(mode, MODES[mode], known["items"], lost, is_large(known), rows))
    return found


def pictures_per_item(home: Home) -> Chart | None:
    """Draw how many pictures items have, in each image mode; None without a catalogue."""
    labels, series, source = [*map(str, range(1, MANY)), f"{MANY} or more"], {}, None
    for mode in IMAGE_MODES:
        catalogue = home.table("catalogue", mode)
        if catalogue is not None and catalogue.num_rows:
            counts = np.unique(catalogue["item"].to_numpy(), return_counts=True)[1]
            series[MODES[mode]] = np.bincount(np.minimum(counts, MANY), minlength=MANY + 1)[1:].tolist()
            source = mode
    if not series:
        return None
    svg = plots.shares(labels, series, "Pictures of an item", "pictures of an item", "items", form=plots.svg)
    summary = "; ".join(f"{name}: {values[0]:,} items with one picture" for name, values in series.items())
    return Chart("How many pictures an item has", summary, svg, "catalogue", source)


def median_heights(image_urls: pa.Table, image_ledger: pa.Table) -> dict[str, float]:
    """Compute the median height in pixels of the working pictures of each source."""
    ok = image_ledger.filter(pc.equal(image_ledger["status"], "ok"))
    ok = pa.table({"key": keys(ok["url"]), "height": ok["height"]})
    shown = pa.table({"key": keys(image_urls["url"]), "source": image_urls["source"]})
    joined = shown.join(ok, "key", join_type="inner")
    heights = joined["height"].to_numpy(zero_copy_only=False)
    source = joined["source"].to_numpy(zero_copy_only=False)
    return {name: float(np.median(heights[source == name])) for name in SOURCES if (source == name).any()}


def our_data_set(home: Home) -> paper.DataSet:
    """Make our row of Table 1."""
    core = home.metadata("interactions").get("counts", {})
    urls, ledger = home.table("image_urls"), home.table("image_ledger")
    heights = median_heights(urls, ledger) if urls is not None and ledger is not None else {}
    return paper.our_data_set(f"This run: {home.label}", core, heights.get("vendor"), heights.get("customer"))


def section(home: Home, album: Album) -> Section | LeftOut:
    """Build the section, with or without reviews."""
    products = home.metadata("products")
    if not products:
        return LeftOut(TITLE, "nothing was ingested yet: materialise the group ingest")
    classes: dict[str, int] = products.get("garment_classes", {})
    fetched = home.metadata("image_ledger")
    broken: dict[str, int] = fetched.get("images_broken", {})
    core = home.metadata("interactions").get("counts", {})
    per_mode = [_mode(home, mode) for mode in IMAGE_MODES]
    content: dict[str, Any] = {
        "products": products.get("dagster/row_count"),
        "rejects": home.metadata("rejects").get("dagster/row_count"),
        "reject_reasons": home.metadata("rejects").get("reasons", {}),
        "duplicates": core.get("duplicate_reviews"),
        "k": home.k,
        "extent": home.extent,
        "steps": table_of_steps(home.metadata("interactions")) if core else [],
        "urls": (fetched["images_ok"] + sum(broken.values())) if fetched else None,
        "working": fetched.get("images_ok"),
        "broken": sum(broken.values()),
        "reasons": bars(broken, REASONS),
        "classes": bars({class_words(k): v for k, v in classes.items() if k != "none"}, {}),
        "unclassed": classes.get("none", 0),
        "losses": losses(home),
        "modes": [found for found in per_mode if found],
        "table_1": [*paper.TABLE_1, our_data_set(home)] if core else [],
        "table_2": [(mode, MODES[mode], paper.published(mode), _ours(per_mode, mode)) for mode in IMAGE_MODES],
        "original": paper.TABLE_2[paper.ORIGINAL],
        "waterfalls": waterfalls(home) if core else [],
        "per_item": pictures_per_item(home),
        "sheets": contact_sheets.by_class(home, album),
        "pairs_mode": contact_sheets.WITH_CUSTOMERS,
        "pairs": contact_sheets.shop_and_customers(home, album),
    }
    wanted = [(name, None) for name in ("reviews", "products", "rejects", "interactions", "image_urls", "image_ledger")]
    wanted += [("garments", None)]
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
