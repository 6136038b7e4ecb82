"""Small files of a shop in the 2018 layout, with one thing wrong at a time."""

import json
from pathlib import Path
from typing import Any

from pipeline.core.raw.ingest import ReadContext
from pipeline.inspection.facts import Facts
from pipeline.inspection.measuring import measure


def review(user: int, asin: str, **more: Any) -> dict[str, Any]:
    return {"reviewerID": f"U{user}", "asin": asin, "overall": 5.0, "unixReviewTime": 1_400_000_000 + user, **more}


def product(asin: str, **more: Any) -> dict[str, Any]:
    return {
        "asin": asin,
        "title": "Women's Dress",
        "category": ["Clothing"],
        "imageURL": [f"https://h.example/{asin}.jpg"],
        **more,
    }


REVIEWS = [review(user, f"0B{item}") for user in range(4) for item in range(6)]
PRODUCTS = [product(f"0B{item}") for item in range(6)]


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def measured(folder: Path, reviews: list[Any] | None = REVIEWS, products: list[Any] = PRODUCTS, **more: Any) -> Facts:
    """What is measured of files with these rows; without reviews if None."""
    files = [] if reviews is None else [write(folder / "reviews.jsonl", reviews)]
    return measure(files, [write(folder / "products.jsonl", products)], ReadContext(), **more)
