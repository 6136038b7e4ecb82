"""The shop.toml of every example reads the example's files as recognising them does."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core.raw.ingest import read_customers, read_products, read_reviews
from pipeline.core.raw.shop_tables import recognised
from pipeline.core.shop.examples import EXAMPLES, Example
from pipeline.core.shop.mapping import Shop


@pytest.fixture(params=EXAMPLES, ids=lambda example: example.title)
def example(request: pytest.FixtureRequest) -> Example:
    return request.param


def rows(read: pa.Table, example: Example) -> list[dict]:
    """The rows; the ids of reviews depend on whether JSON is read as a table."""
    return read.drop_columns(["review_id"] if example.shop and "review_id" in read.column_names else []).to_pylist()


def test_the_shop_toml_of_an_example_reads_what_recognising_its_files_reads(example: Example, tmp_path: Path):
    (tmp_path / "shop.toml").write_text(example.toml(tmp_path))
    reviews, products, customers = example.write(tmp_path)
    given = recognised(reviews, products, Shop.of(tmp_path / "shop.toml"), customers)
    found = recognised(reviews, products, customers=customers)
    for paths, read, table in (
        (reviews, read_reviews, "reviews"),
        (products, read_products, "products"),
        (customers, read_customers, "customers"),
    ):
        if paths:
            by_toml, by_recognition = read(paths, shop=given), read(paths, shop=found)
            assert by_toml.rejects.num_rows == by_recognition.rejects.num_rows == 0
            expected = rows(getattr(by_recognition, table), example)
            assert expected and rows(getattr(by_toml, table), example) == expected


def test_a_shop_toml_of_an_example_names_the_columns_itself(example: Example, tmp_path: Path):
    (tmp_path / "shop.toml").write_text(example.toml(tmp_path))
    shop = Shop.of(tmp_path / "shop.toml")
    assert bool(shop.interactions.user and shop.interactions.item) == bool(example.interactions)
    assert bool(shop.products.id) == bool(example.products)
    assert bool(shop.customers.id) == bool(example.customers)
