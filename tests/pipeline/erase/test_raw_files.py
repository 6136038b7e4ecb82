"""Raw files outside the home that hold an erased name are listed, and those where it means something else are not."""

import contextlib
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core import schemas
from pipeline.core.erasure import Erasures
from pipeline.erase.erase import is_known
from pipeline.erase.raw_files import outside
from tests.pipeline.conftest import isolate


def write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Orders, products and customers of a shop whose ids are all numbers, beside a home."""
    orders = write(tmp_path / "orders.csv", "customer_id,article_id,price\n20001,000050,12\n20002,000041,20003\n")
    products = write(tmp_path / "products.csv", "article_id,title\n000050,Shirt 20001\n000041,Hose\n")
    customers = write(tmp_path / "customers.csv", "customer_id,age\n20001,50\n20004,30\n")
    (tmp_path / "home").mkdir()
    isolate(
        monkeypatch, tmp_path / "home",
        ATELIER_REVIEWS=str(orders), ATELIER_PRODUCTS=str(products), ATELIER_CUSTOMERS=str(customers),
    )  # fmt: skip
    return orders, products, customers


def test_a_number_is_found_where_it_is_the_persons_or_the_products_id(tmp_path: Path, shop: tuple[Path, Path, Path]):
    orders, products, customers = shop
    assert outside(tmp_path / "home", "reviewer", "20001") == [orders, customers]
    assert outside(tmp_path / "home", "asin", "000050") == [orders, products]
    assert outside(tmp_path / "home", "reviewer", "20003") == []  # a price
    assert outside(tmp_path / "home", "reviewer", "2000") == []  # the beginning of others
    assert outside(tmp_path / "home", "asin", "50") == []  # an age


def test_an_id_is_found_as_a_shop_toml_reads_it(
    tmp_path: Path, shop: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
):
    write(shop[0], "wer;was\n20001;50\n")
    toml = write(tmp_path / "shop.toml", '[interactions]\nuser = "wer"\nitem = "was"\nwidth = 6\n')
    monkeypatch.setenv("ATELIER_SHOP", str(toml))
    assert outside(tmp_path / "home", "asin", "000050") == [shop[0], shop[1]]


def test_a_number_is_found_in_a_sqlite_file(
    tmp_path: Path, shop: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
):
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.execute("CREATE TABLE orders (customer_id INTEGER, article_id TEXT)")
        database.execute("INSERT INTO orders VALUES (20001, '000050')")
        database.commit()
    monkeypatch.setenv("ATELIER_REVIEWS", str(tmp_path / "shop.db"))
    assert outside(tmp_path / "home", "reviewer", "20001") == [tmp_path / "shop.db", shop[2]]
    assert outside(tmp_path / "home", "reviewer", "2000") == []


def test_files_in_the_home_are_not_outside(tmp_path: Path, shop: tuple[Path, Path, Path]):
    assert outside(tmp_path, "reviewer", "20001") == []


@pytest.mark.parametrize(("kind", "name", "known"), [("reviewer", "K7", True), ("reviewer", "k7", False)])
def test_a_name_is_known_if_a_table_has_it_or_it_was_erased_before(tmp_path: Path, kind: str, name: str, known: bool):
    (tmp_path / "tables").mkdir()
    rows = pa.Table.from_pylist([{"reviewer_id": "K7"}], schema=schemas.CUSTOMERS)
    pq.write_table(rows, tmp_path / "tables" / "customers.parquet")
    assert is_known(tmp_path, kind, name) == known
    Erasures.of(tmp_path).with_more(kind, name, []).write(tmp_path)
    assert is_known(tmp_path, kind, name)
