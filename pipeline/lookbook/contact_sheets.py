"""Draw contact sheets of the data: garments of each class, and shop pictures beside the customers' photos."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from pipeline.core.images.pictures import PictureError, decode
from pipeline.core.tables import table_digest
from pipeline.lookbook.album import Album, join
from pipeline.lookbook.page import Picture
from pipeline.views import sheets
from pipeline.views.home_contents import Home

ACROSS, DOWN = 8, 3
WITH_CUSTOMERS = "vendor_customer"  # the mode with both kinds of pictures
PAIRS, PHOTOS, SIDE = 6, 3, 96  # number of items, customers' photos of each, side in pixels


@dataclass(frozen=True)
class Sheet:
    """A sheet, the name of its subject, and the number of pictures of that subject in the data."""

    name: str
    count: int
    picture: Picture


def by_class(home: Home, album: Album) -> list[Sheet]:
    """Make a sheet of each garment class, with pictures evenly spread over the generator's data."""
    table = home.table("garments")
    if table is None:
        return []
    path = home.storage.garments / f"{table_digest(table)}.npy"
    if not path.is_file():  # the pixels are of another version: materialise garments again
        return []
    pixels = np.load(path, mmap_mode="r")
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in zip(table["garment"].to_pylist(), table["garment_class"].to_pylist(), strict=True):
        rows[name].append(row)
    contact_sheets = []
    for name, of_class in rows.items():
        columns = min(ACROSS, len(of_class))
        count = min(ACROSS * DOWN, len(of_class) // columns * columns)
        chosen = [of_class[round(position)] for position in np.linspace(0, len(of_class) - 1, count)]
        grid = np.stack([pixels[row] for row in chosen]).reshape(-1, columns, *pixels.shape[1:])
        alt = f"{count} of {len(of_class)} pictures of the class {name.replace('_', ' ')}"
        contact_sheets.append(Sheet(name, len(of_class), album.add(join(grid), alt)))
    return contact_sheets


def shop_and_customers(home: Home, album: Album, mode: str = WITH_CUSTOMERS) -> list[Sheet]:
    """Make a sheet of each of the items with most customers' photos: the shop's picture first, then theirs."""
    catalogue = home.table("catalogue", mode)
    if catalogue is None:
        return []
    shop: dict[int, str] = {}
    photos: dict[int, list[str]] = defaultdict(list)
    columns = catalogue.select(["item", "source", "sha256"]).to_pydict()
    for item, source, sha in zip(columns["item"], columns["source"], columns["sha256"], strict=True):
        if source == "vendor":
            shop.setdefault(item, sha)
        else:
            photos[item].append(sha)
    chosen = sorted((item for item in photos if item in shop), key=lambda item: (-len(photos[item]), item))[:PAIRS]
    store, pixels = home.store(), {}
    wanted = {sha for item in chosen for sha in [shop[item], *photos[item][:PHOTOS]] if sha in store}
    for sha, data in store.read(wanted):
        try:
            pixels[sha] = sheets.framed(decode(data), SIDE)
        except PictureError:  # stored before a rule was tightened
            continue
    pairs = []
    for item in chosen:
        row = [pixels[sha] for sha in [shop[item], *photos[item][:PHOTOS]] if sha in pixels]
        if shop[item] in pixels and len(row) > 1:
            alt = f"Item {item}: the shop’s picture, then {len(row) - 1} of its customers’"
            pairs.append(Sheet(f"Item {item}", len(photos[item]), album.add(join(np.stack(row)[None]), alt)))
    return pairs
