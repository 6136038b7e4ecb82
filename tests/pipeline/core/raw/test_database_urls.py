"""URLs of databases' tables: what they name, and that no password is shown."""

from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.raw import database_urls, sources


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:geheim@h:5432/shop?table=orders", "postgresql://...@h:5432/shop?table=orders"),
        ("postgresql://me@h/shop", "postgresql://...@h/shop"),
        ("postgresql://h/shop?table=orders", "postgresql://h/shop?table=orders"),
        ("postgresql://h/shop?password=geheim&table=orders", "postgresql://h/shop?table=orders&..."),
        ("postgres://me:geheim@[::1]/shop#geheim", "postgres://...@[::1]/shop?..."),
        ("postgresql://me:ge?heim@h/shop", "postgresql://..."),
        ("postgresql://me:12/geheim@h/shop", "postgresql://..."),
        ("postgresql://me:12#geheim@h/shop", "postgresql://..."),
        ("postgresql://me:ge@heim@h/shop", "postgresql://..."),
        ("postgresql://me:12?table=geheim@h/shop", "postgresql://..."),
        ("postgresql://me:geheim@one:1,two:2/shop", "postgresql://..."),
        ("sqlite:////data/shop.db?table=orders", "sqlite:////data/shop.db?table=orders"),
    ],
)
def test_a_databases_address_is_shown_with_its_table_and_without_its_login(url: str, shown: str):
    assert sources.shown(url) == shown and "geheim" not in shown
    assert sources.shown(shown) == shown
    assert sources.lacks_query(shown) == (shown != url)
    assert not sources.lacks_query(url)


def test_a_specification_is_shown_without_passwords_and_only_servers_are_far():
    spec = "/data/a.csv, postgresql://me:geheim@h/shop?table=a, sqlite:///shop.db"
    assert sources.shown_spec(spec) == "/data/a.csv, postgresql://...@h/shop?table=a, sqlite:///shop.db"
    assert sources.is_far(spec)
    assert not sources.is_far("/data/a.csv, sqlite:///shop.db")
    assert sources.is_far("s3://shop/a.csv") and sources.is_far("http://h/a.csv")


def test_a_sqlite_path_is_absolute_with_four_slashes_and_relative_with_three():
    assert database_urls.sqlite_path("sqlite:////data/my%20shop.db?table=a") == Path("/data/my shop.db")
    assert database_urls.sqlite_path("sqlite:///data/shop.db") == Path("data/shop.db")
    odd = Path("/data/50% of?it#.db")
    assert database_urls.sqlite_path(database_urls.sqlite_url(odd)) == odd
    with pytest.raises(InputError, match=r"sqlite://shop.db: names no file; write sqlite:////path"):
        database_urls.sqlite_path("sqlite://shop.db")


@pytest.mark.parametrize("tail", ["?table=a&table=b", "?table=", "?table=a#b", "?query=SELECT"])
def test_anything_but_one_table_is_refused_with_the_way_to_name_it(tail: str):
    with pytest.raises(InputError, match=r"name one table, with \?table=NAME \(for a query, create a view"):
        database_urls.table_of(f"sqlite:////data/shop.db{tail}")


def test_the_table_is_taken_out_of_what_the_databases_library_gets():
    url = "postgresql://me:geheim@h/shop?sslmode=require&table=sales.orders&options=-c%20a%3Db"
    assert database_urls.table_of(url) == "sales.orders"
    assert database_urls.without_table(url) == "postgresql://me:geheim@h/shop?sslmode=require&options=-c%20a%3Db"
    assert database_urls.without_table("postgresql://h/shop?table=a") == "postgresql://h/shop"
