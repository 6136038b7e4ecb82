"""Make product cards with a small picture and a title: choose the picture of each item and read it from the store."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from pipeline.core.images.ledger import PictureStore
from pipeline.core.images.pictures import PictureError, decode
from pipeline.lookbook.album import CARD_HEIGHT, Album
from pipeline.lookbook.page import Picture


@dataclass(frozen=True)
class ProductCard:
    """A product; `picture` is None if it could not be read."""

    item: int
    asin: str
    title: str
    picture: Picture | None


def titles(items: pa.Table, products: pa.Table) -> dict[int, tuple[str, str]]:
    """Map each item to (asin, title); the title is "" if the metadata has none."""
    title_of = dict(zip(products["asin"].to_pylist(), products["title"].to_pylist(), strict=True))
    pairs = zip(items["item"].to_pylist(), items["asin"].to_pylist(), strict=True)
    return {item: (asin, title_of.get(asin, "").strip()) for item, asin in pairs}


def first_rows(catalogue: pa.Table) -> dict[int, int]:
    """Map each item to the row of the picture that represents it: the shop's first, or else a customer's first."""
    items, sources, positions = (catalogue[name].to_pylist() for name in ("item", "source", "position"))
    order = sorted(range(len(items)), key=lambda row: (items[row], sources[row] != "vendor", positions[row]))
    first: dict[int, int] = {}
    for row in order:
        first.setdefault(items[row], row)
    return first


def first_pictures(catalogue: pa.Table) -> dict[int, str]:
    """Map each item to the sha256 of the picture that represents it."""
    shas = catalogue["sha256"].to_pylist()
    return {item: shas[row] for item, row in first_rows(catalogue).items()}


def cards(
    wanted: Iterable[int], names: dict[int, tuple[str, str]], shas: dict[int, str], store: PictureStore, album: Album
) -> dict[int, ProductCard]:
    """Make a card for every wanted item; each picture is read once, in the store's order."""
    items = sorted(set(wanted))
    titled = {item: names.get(item, (f"item {item}", "")) for item in items}
    of_sha: dict[str, list[int]] = {}
    for item in items:
        if item in shas and shas[item] in store:
            of_sha.setdefault(shas[item], []).append(item)
    pictures: dict[int, Picture] = {}
    for sha, data in store.read(of_sha):
        try:
            pixels = decode(data)
        except PictureError:  # stored before a rule was tightened; the card then has no picture
            continue
        for item in of_sha[sha]:
            asin, title = titled[item]
            pictures[item] = album.add(pixels, title or asin, CARD_HEIGHT)
    return {item: ProductCard(item, asin, title, pictures.get(item)) for item, (asin, title) in titled.items()}
