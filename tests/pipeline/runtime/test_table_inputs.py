"""Databases and buckets as a run's input: observed, copied into the home, inspected, erased, and no password kept."""

import io
import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.cli import inspect
from pipeline.cli.run import REMEMBERED
from pipeline.core.errors import InputError
from pipeline.core.raw import remote
from pipeline.core.raw.addresses import clean_addresses
from pipeline.core.raw.ingest import read_reviews
from pipeline.core.raw.sources import shown_spec
from pipeline.erase import erase, raw_files
from pipeline.erase.rewrite import Removal
from pipeline.runtime.exits import DONE, WRONG_CALL
from pipeline.runtime.resources import RawSources, default_resources
from tests.pipeline.conftest import isolate

SECRET = "geheim"
ORDERS = [(f"u{user}", f"000{item}") for user in range(6) for item in range(6)]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with orders and products, named in the environment."""
    path = tmp_path / "shop" / "shop.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE orders (user_id TEXT, item_id TEXT)")
        database.executemany("INSERT INTO orders VALUES (?, ?)", ORDERS)
        database.execute("CREATE TABLE products (item_id TEXT, title TEXT, image TEXT)")
        products = [(f"000{n}", f"pictures/{n}.jpg") for n in range(6)]
        database.executemany("INSERT INTO products VALUES (?, 'Shirt', ?)", products)
        database.commit()
    url = f"sqlite:///{path}?table="
    isolate(monkeypatch, tmp_path / "home", ATELIER_REVIEWS=f"{url}orders", ATELIER_PRODUCTS=f"{url}products")
    return path


def sources() -> RawSources:
    raw = default_resources()["raw"]
    assert isinstance(raw, RawSources)
    return raw


def test_a_databases_tables_are_observed_and_copied_into_the_home(shop: Path, tmp_path: Path):
    raw = sources()
    assert raw.check(print) and not (tmp_path / "home").exists()
    before, marks = (raw.review_version(), raw.product_version()), raw.marks()
    assert set(marks["raw_reviews"]) == {f"sqlite:///{shop}?table=orders"}
    [copy] = raw.review_files()
    assert copy.is_relative_to(tmp_path / "home" / "inputs") and len(read_reviews([copy]).reviews) == 36
    assert raw.picture_folders() == (str(shop.parent),)
    with closing(sqlite3.connect(shop)) as database:
        database.execute("DELETE FROM orders WHERE user_id = 'u0'")
        database.commit()
    assert raw.review_version() != before[0] and raw.product_version() == before[1]
    assert raw.marks() != marks


def test_an_inspection_reads_a_sqlite_database_and_asks_no_server_without_leave(
    shop: Path, capsys: pytest.CaptureFixture[str]
):
    before = sorted(shop.parent.iterdir())
    assert inspect.main(["--json"]) == DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["users"], found["items"], found["ids_meeting_share"], found["picture_share"]) == (6, 6, 1.0, 1.0)
    assert found["files"][0]["path"] == f"sqlite:///{shop}?table=orders"
    assert "u0" in found["files"][0]["sample"] and "b'" not in found["files"][0]["sample"]
    understood = "shop.db?table=orders: SQLite table; columns by their names: user = user_id, item = item_id"
    assert found["understood"][0] == understood
    assert found["pictures"][0]["address"].startswith(f"file://{shop.parent}/pictures/")
    assert sorted(shop.parent.iterdir()) == before
    for url in (f"postgresql://me:{SECRET}@127.0.0.1:9/shop", "s3://shop/orders.csv"):
        assert inspect.main(["--reviews", url]) == WRONG_CALL
        said = capsys.readouterr().err
        assert "is on a server; --ask fetches it" in " ".join(said.split()) and SECRET not in said


def test_a_password_is_used_but_stored_nowhere(shop: Path, monkeypatch: pytest.MonkeyPatch):
    spec = f"postgresql://me:{SECRET}@127.0.0.1:9/shop?table=orders"
    monkeypatch.setenv("ATELIER_REVIEWS", spec)
    raw = sources()
    assert raw.reviews == "postgresql://...@127.0.0.1:9/shop?table=orders" and raw._reviews() == spec
    assert "ATELIER_REVIEWS" in REMEMBERED and shown_spec(spec) == raw.reviews
    with pytest.raises(InputError, match="no answer from the database") as refused:
        raw.review_version()
    assert SECRET not in repr(refused.value)
    monkeypatch.setenv("ATELIER_REVIEWS", raw.reviews)  # as the home remembers it
    with pytest.raises(InputError, match=r"without its password.*set ATELIER_REVIEWS to the whole address"):
        sources().review_files()


def test_a_folder_of_a_bucket_is_observed_object_by_object(shop: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def listed(url: str, *_: object) -> list[str]:
        asked.append(url)
        return [url] if "*" not in url else [f"s3://shop/{name}.csv" for name in "ab"]

    monkeypatch.setattr(remote, "expanded", listed)
    monkeypatch.setattr(remote, "named_version", lambda url, *_: f"etag of {url}")
    monkeypatch.setenv("ATELIER_REVIEWS", "s3://shop/*.csv, s3://shop/a.csv")
    assert sources().marks()["raw_reviews"] == {
        f"s3://shop/{name}.csv": f"etag of s3://shop/{name}.csv" for name in "ab"
    }
    assert asked[-2:] == ["s3://shop/*.csv", "s3://shop/a.csv"]


def test_no_table_may_name_a_database_as_a_picture():
    counts: Counter[str] = Counter()
    addresses = ["postgresql://me@h/shop?table=a", "sqlite:////data/shop.db", "postgres://h/a.jpg"]
    assert clean_addresses(addresses, counts, Path("/data")) == []
    assert counts == {"urls_other_scheme": 3}


def test_an_erasure_removes_the_copy_of_a_table_that_has_the_name(shop: Path, tmp_path: Path):
    home = tmp_path / "home"
    [copy] = sources().review_files()
    said = list(erase._rewrite_inputs(home, Removal("reviewer", "u1")))
    assert not copy.exists()
    assert any("cannot be rewritten; removed, the next run fetches it again" in line for line in said)
    assert raw_files.local_inputs()["reviews"] == [shop] and raw_files.outside(home, "reviewer", "u1") == [shop]
    assert len(read_reviews(sources().review_files()).reviews) == 36  # the database itself is not changed


def test_an_erasure_says_which_databases_it_did_not_look_into(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ATELIER_REVIEWS", f"postgresql://me:{SECRET}@127.0.0.1:9/shop?table=orders")
    sink = io.StringIO()
    monkeypatch.setattr(erase, "Console", lambda: Console(file=sink, width=400))
    assert list(raw_files.databases()) == ["postgresql://...@127.0.0.1:9/shop?table=orders"]
