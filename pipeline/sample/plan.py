"""Plan the catalogue before anything is drawn or written: products, shoppers, reviews, and their warts.

A wart is a defect as found in real data. All random choices are made here, in a fixed order, so that the same settings
give the same plan.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.sample.settings import SampleSettings
from pipeline.sample.shoppers import Shoppers, shop
from pipeline.sample.styles import CLASSES, OTHERS, Style, sample_style

_ALPHABET = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))
_DAY = 86_400
_FIRST_DAY, _LAST_DAY = 15_706, 17_805  # 2013-01-01 and 2018-10-01, in days since 1970

# Shares of the products that shoppers choose from. No product has two of these warts; each wart occurs at least once.
PRODUCT_WARTS = {
    "no_metadata": 0.012,  # reviewed, but without a line in the metadata
    "no_pictures": 0.012,  # an empty imageURL list, or no list
    "repeated_metadata": 0.015,  # the same line twice
    "html_title": 0.05,
    "empty_url": 0.01,
    "repeated_url": 0.015,
    "relative_url": 0.01,
    "no_high_resolution": 0.01,
}
NO_CATEGORY = 0.25  # share of all metadata lines, in addition to the above
# Shares of the reviews.
REVIEW_WARTS = {
    "duplicate_review": 0.015,  # the same line twice
    "repeat_purchase": 0.01,  # a later review with the same user and item but other words
    "no_reviewer": 0.002,
    "no_asin": 0.002,
    "no_rating": 0.002,
    "cut_line": 0.002,  # JSON that ends in the middle
    "not_json": 0.001,
    "empty_line": 0.001,
}
REPEATERS = 0.04  # share of casual users with at least five reviews but fewer than five distinct items


@dataclass(frozen=True)
class Product:
    """A product: its style, its studio views, and the names of their files (without extension)."""

    asin: str
    style: Style
    views: tuple[str, ...]
    pictures: tuple[str, ...]
    warts: frozenset[str]


@dataclass(frozen=True)
class Review:
    """A review before it is written; product is a row of Plan.products."""

    reviewer_id: str
    product: int
    time: int  # unix seconds, midnight
    photos: tuple[str, ...]
    number: int  # seed of its words


@dataclass(frozen=True)
class CataloguePlan:
    """The whole catalogue; users with planted tastes buy only from the first `settings.items` products."""

    settings: SampleSettings
    products: tuple[Product, ...]
    reviewer_ids: tuple[str, ...]  # rows of shoppers.theta
    shoppers: Shoppers
    item_bias: np.ndarray  # [items] float32
    reviews: tuple[Review, ...]
    review_warts: dict[str, frozenset[int]]  # rows of reviews

    def items(self) -> np.ndarray:
        """Return the attribute vectors of the products that planted tastes choose from: [items, D] float32."""
        return np.stack([product.style.vector() for product in self.products[: self.settings.items]])


def make_plan(settings: SampleSettings) -> CataloguePlan:
    """Draw the plan of a catalogue from its seed."""
    rng = np.random.default_rng([settings.seed, 1])
    products = _products(settings, rng)
    item_bias = rng.normal(0, settings.popularity_spread, settings.items).astype(np.float32)
    items = np.stack([product.style.vector() for product in products[: settings.items]])
    shoppers = shop(items, item_bias, settings, rng)
    reviewer_ids = _codes(len(shoppers.purchases), "A", 14, rng)
    reviews = _reviews(settings, products, shoppers, reviewer_ids, rng)
    warts = {name: frozenset(rows) for name, rows in _allot(len(reviews), REVIEW_WARTS, rng).items()}
    return CataloguePlan(settings, products, reviewer_ids, shoppers, item_bias, reviews, warts)


def _products(settings: SampleSettings, rng: np.random.Generator) -> tuple[Product, ...]:
    classes = [CLASSES[row % len(CLASSES)] for row in range(settings.items)]
    classes += [CLASSES[row % len(CLASSES)] for row in range(settings.extra_items)]
    classes += [OTHERS[row % len(OTHERS)] for row in range(settings.other_products)]
    asins = _codes(len(classes), "B0", 10, rng)
    warts: list[set[str]] = [set() for _ in classes]
    for name, rows in _allot(settings.items, PRODUCT_WARTS, rng).items():
        for row in rows:
            warts[row].add(name)
    for row in np.flatnonzero(rng.random(len(classes)) < NO_CATEGORY):
        warts[row].add("no_category")
    products = []
    for row, (garment_class, asin) in enumerate(zip(classes, asins, strict=True)):
        views = ["front"]
        more = 3 if row < settings.items else 1
        views += [view for view in ("pose", "close", "colourway")[:more] if rng.random() < 0.5]
        pictures = tuple(f"{code}L" for code in _codes(len(views), "41", 10, rng))
        products.append(Product(asin, sample_style(garment_class, rng), tuple(views), pictures, frozenset(warts[row])))
    return tuple(products)


def _reviews(
    settings: SampleSettings,
    products: tuple[Product, ...],
    shoppers: Shoppers,
    reviewer_ids: tuple[str, ...],
    rng: np.random.Generator,
) -> tuple[Review, ...]:
    """Make reviews of all purchases, reviews of other products by casual users, and repeated ones.

    Sorted by product and time.
    """
    bought = [
        (reviewer, int(item))
        for reviewer, items in zip(reviewer_ids, shoppers.purchases, strict=True)
        for item in items
    ]
    casual = reviewer_ids[settings.users :]
    first_other = settings.items + settings.extra_items
    if casual:
        # Each casual user with fewer than four purchases reviews at most one other product. With four purchases, it
        # could be the fifth distinct item and bring something into the 5-core that no taste explains.
        light = [
            reviewer
            for reviewer, items in zip(casual, shoppers.purchases[settings.users :], strict=True)
            if len(items) < 4
        ]
        others = first_other + rng.permutation(settings.other_products)[: len(light)]
        bought += [(reviewer, int(row)) for reviewer, row in zip(light, others, strict=False)]
        for index in range(max(1, round(REPEATERS * len(casual)))):
            own = shoppers.purchases[settings.users + index]
            bought += [(casual[index], int(own[turn % len(own)])) for turn in range(6 - len(own))]
    photos = rng.random(len(bought)) < settings.photo_share
    counts = photos * rng.choice([1, 2], len(bought), p=[0.85, 0.15])
    names = iter(_codes(int(counts.sum()), "71", 10, rng))
    days = rng.integers(_FIRST_DAY, _LAST_DAY, len(bought))
    reviews = [
        Review(reviewer, row, int(day) * _DAY, tuple(f"{next(names)}L" for _ in range(count)), number)
        for number, ((reviewer, row), day, count) in enumerate(zip(bought, days, counts, strict=True))
    ]
    return tuple(sorted(reviews, key=lambda review: (products[review.product].asin, review.time, review.number)))


def _allot(rows: int, shares: dict[str, float], rng: np.random.Generator) -> dict[str, list[int]]:
    """Choose disjoint random rows for the warts: for each its share of the rows, but at least one."""
    order = rng.permutation(rows).tolist()
    return {name: [order.pop() for _ in range(max(1, round(share * rows)))] for name, share in shares.items()}


def _codes(count: int, prefix: str, length: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Draw distinct random codes: the prefix, then capitals and digits, `length` characters in total."""
    codes: dict[str, None] = {}
    while len(codes) < count:
        letters = _ALPHABET[rng.integers(0, len(_ALPHABET), (count - len(codes), length - len(prefix)))]
        codes.update((prefix + "".join(row), None) for row in letters.tolist())
    return tuple(codes)
