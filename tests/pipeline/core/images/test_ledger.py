"""The picture store survives any crash, stores each content once, and keeps the latest row of each URL."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import schemas
from pipeline.core.images import ledger as ledger_module
from pipeline.core.images.ledger import STATUS_OF, LedgerRow, PictureStore, mark_placeholders

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def sha_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def good(url: str, data: bytes) -> tuple[LedgerRow, bytes]:
    return LedgerRow(url, "ok", 1, NOON, 200, sha_of(data), "JPEG", 20, 30, len(data)), data


def bad(url: str, reason: str) -> LedgerRow:
    return LedgerRow(url, reason, 1, NOON)


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "store")


def words(store: PictureStore) -> dict[str, str]:
    table = store.ledger()
    return dict(zip(table["url"].to_pylist(), table["reason"].to_pylist(), strict=True))


def test_every_reason_of_the_schema_has_a_status_of_the_schema() -> None:
    assert set(STATUS_OF) == set(schemas.REASONS)
    assert set(STATUS_OF.values()) == set(schemas.STATUSES)


def test_a_row_with_an_unknown_reason_or_a_picture_without_ok_is_refused() -> None:
    with pytest.raises(ValueError, match="sleepy"):
        bad("u", "sleepy")
    with pytest.raises(ValueError, match="sha256"):
        LedgerRow("u", "http_404", 1, NOON, sha256="ab")
    with pytest.raises(ValueError, match="sha256"):
        bad("u", "ok")


def test_an_empty_store_has_an_empty_ledger_of_the_right_schema(store: PictureStore) -> None:
    assert store.ledger().equals(schemas.IMAGE_LEDGER.empty_table())


def test_another_store_reads_what_was_flushed(store: PictureStore) -> None:
    store.add(*good("b", b"two"))
    store.add(bad("a", "http_404"))
    store.flush()
    again = PictureStore(store.folder)
    assert again.ledger().schema.equals(schemas.IMAGE_LEDGER)
    assert words(again) == {"a": "http_404", "b": "ok"}
    assert dict(again.read([sha_of(b"two")])) == {sha_of(b"two"): b"two"}


def test_the_latest_row_of_a_url_counts_and_urls_are_sorted(store: PictureStore) -> None:
    for reason in ("timeout", "http_5xx", "http_404"):
        store.add(bad("z", reason))
        store.add(bad(f"a-{reason}", reason))
        store.flush()
    assert words(store)["z"] == "http_404"
    assert store.ledger()["url"].to_pylist() == sorted(words(store))


def test_a_content_is_stored_once_within_a_flush_and_across_runs(store: PictureStore) -> None:
    store.add(*good("a", b"same"))
    store.add(*good("b", b"same"))
    store.flush()
    store.add(*good("c", b"same"))
    store.flush()
    again = PictureStore(store.folder)
    again.add(*good("d", b"same"))
    again.flush()
    shards = [pq.read_table(path) for path in store.folder.glob("pictures-*.parquet")]
    assert [len(shard) for shard in shards] == [1]
    assert shards[0].schema.equals(schemas.PICTURES)
    assert words(again) == dict.fromkeys("abcd", "ok")


def test_compaction_changes_no_row_and_leaves_one_part(store: PictureStore) -> None:
    for number in range(5):
        store.add(*good(f"u{number}", bytes([number])))
        store.add(bad("v", "timeout" if number < 4 else "http_404"))
        store.flush()
    before = store.ledger()
    store.compact()
    assert store.sizes.ledger_parts == 1
    assert store.sizes.pictures == 5
    assert store.ledger().equals(before)
    assert PictureStore(store.folder).ledger().equals(before)


def test_compaction_never_holds_more_than_one_part(store: PictureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_PART_ROWS", 4)
    for number in range(10):
        store.add(bad(f"u{number}", "timeout"))
        store.add(bad("v", "timeout" if number < 9 else "http_404"))
        store.flush()
    before = store.ledger()
    for _ in range(2):
        store.compact()
        parts = [len(pq.read_table(path)) for path in sorted(store.folder.glob("ledger-*.parquet"))]
        assert len(parts) < 10 and max(parts) <= 8  # three rows, plus the part that brings them over four
        assert store.ledger().equals(before)


class KilledError(Exception):
    """Stands for a kill, after which nothing runs."""


def kill_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Simulate a kill after `steps` of the store's file renames."""
    real: Callable = ledger_module.write_whole
    left = [steps]

    def write_whole(path: Path, write: Callable[[Path], object]) -> None:
        if left[0] == 0:
            write(path.with_name(path.name + ".tmp"))  # written, but not renamed
            raise KilledError
        left[0] -= 1
        real(path, write)

    monkeypatch.setattr(ledger_module, "write_whole", write_whole)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_kill_during_a_flush_loses_that_flush_and_nothing_else(
    store: PictureStore, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    store.add(*good("a", b"one"))
    store.flush()
    kill_after(monkeypatch, steps)  # 0: while the pictures are written; 1: between pictures and ledger
    store.add(*good("b", b"two"))
    with pytest.raises(KilledError):
        store.flush()
    monkeypatch.undo()
    again = PictureStore(store.folder)
    assert words(again) == {"a": "ok"}
    assert list(store.folder.glob("*.tmp"))
    again.add(*good("b", b"two"))
    again.flush()
    assert not list(store.folder.glob("*.tmp"))
    assert words(again) == {"a": "ok", "b": "ok"}
    stored = [
        sha for path in store.folder.glob("pictures-*.parquet") for sha in pq.read_table(path)["sha256"].to_pylist()
    ]
    assert sorted(stored) == sorted([sha_of(b"one"), sha_of(b"two")])


@pytest.mark.parametrize("steps", [0, 1])
def test_the_next_flush_writes_what_a_failed_flush_could_not(
    store: PictureStore, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    store.add(*good("a", b"one"))
    kill_after(monkeypatch, steps)
    with pytest.raises(KilledError):
        store.flush()
    monkeypatch.undo()
    store.add(*good("b", b"one"))
    store.add(*good("c", b"two"))
    store.flush()
    again = PictureStore(store.folder)
    assert words(again) == dict.fromkeys("abc", "ok")
    assert {data for _, data in again.read([sha_of(b"one"), sha_of(b"two")])} == {b"one", b"two"}


def test_a_kill_between_compaction_and_deletion_changes_no_row(
    store: PictureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reason in ("timeout", "http_404"):
        store.add(bad("u", reason))
        store.flush()
    before = store.ledger()

    def killed(path: Path) -> None:
        raise KilledError

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KilledError):
        store.compact()
    monkeypatch.undo()
    assert PictureStore(store.folder).ledger().equals(before)


def test_an_error_inside_a_run_still_flushes(store: PictureStore) -> None:
    with pytest.raises(ZeroDivisionError), store.writing():
        store.add(bad("a", "http_404"))
        raise ZeroDivisionError
    assert words(PictureStore(store.folder)) == {"a": "http_404"}


def test_a_missing_picture_is_named(store: PictureStore) -> None:
    with pytest.raises(KeyError, match="0123"):
        list(store.read(["0123"]))


def test_a_damaged_shard_is_an_error_not_a_wrong_picture(store: PictureStore) -> None:
    data = b"picture" * 1000
    store.add(*good("a", data))
    store.flush()
    (shard,) = store.folder.glob("pictures-*.parquet")
    damaged = bytearray(shard.read_bytes())
    damaged[damaged.index(b"picture") + 3000] ^= 0xFF
    shard.write_bytes(damaged)
    with pytest.raises(OSError):
        list(PictureStore(store.folder).read([sha_of(data)]))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 4), st.sampled_from(["add", "flush", "compact"]))))
