"""The tutorial's shop: orders.csv, products.csv and a folder of pictures, from the embedded catalogue's purchases."""

import csv
import gzip
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.sample.catalogue import SampleCatalogue


def write(folder: Path, catalogue: SampleCatalogue) -> None:
    """Write the shop's files into a folder."""
    reviews, products = list(_lines(catalogue.reviews)), list(_lines(catalogue.products))
    orders = [
        (time.strftime("%Y-%m-%d", time.gmtime(row["unixReviewTime"])), row["reviewerID"], row["asin"])
        for row in reviews
        if isinstance(row.get("unixReviewTime"), int) and row.get("reviewerID") and row.get("asin")
    ]
    _table(folder / "orders.csv", ("order_date", "customer_id", "product_id"), orders)
    known = [row for row in products if row.get("asin") and isinstance(row.get("category"), list)]
    rows = [(row["asin"], row.get("title", ""), *[*row["category"][1:], "", ""][:2]) for row in known]
    _table(folder / "products.csv", ("product_id", "title", "department", "category"), rows)
    (folder / "images").mkdir()
    for row in known:
        for address in row.get("imageURL", [])[:1]:
            picture = catalogue.pictures / address.rpartition("/")[2]
            if picture.is_file():
                shutil.copy(picture, folder / "images" / f"{row['asin']}.jpg")


def _lines(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:  # the catalogue has damaged lines
                continue


def _table(path: Path, names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
