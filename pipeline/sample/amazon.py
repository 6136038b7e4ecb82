"""Convert a plan to JSON lines in the format of Amazon Review Data 2018, including its warts (planted defects).

Functions return lines as bytes without the newline. Writing files does not belong here.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from pipeline.sample import wording
from pipeline.sample.plan import CataloguePlan, Product, Review

PICTURE_PATH = "/images/I"  # the path of every picture's URL, without the file name


def low_name(picture: str) -> str:
    """Return the file name of a vendor picture 50 px high."""
    return f"{picture}._SY50_.jpg"


def high_name(picture: str) -> str:
    """Return the file name of a vendor picture 224 px high."""
    return f"{picture}.jpg"


def photo_name(picture: str) -> str:
    """Return the file name of a customer's photo 88 px high."""
    return f"{picture}._SY88.jpg"


def review_lines(plan: CataloguePlan) -> Iterator[bytes]:
    """Yield the lines of the reviews file, by product; each wart follows the review that it is made from."""
    rows_of = plan.review_warts
    for row, review in enumerate(plan.reviews):
        record = _review(plan, review)
        yield _line(record)
        if row in rows_of["duplicate_review"]:
            yield _line(record)
        if row in rows_of["repeat_purchase"]:
            again = Review(review.reviewer_id, review.product, review.time + 60 * 86_400, (), review.number + 1_000_000)
            yield _line(_review(plan, again))
        # The other warts are extra lines by unknown reviewers, so that no planted purchase is lost.
        stranger = record | {"reviewerID": f"A0STRANGER{row:04d}"[:14], "reviewerName": "Amazon Customer"}
        for wart, field in (("no_reviewer", "reviewerID"), ("no_asin", "asin"), ("no_rating", "overall")):
            if row in rows_of[wart]:
                yield _line({name: value for name, value in stranger.items() if name not in (field, "image")})
        if row in rows_of["cut_line"]:
            yield _line(stranger)[:57]
        if row in rows_of["not_json"]:
            yield b"<p>Service temporarily slow, please try again</p>"
        if row in rows_of["empty_line"]:
            yield b""


def product_lines(plan: CataloguePlan) -> Iterator[bytes]:
    """Yield the lines of the metadata file: one for each product, except for warts, then two unusable lines."""
    order = np.random.default_rng([plan.settings.seed, 3]).permutation(len(plan.products))
    for row in order:
        product = plan.products[row]
        if "no_metadata" in product.warts:
            continue
        line = _line(_metadata(plan, int(row), product))
        yield line
        if "repeated_metadata" in product.warts:
            yield line
    last = _metadata(plan, 0, plan.products[0])
    yield _line({name: value for name, value in last.items() if name != "asin"})
    yield _line(last)[:120]


def _line(record: dict) -> bytes:
    return json.dumps(record).encode("ascii")


def _review(plan: CataloguePlan, review: Review) -> dict:
    rng = np.random.default_rng([plan.settings.seed, 4, review.number])
    product = plan.products[review.product]
    rating = int(rng.choice([5, 4, 3, 2, 1], p=[0.55, 0.22, 0.11, 0.06, 0.06]))
    summary, text = wording.review_words(product.style, rating, rng)
    moment = datetime.fromtimestamp(review.time, UTC)
    record: dict = {"overall": float(rating)}
    if rng.random() < 0.08:
        record["vote"] = str(int(rng.integers(2, 40)))
    record |= {
        "verified": bool(rng.random() < 0.9),
        "reviewTime": f"{moment:%m} {moment.day}, {moment.year}",
        "reviewerID": review.reviewer_id,
        "asin": product.asin,
    }
    if rng.random() < 0.6:
        size = ("S", "M", "L", "XL")[rng.integers(4)] if product.style.kind != "shoes" else f"{rng.integers(5, 13)}"
        record["style"] = {"Size:": f" {size}", "Color:": f" {product.style.hue.title()}"}
    # Derive the name from the reviewer's id, so that all reviews of a reviewer show the same name.
    name = wording.FIRST_NAMES[sum(review.reviewer_id.encode()) % len(wording.FIRST_NAMES)]
    record |= {"reviewerName": name, "reviewText": text, "summary": summary, "unixReviewTime": review.time}
    if review.photos:
        record["image"] = [_url(plan, photo_name(photo)) for photo in review.photos]
    return record


def _metadata(plan: CataloguePlan, row: int, product: Product) -> dict:
    rng = np.random.default_rng([plan.settings.seed, 5, row])
    style, warts = product.style, product.warts
    brand = wording.BRANDS[rng.integers(len(wording.BRANDS))]
    name = wording.title(style, brand)
    if "html_title" in warts:
        name = (
            f'<span class="a-size-medium">{name.replace("&", "&amp;")}</span>'
            if row % 2
            else name.replace("'", "&#39;").replace("&", "&amp;", 1)
        )
    others = [plan.products[int(other)].asin for other in rng.integers(0, plan.settings.items, rng.integers(0, 5))]
    price = f"${rng.uniform(8, 90):.2f}"
    record: dict = {
        "category": [] if "no_category" in warts else wording.category(style),
        "tech1": "",
        "description": [f"{wording.thing(style)[0]} in {style.hue}."] if rng.random() < 0.7 else [],
        "fit": "",
        "title": name,
        "also_buy": others,
        "tech2": "",
        "brand": brand,
        "feature": ["Machine washable", f"Pattern: {style.pattern}"] if rng.random() < 0.6 else [],
        "rank": f"{rng.integers(1_000, 9_000_000):,}inClothing,ShoesJewelry("
        if row % 3
        else [f">#{rng.integers(1_000, 900_000):,} in Clothing, Shoes & Jewelry (See top 100)"],
        "also_view": [],
        "details": {},
        "main_cat": '<img src="images/fashion.png" class="nav-categ-image" alt="AMAZON FASHION"/>',
        "similar_item": "",
        "date": "5 star",
        "price": f"{price} - ${rng.uniform(90, 140):.2f}" if row % 7 == 0 else price,
        "asin": product.asin,
    }
    low = [_url(plan, low_name(picture)) for picture in product.pictures]
    high = [_url(plan, high_name(picture)) for picture in product.pictures]
    if "no_pictures" in warts:
        return record if row % 2 else record | {"imageURL": [], "imageURLHighRes": []}
    if "empty_url" in warts:
        low, high = ["", *low], ["", *high]
    if "repeated_url" in warts:
        low, high = [*low, low[0]], [*high, high[0]]
    if "relative_url" in warts:
        low, high = [f"{PICTURE_PATH}/{row}.jpg", *low], [f"{PICTURE_PATH}/{row}-high.jpg", *high]
    record["imageURL"] = low
    if "no_high_resolution" not in warts:
        record["imageURLHighRes"] = high
    return record


def _url(plan: CataloguePlan, name: str) -> str:
    return f"http://127.0.0.1:{plan.settings.port}{PICTURE_PATH}/{name}"
