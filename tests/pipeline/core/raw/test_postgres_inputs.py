"""Tables of a PostgreSQL database as inputs, with a real server on loopback: one moment, in order, password unseen."""

import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import parquet as pq
from pipeline.core.errors import InputError, UnreachableError
from pipeline.core.raw import postgres_table as reader
from pipeline.core.raw import remote, sources
from pipeline.core.raw.copies import Copy
from pipeline.core.raw.ingest import read_reviews
from tests.pipeline.core.loopback import closed_port
from tests.pipeline.postgres import server

PASSWORD = "ge%2Fheim"  # as a URL has it
SCHEMA = """
    CREATE ROLE shopper LOGIN PASSWORD 'ge/heim';
    CREATE TABLE orders (id int PRIMARY KEY, customer_id text, item_id char(6), ordered_at timestamptz, tags text[]);
    INSERT INTO orders
        SELECT g, 'u' || g % 7, '00' || g % 5, timestamptz '2020-01-01 02:00+02' + g * interval '1 s', '{a,b}'
        FROM generate_series(2500, 1, -1) AS g;
    CREATE TABLE hidden (customer_id text);
    CREATE SCHEMA sales; CREATE TABLE sales.orders (customer_id text, item_id text);
    INSERT INTO sales.orders VALUES ('a', 'x'), (NULL, 'y');
    CREATE TABLE parts (customer_id text, item_id text) PARTITION BY LIST (item_id);
    CREATE TABLE parts_x PARTITION OF parts FOR VALUES IN ('x');
    INSERT INTO parts VALUES ('a', 'x');
    CREATE VIEW bought AS SELECT customer_id, item_id FROM orders WHERE id < 3;
    GRANT USAGE ON SCHEMA public, sales TO shopper;
    GRANT SELECT ON orders, sales.orders, parts, bought TO shopper"""


class Database:
    """A database with its owner's connection, and the address for a user who may only read."""

    def __init__(self, address: str) -> None:
        import psycopg2

        self.owner: Any = psycopg2.connect(address)
        self.owner.autocommit = True
        self.run(SCHEMA)
        self.place = address.partition("@")[2]
        self.url = f"postgresql://shopper:{PASSWORD}@{self.place}"

    def run(self, command: str) -> Any:
        with self.owner.cursor() as cursor:
            cursor.execute(command)
            return cursor.fetchall() if cursor.description else None


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with server("shop") as addresses:
        found = Database(addresses["shop"])
        yield found
        found.owner.close()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "inputs"


def copy_of(url: str, cache: Path) -> Copy:
    remote.fetch_to_cache(url, cache)
    copies = [remote.CopyFolder.at(folder).current() for folder in cache.iterdir()]
    [copy] = [copy for copy in copies if copy is not None]
    return copy


def test_a_table_is_read_in_batches_in_the_order_of_its_key(
    database: Database, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reader, "ROWS_AT_ONCE", 1_000)
    path = remote.fetch_to_cache(f"{database.url}?table=orders", cache)
    read = read_reviews([path])
    with pq.ParquetFile(path) as copy:
        assert [copy.metadata.row_group(n).num_rows for n in range(copy.num_row_groups)] == [1_000, 1_000, 500]
    assert read.reviews.slice(0, 2).select(["reviewer_id", "asin", "time"]).to_pylist() == [
        {"reviewer_id": "u1", "asin": "001", "time": 1577836801},
        {"reviewer_id": "u2", "asin": "002", "time": 1577836802},
    ]
    assert read.reviews["time"].to_pylist() == list(range(1577836801, 1577836801 + 2_500))


def test_rejects_name_database_table_and_row_without_the_login(database: Database, cache: Path):
    read = read_reviews([remote.fetch_to_cache(f"{database.url}?table=sales.orders", cache)])
    name = f"postgresql://...@{database.place}?table=sales.orders"
    assert read.rejects.select(["file", "line", "reason"]).to_pylist() == [
        {"file": name, "line": 2, "reason": "reviewer_missing"}
    ]
    assert read.vintages == {name: "columns by their names"}


