"""The stores that a killed fetch by several workers left: nothing in them is lost, stored twice or asked for again."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.core.images.fetch import fetch
from pipeline.core.images.ledger import PictureStore
from pipeline.core.images.store_shards import FOLDER, absorb
from tests.pipeline.core.fault_server import FaultServer
from tests.pipeline.core.images.test_killed_fetch import pictures, settings_for, table_bytes, urls_of


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def fetch_shards(server: FaultServer, store: PictureStore, *shards: list[str]) -> None:
    """Leave what workers with these URLs left below a store, as earlier versions laid it out."""
    for number, urls in enumerate(shards):
        fetch(urls, PictureStore(store.folder / FOLDER / f"{number:04d}"), settings_for(server.host))


def test_the_next_fetch_takes_them_in_and_asks_only_for_the_rest(server: FaultServer, tmp_path: Path):
    urls, settings = urls_of(server.host), settings_for(server.host)
    alone, store = PictureStore(tmp_path / "alone"), PictureStore(tmp_path / "store")
    fetch_shards(server, store, urls[:200], urls[200:400])  # the third worker was killed before its first flush
    before = server.total
    server.requests.clear()
    report = fetch(urls, PictureStore(store.folder), settings)
    assert 0 < server.total < before
    assert report.known > 300  # the settled ones of two shards in three
    fetch(urls, alone, settings)
    kept = PictureStore(store.folder)
    assert table_bytes(kept.ledger()) == table_bytes(alone.ledger())
    assert pictures(kept) == pictures(alone)
    assert not (store.folder / FOLDER).exists()


def test_a_picture_that_several_workers_met_is_stored_once(server: FaultServer, tmp_path: Path):
    urls = [server.url(f"ok/{number % 5}?{number}") for number in range(60)]
    store = PictureStore(tmp_path / "store")
    fetch(urls[:5], store, settings_for(server.host))
    fetch_shards(server, store, urls[:30], urls[30:])
    fetch(urls, PictureStore(store.folder), settings_for(server.host))
    stored = Counter(sha for path in store.folder.glob("pictures-*") for sha in shas_in(path))
    assert set(stored.values()) == {1}
    assert len(stored) == 5


def shas_in(path: Path) -> list[str]:
    return pq.read_table(path, columns=["sha256"])["sha256"].to_pylist()


@pytest.mark.parametrize("stop", range(4))
def test_taking_in_shards_can_be_cut_off_anywhere(
    stop: int, server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from pipeline.core.images import ledger as ledgers

    urls = [server.url(f"ok/{number % 50}?{number}") for number in range(90)]
    store = PictureStore(tmp_path / "store")
    fetch_shards(server, store, urls[:45], urls[45:])
    calls = 0

    def cut(name: str):
        whole = getattr(ledgers, name)

        def sometimes(*arguments):
            nonlocal calls
            calls += 1
            if calls > stop:
                raise KeyboardInterrupt
            return whole(*arguments)

        monkeypatch.setattr(ledgers, name, sometimes)

    cut("move")
    cut("write_whole")
    with pytest.raises(KeyboardInterrupt):
        absorb(PictureStore(store.folder))
    monkeypatch.undo()
    absorb(PictureStore(store.folder))
    kept = PictureStore(store.folder)
    assert calls == stop + 1
    assert kept.ledger(["url"])["url"].to_pylist() == sorted(urls)
    assert len(pictures(kept)) == kept.sizes.pictures == 50
    assert not (store.folder / FOLDER).exists()


def test_a_shard_that_somebody_still_writes_is_not_taken_in(server: FaultServer, tmp_path: Path):
    store = PictureStore(tmp_path / "store")
    orphan = PictureStore(store.folder / FOLDER / "0000")
    with orphan.writing(), pytest.raises(BlockingIOError, match="is writing here"):
        fetch([server.url("ok/1")], store, settings_for(server.host))
    assert server.total == 0
    shutil.rmtree(orphan.folder.parent)
    fetch([server.url("ok/1")], store, settings_for(server.host))
    assert server.total == 1
