"""Classify products by categories and titles."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core import schemas
from pipeline.core.generator import categories
from pipeline.core.generator.garment_classes import built_in, classes_of

DATASETS = Path(__file__).parents[4] / "../shared/datasets"
AMAZON = "Clothing, Shoes & Jewelry"


@pytest.mark.parametrize(
    ("path", "title", "expected"),
    [
        ([AMAZON, "Women", "Clothing", "Tops & Tees", "Blouses & Button-Down Shirts"], "", "women_tops"),
        ([AMAZON, "Men", "Shoes", "Fashion Sneakers"], "", "men_shoes"),
        ([AMAZON, "Men", "Clothing", "Jeans", "Heel measures approximately 1 inch from the arch"], "", "men_pants"),
        (["H&M", "Ladieswear", "Garment Upper body", "Vest top"], "Strap", "women_tops"),
        (["H&M", "Ladieswear", "Garment Lower body", "Leggings/Tights"], "", "women_pants"),
        (["H&M", "Menswear", "Unknown", "Unknown"], "Slim-fit trousers", "men_pants"),
        ([AMAZON, "Women", "Clothing", "Swimsuits & Cover Ups", "Tops"], "", None),
        ([AMAZON, "Women", "Jewelry", "Anklets"], "Anklet for sandals", None),
        ([AMAZON, "Girls", "Clothing", "Tops & Tees"], "Top for women", None),
        (["H&M", "Ladieswear", "Garment Full body", "Dress"], "Shirt", None),
        ([AMAZON, "Women"], "Leather ankle boots", "women_shoes"),
        ([], "Men's Casual Dress Shirt, Slim Fit with Jeans pocket", "men_tops"),
        ([], "Womens Shirt Dress", None),
        ([], "Women's T-Shirt Bra", None),
        ([], "Women’s High Top Sneakers", "women_shoes"),
        ([], "U.S. Polo Assn. Men Navy Shorts", "men_pants"),
        ([], "Floral blouse with bow", "women_tops"),
        ([], "Men Women Unisex Running Shoes", None),
        ([], "Cotton T-shirt", None),
        ([], "Toddler Boys Sneakers", None),
        ([], "Women Girls Summer Sandals", "women_shoes"),
        ([], "Men's Shoe Rack", None),
        ([], "", None),
    ],
)
def test_a_product_is_classified_by_its_deepest_category_then_by_its_title(path, title, expected):
    assert categories.garment_class(path, title) == expected


def test_a_products_table_gets_its_classes_row_by_row():
    rows = [("1", "Men's shirt"), ("2", "Umbrella"), ("3", "Men's shirt")]
    empty = {"categories": [], "vendor_urls": [], "vendor_urls_high": []}
    products = pa.Table.from_pylist([{"asin": a, "title": t, **empty} for a, t in rows], schema=schemas.PRODUCTS)
    mapped = categories.map_products(products)
    assert mapped["garment_class"].to_pylist() == ["men_tops", None, "men_tops"]
    assert mapped.schema.equals(schemas.PRODUCTS)
    assert classes_of(mapped, "products") == built_in().names  # including classes without products


@pytest.mark.skipif(not DATASETS.is_dir(), reason="the evaluation data sets are not beside this checkout")
@pytest.mark.parametrize(("by_title", "precision", "recall"), [(False, 0.97, 0.97), (True, 0.95, 0.90)])
def test_the_myntra_set_is_classified_with_this_precision_and_recall(by_title, precision, recall):
    with gzip.open(DATASETS / "myntra/products.jsonl.gz") as file:
        rows = [json.loads(line) for line in file]
    truth = [row["class"] for row in rows]
    found = [categories.garment_class([] if by_title else row["category"], row["title"]) for row in rows]
    right = Counter(t for t, f in zip(truth, found, strict=True) if t == f)
    assert set(built_in().names) == set(truth) - {None}
    for name in built_in().names:
        assert right[name] >= precision * found.count(name) > 0, name
        assert right[name] >= recall * truth.count(name) > 0, name
    # Watches, bags, belts and the like: every one is rejected.
    assert right[None] == truth.count(None) == 600