def test_any_order_of_adding_flushing_and_compacting_ends_like_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, str]]
) -> None:
    store = PictureStore(tmp_path_factory.mktemp("store"))
    expected: dict[str, str] = {}
    for url, number, action in steps:
        if number:
            data = bytes([number])
            store.add(*good(url, data))
            expected[url] = sha_of(data)
        else:
            store.add(bad(url, "timeout"))
            expected[url] = ""
        if action != "add":
            getattr(store, action)()
    store.flush()
    table = PictureStore(store.folder).ledger()
    assert {u: s or "" for u, s in zip(table["url"].to_pylist(), table["sha256"].to_pylist(), strict=True)} == expected
    shas = {sha for sha in expected.values() if sha}
    assert {sha_of(data) for _, data in PictureStore(store.folder).read(shas)} == shas


def image_urls(pairs: list[tuple[str, str]]) -> pa.Table:
    rows = [{"asin": a, "item": 0, "source": "vendor", "position": 0, "url": url} for a, url in pairs]
    return pa.Table.from_pylist(rows, schema=schemas.IMAGE_URLS)


def test_one_content_of_ten_items_is_a_placeholder(store: PictureStore) -> None:
    pairs = [(f"item{n}", f"grey{n}") for n in range(10)] + [(f"item{n}", f"shoe{n}") for n in range(9)]
    pairs += [("item0", f"own{n}") for n in range(12)]  # twelve URLs, one item
    for _, url in pairs:
        store.add(*good(url, url[:3].encode()))
    store.add(bad("gone", "http_404"))
    store.flush()
    marked = mark_placeholders(store.ledger(), image_urls(pairs), items=10)
    assert marked.schema.equals(schemas.IMAGE_LEDGER)
    by_url = {row["url"]: (row["status"], row["reason"], row["sha256"] is None) for row in marked.to_pylist()}
    for _, url in pairs:
        expected = ("invalid", "placeholder", True) if url.startswith("grey") else ("ok", "ok", False)
        assert by_url[url] == expected
    assert by_url["gone"] == ("gone", "http_404", True)
    assert mark_placeholders(store.ledger(), image_urls(pairs), items=0).equals(store.ledger())


def test_a_known_placeholder_counts_also_for_one_item(store: PictureStore) -> None:
    store.add(*good("a", b"no image yet"))
    store.add(*good("b", b"shoe"))
    store.flush()
    marked = mark_placeholders(store.ledger(), image_urls([("x", "a"), ("y", "b")]), 0, [sha_of(b"no image yet")])
    assert dict(zip(marked["url"].to_pylist(), marked["reason"].to_pylist(), strict=True)) == {
        "a": "placeholder",
        "b": "ok",
    }
    with pytest.raises(ValueError, match="sha256"):
        mark_placeholders(store.ledger(), image_urls([]), 0, ["ABC"])


def test_reading_some_columns_gives_the_same_values(store: PictureStore) -> None:
    for reason in ("timeout", "http_404"):
        store.add(bad("z", reason))
        store.add(bad(f"a-{reason}", reason))
        store.flush()
    assert store.ledger(["reason", "url"]).equals(store.ledger().select(["reason", "url"]))
