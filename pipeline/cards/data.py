"""Data cards, after *Datasheets for Datasets* (Gebru et al. 2021): the data that a model was trained on."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.cards.generator import garments_of
from pipeline.cards.recommender import counts_of
from pipeline.cards.render import Card
from pipeline.core.dataset.extent import Extent
from pipeline.core.tables import table_digest
from pipeline.home.storage import ModelFolder
from pipeline.views.home_contents import Home
from pipeline.views.words import class_words

DRAWN = "Made up by Atelier itself, to demonstrate and test the whole pipeline without a shop's data."
OF_A_SHOP = "Collected by a shop for its own business; used here to learn taste from purchases and pictures."
PEOPLE = (
    "Reviewers, by the ids that the shop gave them; the model stores them as numbers, a served model as hashes. Photos "
    "by customers may show people, and nobody was asked for consent to this use."
)
DRAWN_PEOPLE = "Nobody: shoppers and their photos were made up."
NOT_FOR = (
    "Finding out about the people in it, or recognising them.",
    "Distributing its pictures and texts: only their owners can allow copies.",
    "Claims about the taste of people in general: the data is of one shop, which chose what to show.",
)


def of_recommender(home: Home, mode: str, folder: ModelFolder, name: str, licence: str) -> Card:
    """Make the data card of a mode's recommender."""
    counts = counts_of(folder)
    newer = _digest(home.table("splits", mode)) != folder.manifest()["inputs"]["splits"]
    core, ledger = home.metadata("interactions").get("counts", {}), home.metadata("image_ledger")
    surviving = home.metadata("splits", mode).get("surviving", {})
    k = Extent.of(folder.manifest().get("extent")).k
    collected = {
        "reviews read": core.get("reviews"),
        "lines that could not be read": home.metadata("rejects").get("dagster/row_count"),
        "people": core.get("users"),
        "items": core.get("items"),
        "reviews that repeat a purchase": core.get("duplicate_reviews"),
        "people with enough purchases": core.get("users_with_k_items", core.get("five_core_users")),
        "people drawn as a sample of them": core.get("five_core_users") if "users_with_k_items" in core else None,
        "items they chose": core.get("five_core_items"),
        "pictures requested": home.metadata("image_urls").get("urls"),
        "pictures that work": ledger.get("images_ok"),
        "items dropped for lack of a picture": surviving.get("items_without_picture"),
        "people dropped with them": _less(surviving.get("users_before"), surviving.get("users")),
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
        f"People with fewer than {k} distinct purchases were dropped, then items without a working picture, then "
        f"people left with fewer than {k}.",
        "Several reviews of one item by one person count as one purchase; star ratings were not used.",
        "Pictures were fetched once, checked, decoded and resized to squares; equal pictures of an item were merged.",
        f"{counts['held_out']['validation']:,} purchases were hidden for validation and"
        f" {counts['held_out']['test']:,} for the test. {counts['protocol']}"
        + (" Only one picture of each was hidden; its other pictures were trained on, so figures leak."
           if counts["leaky"] else
           " All their pictures, and the photos in their reviews, were removed from training with them."),
    )  # fmt: skip
    return _card(
        home, folder, name, licence, composition, {} if newer else collected, newer, processed,
        words="A row is a purchase: a person's review of an item, good or bad.",
    )  # fmt: skip


def of_generator(home: Home, folder: ModelFolder, name: str, licence: str) -> Card:
    """Make the data card of the generator."""
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
        "of these held out for evaluation": sum(count["held_out"] for count in by_class.values()),
    }
    processed = (
        "The class of a product was derived from the words of its categories and title.",
        "Pictures were cropped to the garment and resized to 64 x 64 pixels; the originals were kept.",
        "Near-duplicates, pictures that look like another class, and outliers of their class were discarded, based on "
        "frozen ImageNet features; discarded pictures can be inspected.",
        "Whole products were held out, so that no garment is in both training and evaluation.",
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
    extent = Extent.of(folder.manifest().get("extent"))
    content: dict[str, Any] = {
        "name": name,
        "motivation": DRAWN if home.embedded else OF_A_SHOP,
        "source": ", ".join(home.files()) or "unnamed files",
        "licence": licence,
        "composition": list(composition.items()),
        "composition_words": words,
        "extent": extent.label,
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
