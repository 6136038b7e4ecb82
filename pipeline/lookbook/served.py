"""What the first page says about the served lists: how they compare with the most popular items, and what would help.

Every hint comes from the home's own tables and figures.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.schemas import IMAGE_MODES
from pipeline.recommenders import registry
from pipeline.views.home_contents import Home
from pipeline.views.words import MODES

MANY = 10  # purchases of a customer after which a few more change little
ENOUGH_USERS, RARE = 1000, 3  # customers below which figures are wide; buyers below which an item is hard to place
SHARE = 0.5  # of products that need a text or category before these count as given


@dataclass(frozen=True)
class PopularityServed:
    """The image modes in which popularity is served, and what would help, the likeliest first."""

    modes: list[str]  # in words
    why: str
    helps: list[str]
    asset: str = "recommender_champion"
    partition: str = ""


@dataclass(frozen=True)
class ServedLists:
    """Whose lists an image mode serves, and how they compare with the most popular items."""

    mode: str
    words: str  # of the mode
    model: str
    against: str


def lists(home: Home) -> tuple[ServedLists, ...]:
    """Compare the served lists of each image mode with popularity's; without modes where they were not compared."""
    found = {mode: home.metadata("recommender_champion", mode) for mode in IMAGE_MODES}
    return tuple(
        ServedLists(mode, MODES[mode], registry.title(of_mode["recommender"]), of_mode["against_popularity"])
        for mode, of_mode in found.items()
        if of_mode.get("against_popularity")
    )


def popularity_served(home: Home) -> PopularityServed | None:
    """Say in which modes popularity is the champion, and what would help; None if it is in none."""
    decided = {mode: home.metadata("recommender_champion", mode) for mode in IMAGE_MODES}
    floor = registry.floor().name
    modes = [mode for mode, found in decided.items() if found.get("recommender") == floor]
    if not modes:
        return None
    first = modes[0]
    why = str(decided[first].get("why_chosen", ""))
    return PopularityServed([MODES[mode] for mode in modes], why, helps(home, first), partition=first)


def helps(home: Home, mode: str) -> list[str]:
    """List what a recommender lacks in this shop's data: purchases, people, times, texts, categories, pictures."""
    found = []
    splits, products = home.table("splits", mode), home.table("products")
    if splits is not None and splits.num_rows:
        train = splits.filter(pc.equal(splits["split"], "train"))
        people = pc.count_distinct(splits["user"]).as_py()
        each = train.num_rows / max(1, people)
        if each < MANY:
            found.append(
                f"More purchases per customer, such as a longer period of orders: a model has {each:.1f} to learn each "
                "person’s taste from."
            )
        if people < ENOUGH_USERS:
            found.append(f"More customers: there are {people:,}.")
        buyers = np.unique(train["item"].to_numpy(), return_counts=True)[1]
        rare = float((buyers < RARE).mean()) if len(buyers) else 0.0
        if rare > SHARE:
            found.append(f"More buyers per product: {rare:.0%} of the products bought have fewer than {RARE}.")
        if splits["time"].null_count == splits.num_rows:
            found.append("The times of purchases, so that what is bought lately counts more: no purchase has one.")
    if products is not None and products.num_rows:
        found += _of_products(products)
    lost: dict[str, Any] = home.metadata("splits", mode).get("loss") or {}
    if lost.get("lost_share", 0) > lost.get("warn_above", 1):
        found.append(f"Working pictures: {lost['lost_share']:.0%} of the products bought have none.")
    return found


def _of_products(products: pa.Table) -> list[str]:
    titled = pc.mean(pc.not_equal(pc.utf8_trim_whitespace(products["title"]), "")).as_py()
    sorted_in = pc.mean(pc.greater(pc.list_value_length(products["categories"]), 0)).as_py()
    found = []
    if titled < SHARE:
        found.append(f"Titles of products: {titled:.0%} have one.")
    if sorted_in < SHARE:
        found.append(f"Categories of products, from department to type: {sorted_in:.0%} have any.")
    return found
