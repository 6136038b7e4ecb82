"""Tables of SQLite databases as inputs: named by URL or path, read-only, whole, and again only if they changed."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from pipeline.core.durable import sole_writer
from pipeline.core.errors import InputError, UnreachableError
from pipeline.core.raw import copies, remote, sources
from pipeline.core.raw import sqlite_table as reader
from pipeline.core.raw.addresses import base_of, table_folders
from pipeline.core.raw.ingest import read_products, read_reviews
from pipeline.core.raw.shop_tables import described, recognised

ORDERS = [("00071", "i1", "2020-01-01", 4.0), (12, "i2", 1577836800, 5), ("ä", b"i3", None, None), (None, "i1", "x", 1)]


class ShopDatabase:
    """A database in a file, a cache, and what was warned."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.path, self.cache, self.said = folder / "shop.db", folder.parent / "inputs", list[str]()
        self.url = f"sqlite:///{self.path}"
        self.run("CREATE TABLE orders (user_id, item_id, ordered_at, rating)")
        self.run("INSERT INTO orders VALUES (?, ?, ?, ?)", *ORDERS)

    def run(self, command: str, *rows: tuple) -> None:
        with closing(sqlite3.connect(self.path)) as database:
            database.executemany(command, rows) if rows else database.execute(command)
            database.commit()

    def fetch(self, tail: str = "") -> Path:
        return remote.fetch_to_cache(self.url + tail, self.cache, warn=self.said.append)

    def version(self, tail: str = "") -> str:
        return remote.data_version(self.url + tail, self.cache, warn=self.said.append)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[ShopDatabase]:
    found = ShopDatabase(tmp_path / "shop")
    before = sorted(found.path.parent.iterdir())
    yield found
    assert sorted(found.path.parent.iterdir()) == before and found.said == []  # nothing is left beside the database


def test_a_table_is_read_like_a_csv_in_the_order_of_its_rows(shop: ShopDatabase):
    read = read_reviews([shop.fetch()])
    assert read.reviews.select(["reviewer_id", "asin", "time", "rating"]).to_pylist() == [
        {"reviewer_id": "00071", "asin": "i1", "time": 1577836800, "rating": 4.0},
        {"reviewer_id": "12", "asin": "i2", "time": 1577836800, "rating": 5.0},
        {"reviewer_id": "ä", "asin": "i3", "time": None, "rating": None},
    ]
    name = f"{shop.url}?table=orders"
    assert read.rejects.select(["file", "line", "reason"]).to_pylist() == [
        {"file": name, "line": 4, "reason": "reviewer_missing"}
    ]
    assert read.vintages == {name: "columns by their names"}


def test_rows_come_by_rowid_or_by_primary_key_whatever_their_order_of_insertion(shop: ShopDatabase):
    shop.run("CREATE TABLE late (rowid TEXT, user_id, item_id)")  # a column takes the usual name of the row's number
    shop.run("INSERT INTO late (_rowid_, rowid, user_id, item_id) VALUES (?, ?, ?, ?)", (9, "a", "u", "last"))
    shop.run("INSERT INTO late (_rowid_, rowid, user_id, item_id) VALUES (?, ?, ?, ?)", (3, "b", "u", "first"))
    assert read_reviews([shop.fetch("?table=late")]).reviews["asin"].to_pylist() == ["first", "last"]
    shop.run("CREATE TABLE keyed (user_id, item_id, PRIMARY KEY (item_id)) WITHOUT ROWID")
    shop.run("INSERT INTO keyed VALUES (?, ?)", ("u", "z"), ("u", "b"), ("u", "k"))
    assert read_reviews([shop.fetch("?table=keyed")]).reviews["asin"].to_pylist() == ["b", "k", "z"]


def test_the_path_of_a_database_means_its_only_table(shop: ShopDatabase):
    assert sources.named(str(shop.path)) == sources.named(str(shop.path.parent)) == [shop.url]
    assert sources.named(f"{shop.path.parent}/*.db") == [shop.url]
    no_database = shop.path.with_name("thumbs.db")
    no_database.write_text("user_id,item_id\na,b\n")
    assert sources.named(str(no_database)) == [no_database]
    no_database.unlink()


def test_several_tables_are_listed_and_one_must_be_named(shop: ShopDatabase):
    shop.run("CREATE VIEW bought AS SELECT user_id, item_id FROM orders WHERE rating > 4")
    assert len(read_reviews([shop.fetch()]).reviews) == 3  # a view beside the only table
    assert read_reviews([shop.fetch("?table=bought")]).reviews["asin"].to_pylist() == ["i2"]
    shop.run("CREATE TABLE products (id, title)")
    with pytest.raises(InputError, match=r"names no table; name one with \?table=NAME.*: bought, orders, products$"):
        remote.check(shop.url, shop.cache)
    with pytest.raises(InputError, match=r"there is no table 'order' that can be read.*bought, orders, products$"):
        shop.fetch("?table=order")


def test_the_version_follows_the_rows_of_the_table_alone(shop: ShopDatabase):
    first, version = shop.fetch("?table=orders"), shop.version("?table=orders")
    shop.run("CREATE TABLE other (a)")
    assert shop.version("?table=orders") == version and shop.fetch("?table=orders") == first
    shop.run("UPDATE orders SET rating = 3 WHERE item_id = 'i1'")
    assert shop.version("?table=orders") != version
    assert len(list(first.parent.glob("*.parquet"))) == 1


