"""The sections of designs: garments designed for one person, and restyled products, as strips with their scores."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.lookbook.album import Album, cut, join, spread
from pipeline.lookbook.charts import Chart
from pipeline.lookbook.page import LeftOut, Picture, Section
from pipeline.lookbook.product_cards import titles
from pipeline.recommenders import registry
from pipeline.settings.assets import LookbookSettings
from pipeline.views import plots
from pipeline.views.home_contents import Home
from pipeline.views.sheets import load
from pipeline.views.words import class_words

DESIGNS, RESTYLED = "Designed for one person", "Products moved towards a taste"
STEPS = 6  # pictures of a strip, from the first to the last


@dataclass(frozen=True)
class Design:
    """A design, from the first step of its search to the last."""

    words: str  # the class, or the person
    strip: Picture | None
    before: float
    after: float
    rank: int
    judges: int


@dataclass(frozen=True)
class DesignGroup:
    """The designs for a person, or from a product."""

    id: str
    title: str
    note: str
    whole: Picture | None  # the uncut strip, if it could not be cut
    designs: list[Design]


def figures(table: pa.Table) -> dict[str, Any]:
    """Average over the best designs of a DESIGNS table, and compute the level of chance."""
    table = table.filter(pc.equal(table["place"], 1))
    before, after = table["score_before"].to_numpy(), table["score_after"].to_numpy()
    user, fell = table["user"].to_numpy(), after <= before
    rank, judges = table["own_rank"].to_numpy(), table["judges"].to_numpy()
    return {
        "count": table.num_rows,
        "gain": float((after - before).mean()),
        "gained": float((after > before).mean()),
        "users_gained": 1 - len(np.unique(user[fell])) / len(np.unique(user)),
        "first": float((rank == 1).mean()),
        "first_in_class": float((table["own_rank_in_class"].to_numpy() == 1).mean()),
        "gain_sd": float(table["gain_sd"].to_numpy().mean()),
        "chance": float((1 / judges).mean()),
        "judges": int(judges.max()),
        "realism_before": float(table["realism_before"].to_numpy().mean()),
        "realism_after": float(table["realism_after"].to_numpy().mean()),
    }


def personal(home: Home, album: Album, settings: LookbookSettings) -> Section | LeftOut:
    """Build the section of personal designs."""
    table = home.table("personal_designs")
    if table is None or not table.num_rows:
        return LeftOut(DESIGNS, "nothing was designed: materialise personal_designs (it needs reviews)")
    people = []
    for strip, rows in _by_strip(table, settings.users):
        labels = [row["garment_class"] for row in rows]  # rows of the table and of the strip have the same order
        words = [class_words(label) for label in labels]
        user = rows[0]["user"]
        title = f"User {user}"
        people.append(
            _designs(f"design-{user}", title, "", home.storage.reports / "designs" / strip, labels, words, rows, album)
        )
    tradeoff = _tradeoff(home)
    sources = home.sources([("personal_designs", None), ("designs_tradeoff", None)])
    metadata = home.metadata("personal_designs")
    manifest = {"model": metadata["recommender"]} if "recommender" in metadata else {}
    how = {
        "objective": metadata.get("objective", "score"),
        "recommender": registry.of_manifest(manifest).title,
    }
    content = {"made": people, "tradeoff": tradeoff, **how, **figures(table)}
    return Section("designs", DESIGNS, "Designs", content, sources)


def _tradeoff(home: Home) -> Chart | None:
    """Draw the gain in score against the loss of realism, a point for each weight; None without a sweep."""
    rows = home.metadata("designs_tradeoff").get("rows", [])
    if not rows:
        return None
    alt = "With more weight on realism, the person’s score rises less and the garment looks more real"
    return Chart("What realism costs, by its weight eta", alt, plots.tradeoff(rows, form=plots.svg), "designs_tradeoff")


def restyled(home: Home, album: Album, settings: LookbookSettings) -> Section | LeftOut:
    """Build the section of restyled products."""
    table, items, products = home.table("restyled_products"), home.table("items"), home.table("products")
    if table is None or not table.num_rows:
        return LeftOut(RESTYLED, "nothing was restyled: materialise restyled_products (it needs reviews)")
    names = titles(items, products) if items is not None and products is not None else {}
    restyled_products = []
    for strip, rows in _by_strip(table, settings.users):
        first = rows[0]
        asin, title = names.get(first["item"], ("", ""))
        labels = [f"user {row['user']}" for row in rows]
        name = class_words(first["garment_class"])
        note = name if first["approximation_l1"] is None else (
            f"{name}. The nearest garment it can draw differs by {first['approximation_l1']:.0f} of 255 grey levels"
        )  # fmt: skip
        path = home.storage.reports / "restyled" / strip
        words = [f"User {row['user']}" for row in rows]
        restyled_products.append(
            _designs(Path(strip).stem, title or asin or name, note, path, labels, words, rows, album)
        )
    sources = home.sources([("restyled_products", None)])
    return Section("restyled", RESTYLED, "Restyled", {"made": restyled_products, **figures(table)}, sources)


def _by_strip(table: pa.Table, count: int) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    """Group the rows of the best designs by strip, and return the first `count` strips in the table's order."""
    strips: dict[str, list[dict[str, Any]]] = {}
    for row in table.filter(pc.equal(table["place"], 1)).drop_columns("z").to_pylist():
        strips.setdefault(row["strip"], []).append(row)
    return list(strips.items())[:count]


def _designs(
    id: str, title: str, note: str, path: Path, labels: list[str], words: list[str], rows: list[dict[str, Any]],
    album: Album,
) -> DesignGroup:  # fmt: skip
    """Cut a strip into its rows; a strip with another layout is shown whole."""
    sheet = load(path) if path.is_file() else None
    grid = None if sheet is None else cut(sheet, labels, column_labels=True)
    strips: list[Picture | None] = [None] * len(rows)
    if grid is not None:
        chosen = grid[:, spread(grid.shape[1], STEPS)]
        strips = [
            album.add(join(chosen[number : number + 1]), f"{title}, {words[number]}: from the first step to the last")
            for number in range(len(rows))
        ]
    whole = album.add(sheet, f"{title}: all steps") if sheet is not None and grid is None else None
    designs = [
        Design(word, strip, row["score_before"], row["score_after"], row["own_rank"], row["judges"])
        for word, strip, row in zip(words, strips, rows, strict=True)
    ]
    return DesignGroup(id, title, note, whole, designs)
