"""Data cards, after *Datasheets for Datasets* (Gebru et al. 2021): what a model learnt from, and how."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.cards.generator import garments_of
from pipeline.cards.recommender import counts_of
from pipeline.cards.render import Card
from pipeline.home.contents import Home
from pipeline.home.storage import ModelFolder
from pipeline.lookbook.data import class_words
from pipeline.views.metadata import table_digest

DRAWN = "Drawn by Atelier itself, to show and test the whole chain where there is no shop's data."
OF_A_SHOP = "Kept by a shop for its own business; used here to learn taste from what was bought and pictured."
PEOPLE = (
    "Reviewers, by the ids that the shop gave them; the model knows numbers, a served model hashes. Photos by "
    "customers may show people, and nobody was asked for this use."
)
DRAWN_PEOPLE = "Nobody: shoppers and their photos were drawn."
NOT_FOR = (
    "Finding out about the people in it, or recognising them.",
    "Passing on its pictures and texts: whether they may be copied is for their owners to say.",
    "Saying what people in general like: it is one shop's, and what was shown there was chosen by the shop.",
)


def of_recommender(home: Home, mode: str, folder: ModelFolder, name: str, licence: str) -> Card:
    """The data card of a mode's recommender."""
    counts = counts_of(folder)
    newer = _digest(home.table("splits", mode)) != folder.manifest()["inputs"]["splits"]
    core, ledger = home.metadata("interactions").get("counts", {}), home.metadata("image_ledger")
    surviving = home.metadata("splits", mode).get("surviving", {})
    collected = {
        "reviews read": core.get("reviews"),
        "lines that could not be read": home.metadata("rejects").get("dagster/row_count"),
        "people": core.get("users"),
        "items": core.get("items"),
        "reviews that repeat a purchase": core.get("duplicate_reviews"),
        "people with enough purchases": core.get("five_core_users"),
        "items they chose": core.get("five_core_items"),
        "pictures asked for": home.metadata("image_urls").get("urls"),
        "pictures that work": ledger.get("images_ok"),
        "items that left for want of a picture": surviving.get("items_without_picture"),
        "people who left with them": _less(surviving.get("users_before"), surviving.get("users")),
    }
    composition = {
        "people": counts["users"],
        "items": counts["items"],
        "purchases learnt from": counts["train"],
        "purchases hidden for validation": counts["held_out"]["validation"],
        "purchases hidden for the test": counts["held_out"]["test"],
        "pictures by the shop": counts["by_source"]["vendor"],
        "pictures by customers": counts["by_source"]["customer"],
    }
    processed = (
        "People with fewer than five distinct purchases left, then items without a working picture, then people who "
        "fell under five.",
        "Of several reviews of one item by one person, one purchase was made; the stars were not used.",
        "Pictures were fetched once, checked, decoded and squashed to squares; equal pictures of an item were merged.",
        "Of each person one purchase was hidden for validation and one for the test."
        + (" One picture of it, that is: its other pictures train, so figures leak." if counts["leaky"] else
           " All its pictures left training with it, and so did photos in its review."),
    )  # fmt: skip
    return _card(
        home, folder, name, licence, composition, {} if newer else collected, newer, processed,
        words="A row is a purchase: somebody's review of an item, good or bad.",
    )  # fmt: skip


def of_generator(home: Home, folder: ModelFolder, name: str, licence: str) -> Card:
    """The data card of the generator."""
    by_class = garments_of(home, folder)
    ledger = home.metadata("image_ledger")
    composition = {class_words(each): count["kept"] for each, count in by_class.items()}
    gone = ("near_duplicate", "other_class", "outlier")
    collected = {
        "products": home.metadata("products").get("dagster/row_count"),
        "pictures that work": ledger.get("images_ok"),
        "pictures of the classes": sum(count["pictures"] for count in by_class.values()),
        **{f"discarded: {r.replace('_', ' ')}": sum(c.get(r, 0) for c in by_class.values()) for r in gone},
        "pictures kept": sum(count["kept"] for count in by_class.values()),
        "of them held out for evaluation": sum(count["held_out"] for count in by_class.values()),
    }
    processed = (
        "A product's class was read from the words of its categories and title.",
        "Pictures were cropped to the garment and brought to 64 x 64 pixels; the originals were kept.",
        "Near-duplicates, pictures that look like another class and outliers of their class were discarded, by frozen "
        "ImageNet features; what was discarded can be looked at.",
        "Whole products were held out, so that no garment is on both sides.",
    )
    newer = not by_class
    return _card(
        home, folder, name, licence, composition, {} if newer else collected, newer, processed,
        words="A row is a picture of a garment with its class." if by_class else "",
    )  # fmt: skip


def _card(
    home: Home,
    folder: ModelFolder,
    name: str,
    licence: str,
    composition: Mapping[str, int | None],
    collected: Mapping[str, int | None],
    newer: bool,
    processed: tuple[str, ...],
    words: str,
) -> Card:
    content: dict[str, Any] = {
        "name": name,
        "motivation": DRAWN if home.embedded else OF_A_SHOP,
        "source": ", ".join(home.files()) or "unnamed files",
        "licence": licence,
        "composition": list(composition.items()),
        "composition_words": words,
        "collected": [(text, value) for text, value in collected.items() if value is not None],
        "newer": newer,
        "processed": processed,
        "people": DRAWN_PEOPLE if home.embedded else PEOPLE,
        "not_for": NOT_FOR[2:] if home.embedded else NOT_FOR,
        "inputs": sorted(folder.manifest()["inputs"].items()),
    }
    return Card("data", content)


def _digest(table: pa.Table | None) -> str | None:
    return None if table is None else table_digest(table)


def _less(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else before - after