def test_the_version_follows_the_rows_and_nothing_is_read_again_without_a_change(
    database: Database, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    url = f"{database.url}?table=orders"
    version = remote.data_version(url, cache)
    with monkeypatch.context() as patch:
        patch.setattr(reader.PostgresTable, "_batches", lambda *_: pytest.fail("the rows were read again"))
        assert remote.data_version(url, cache) == version
        database.run("VACUUM orders")
        assert remote.data_version(url, cache) == version
    database.run("UPDATE orders SET item_id = item_id WHERE id = 7")
    assert remote.data_version(url, cache) == version  # the same rows, which were read again to know it
    seen = {version}
    for change in (
        "UPDATE orders SET item_id = 'new' WHERE id = 7",
        "DELETE FROM orders WHERE id = 2500",
        "INSERT INTO orders VALUES (2500, 'u1', 'x')",
        "ALTER TABLE orders ADD COLUMN rating int DEFAULT 5",
        "ALTER TABLE orders DROP COLUMN tags",
    ):
        database.run(change)
        seen.add(remote.data_version(url, cache))
    assert len(seen) == 6


def test_a_change_that_commits_late_is_seen(database: Database, cache: Path):
    # The highest transaction number and the count of rows stay the same here, so a version of these would not do.
    import psycopg2

    database.run("CREATE TABLE late (customer_id text, item_id text); INSERT INTO late VALUES ('a', 'x'), ('b', 'y')")
    database.run("GRANT SELECT ON late TO shopper")
    early = psycopg2.connect(f"postgresql://atelier@{database.place}")
    with early.cursor() as cursor:
        cursor.execute("UPDATE late SET item_id = 'changed' WHERE customer_id = 'a'")
        database.run("UPDATE late SET item_id = 'z' WHERE customer_id = 'b'")
        before = remote.data_version(f"{database.url}?table=late", cache)
        early.commit()
    early.close()
    assert remote.data_version(f"{database.url}?table=late", cache) != before
    database.run("DROP TABLE late")


def test_a_view_is_read_whenever_it_is_asked_for_since_it_has_no_version(database: Database, cache: Path):
    url = f"{database.url}?table=bought"
    version = remote.data_version(url, cache)
    assert copy_of(url, cache).version.etag is None and remote.named_version(url, cache) == ""
    assert remote.data_version(url, cache) == version
    database.run("UPDATE orders SET customer_id = 'another' WHERE id = 1")
    assert remote.data_version(url, cache) != version


def test_a_partitioned_table_is_one_table_and_its_version_knows_its_partitions(database: Database, cache: Path):
    url = f"{database.url}?table=parts"
    version = remote.data_version(url, cache)
    assert copy_of(url, cache).version.etag
    database.run("UPDATE parts SET customer_id = 'b'")
    later = remote.data_version(url, cache)
    database.run("TRUNCATE parts; INSERT INTO parts VALUES ('c', 'x')")
    emptied = remote.data_version(url, cache)
    database.run("TRUNCATE parts; INSERT INTO parts VALUES ('d', 'x')")  # at the same place as the row before
    assert len({version, later, emptied, remote.data_version(url, cache)}) == 4


def test_the_mark_is_cheap_and_follows_what_the_server_counts(database: Database, cache: Path):
    url = f"{database.url}?table=parts"
    before = remote.named_version(url, cache)
    database.run("INSERT INTO parts VALUES ('c', 'x')")
    database.run("SELECT pg_stat_force_next_flush()")  # the server counts with a delay of a second otherwise
    assert remote.named_version(url, cache) != before and not list(cache.rglob("*.parquet"))


def test_the_session_cannot_write(database: Database):
    table = reader.PostgresTable(f"postgresql://atelier@{database.place}?table=parts")
    with (
        pytest.raises(InputError, match="cannot execute DELETE in a read-only transaction"),
        table._session() as session,
        session.cursor() as cursor,
    ):
        cursor.execute("DELETE FROM parts")
    assert database.run("SELECT count(*) > 0 FROM parts") == [(True,)]


def test_several_tables_are_listed_but_not_those_that_the_user_may_not_read(database: Database, cache: Path):
    with pytest.raises(InputError, match=r"\?table=NAME.*: bought, orders, parts, sales\.orders$") as refused:
        remote.check(database.url, cache)
    assert "hidden" not in str(refused.value)
    with pytest.raises(InputError, match="there is no table 'hidden' that can be read"):
        remote.fetch_to_cache(f"{database.url}?table=hidden", cache)


@pytest.mark.parametrize("wrong", ["%zz", "x@y", "a b"])
def test_no_message_and_no_cause_holds_the_password(database: Database, cache: Path, wrong: str):
    for url in (
        f"postgresql://nobody:geheim@{database.place}?table=orders",
        f"postgresql://nobody:geheim@127.0.0.1:{closed_port()}/shop?table=orders",
        f"postgresql://nobody:geheim{wrong}@{database.place}?table=orders",
        f"postgresql://nobody:geheim@{database.place}?table=orders&geheim=1",
    ):
        with pytest.raises(InputError) as refused:
            remote.fetch_to_cache(url, cache)
        assert "geheim" not in "".join(traceback.format_exception(refused.value))
    assert not [path for path in cache.rglob("*") if path.is_file() and b"geheim" in path.read_bytes()]


def test_without_an_answer_a_warning_names_the_age_of_the_copy_that_is_used(database: Database, cache: Path):
    url = f"{database.url}?table=parts"
    path, said = remote.fetch_to_cache(url, cache), list[str]()
    [folder] = [folder for folder in cache.iterdir() if folder.is_dir()]
    gone = f"postgresql://shopper:geheim@127.0.0.1:{closed_port()}/shop?table=parts"
    with pytest.raises(UnreachableError, match=r"no answer from the database .* there is no earlier copy"):
        remote.fetch_to_cache(gone, cache)
    shutil.rmtree(cache / reader_key(gone))
    folder.rename(cache / reader_key(gone))
    assert remote.fetch_to_cache(gone, cache, warn=said.append).name == path.name
    assert "no answer from the database" in said[0] and "using the copy that was fetched" in said[0]
    with pytest.raises(UnreachableError):
        remote.named_version(gone, cache)


def reader_key(url: str) -> str:
    from pipeline.core.raw.databases import DatabaseTable

    return DatabaseTable(url, Path()).folder.key


def test_an_address_without_its_password_is_known_by_its_copy_and_else_asked_for(database: Database, cache: Path):
    url, said = f"{database.url}?table=parts", list[str]()
    known = sources.shown(url)
    with pytest.raises(remote.QueryMissingError, match="known without its password, which is not kept"):
        remote.fetch_to_cache(known, cache)
    path, version = remote.fetch_to_cache(url, cache), remote.data_version(url, cache)
    assert remote.fetch_to_cache(known, cache, warn=said.append) == path and "without its password" in said[0]
    assert remote.data_version(known, cache, warn=said.append) == version


def test_another_password_finds_the_same_copy(database: Database, cache: Path):
    path = remote.fetch_to_cache(f"{database.url}?table=parts", cache)
    assert remote.fetch_to_cache(f"postgresql://shopper@{database.place}?table=parts", cache) == path
    assert (path.parent / "origin.meta").stat().st_size and len(list(cache.iterdir())) == 1