def test_an_unchanged_database_is_not_read_again(shop: ShopDatabase, monkeypatch: pytest.MonkeyPatch):
    first = shop.fetch()
    monkeypatch.setattr(reader, "_batches", lambda *_: pytest.fail("the rows were read again"))
    assert shop.fetch() == first and shop.version().startswith("rows ")


def test_the_mark_changes_with_the_file_or_its_log(shop: ShopDatabase):
    before = remote.named_version(shop.url, shop.cache)
    assert remote.named_version(shop.url, shop.cache) == before
    with closing(sqlite3.connect(shop.path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        logged = remote.named_version(shop.url, shop.cache)
        writer.execute("DELETE FROM orders")
        writer.commit()
        assert len({before, logged, remote.named_version(shop.url, shop.cache)}) == 3


def test_what_a_log_holds_is_read_and_nothing_is_written_beside_the_database(shop: ShopDatabase):
    with closing(sqlite3.connect(shop.path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("INSERT INTO orders VALUES ('new', 'i9', 1, 1)")
        writer.commit()
        assert "i9" in read_reviews([shop.fetch()]).reviews["asin"].to_pylist()
    shop.run("INSERT INTO orders VALUES ('newer', 'i10', 1, 1)")
    assert "i10" in read_reviews([shop.fetch()]).reviews["asin"].to_pylist()  # the log is gone; see the fixture


def test_a_database_is_never_written(shop: ShopDatabase):
    content = shop.path.read_bytes()
    with closing(reader.SqliteTable(shop.url)._connected(False)) as opened, pytest.raises(sqlite3.OperationalError):
        opened.execute("DELETE FROM orders")
    assert shop.path.read_bytes() == content


def test_a_lock_is_waited_for_and_then_reported_as_passing(shop: ShopDatabase, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "WAIT", 0.01)
    with closing(sqlite3.connect(shop.path)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnreachableError, match=r"shop\.db: another program is writing to it; run again later"):
            shop.fetch()


def test_a_second_process_waits_for_the_copy_and_reads_nothing_again(
    shop: ShopDatabase, monkeypatch: pytest.MonkeyPatch
):
    first, asked, wait = shop.fetch(), threading.Event(), remote.held

    def announced(lock: Path) -> AbstractContextManager[None]:
        asked.set()
        return wait(lock)

    monkeypatch.setattr(remote, "held", announced)
    monkeypatch.setattr(reader, "_batches", lambda *_: pytest.fail("the rows were read again"))
    with ThreadPoolExecutor() as pool, sole_writer(first.parent):
        second = pool.submit(shop.fetch)
        assert asked.wait(60) and not second.done()
    assert second.result() == first


def test_a_damaged_database_and_an_overlong_value_are_errors_with_the_mend(
    shop: ShopDatabase, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(reader, "VALUE_BYTES", 2_000)
        shop.run("INSERT INTO orders (user_id) VALUES (?)", ("u" * 3_000,))
        with pytest.raises(InputError, match=r"a value longer than .* MB; create a view without that column"):
            shop.fetch()
    content = bytearray(shop.path.read_bytes())
    content[4096:8192] = b"\xa5" * 4096
    shop.path.write_bytes(content)
    with pytest.raises(InputError, match=r"the database is damaged .*\.recover"):
        shop.fetch()
    assert {path.name for path in shop.cache.rglob("*") if path.is_file()} <= {"lock", "part.meta"}


def test_missing_files_and_other_names_are_errors_with_the_mend(shop: ShopDatabase):
    with pytest.raises(InputError, match=r"there is no file /nowhere\.db; an absolute path has four slashes"):
        sources.named("sqlite:////nowhere.db")
    misnamed = shop.path.with_name("orders.csv")
    shop.path.rename(misnamed)
    with pytest.raises(InputError, match=r"orders\.csv: is a SQLite database .*sqlite:////path/FILE\?table=NAME"):
        read_reviews([misnamed])
    misnamed.rename(shop.path)


def test_pictures_lie_beside_the_database(shop: ShopDatabase):
    shop.run("DROP TABLE orders")
    shop.run("CREATE TABLE styles (id, productDisplayName, gender)")
    shop.run("INSERT INTO styles VALUES (15970, 'Shirt', 'Men')")
    (shop.path.parent / "images").mkdir()
    copy = shop.fetch()
    assert base_of(copy) == shop.path.parent and table_folders(shop.url) == (str(shop.path.parent),)
    layout = recognised([], [copy])
    assert layout is not None and layout.layout == "Myntra (Kaggle)"
    assert described(layout).startswith("shop.db?table=styles: SQLite table; Myntra (Kaggle): id = id")
    [product] = read_products([copy], shop=layout).products.to_pylist()
    assert product["vendor_urls"] == [f"file://{shop.path.parent}/images/15970.jpg"]
    (shop.path.parent / "images").rmdir()


def test_an_ambiguous_column_is_asked_about_by_the_tables_name(shop: ShopDatabase):
    shop.run("ALTER TABLE orders ADD COLUMN buyer_id")
    with pytest.raises(InputError, match=rf"^{shop.url}\?table=orders: which column is the user: user_id or buyer_id"):
        read_reviews([shop.fetch()])


def test_a_copy_whose_record_is_damaged_counts_as_fetched_from_elsewhere(shop: ShopDatabase):
    copy = shop.fetch()
    (copy.parent / "origin.meta").write_text("{")
    assert copies.origin_folder(copy) is None and copies.origin_name(copy) == str(copy)
