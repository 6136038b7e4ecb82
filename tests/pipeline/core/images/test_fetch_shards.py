"""Many workers fetch like one: each URL once, no more requests to a host, every picture stored once."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.images.fetch import FetchSettings, Urls, fetch
from pipeline.core.images.fetch_shards import fetch_shard, fetch_with, partition
from pipeline.core.images.ledger import PictureStore
from pipeline.core.images.schedule import Budget
from pipeline.core.images.store_shards import absorb, shard_folder
from tests.pipeline.core.fault_server import FaultServer
from tests.pipeline.core.images.test_killed_fetch import pictures, settings_for, table_bytes, urls_of
from tests.pipeline.core.in_turn import InTurn


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def of_host(host: str, count: int) -> list[str]:
    return [f"http://{host}.example/{number}" for number in range(count)]


def test_a_shop_on_one_host_is_shared_by_all_workers_with_its_budget_divided():
    settings = FetchSettings(per_host=8, rate_per_host=9.0, burst_per_host=4)
    shards = partition(Urls.distinct(of_host("a", 90)), Path("store"), 3, settings)
    assert [len(shard.urls) for shard in shards] == [30, 30, 30]
    budgets = [shard.budgets["a.example:80"] for shard in shards]
    assert budgets == [Budget(3, 3.0, 2), Budget(3, 3.0, 1), Budget(2, 3.0, 1)]


def test_a_host_with_less_than_a_shards_share_belongs_to_one():
    urls = [url for host in "abcdef" for url in of_host(host, 10)]
    shards = partition(Urls.distinct(urls), Path("store"), 3, FetchSettings())
    assert [len(shard.urls) for shard in shards] == [20, 20, 20]
    assert all(not shard.budgets for shard in shards)
    owners = [{url.split("/")[2] for url in shard.urls.to_pylist()} for shard in shards]
    assert sum(map(len, owners)) == 6


def test_a_host_has_no_more_workers_than_its_budget_has_parts():
    shards = partition(Urls.distinct(of_host("a", 100)), Path("store"), 8, FetchSettings(per_host=2))
    assert len(shards) == 2
    shards = partition(
        Urls.distinct(of_host("a", 100)), Path("store"), 8, FetchSettings(rate_per_host=1, burst_per_host=3)
    )
    assert len(shards) == 3


@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    unusable=st.integers(0, 9),
    workers=st.integers(1, 9),
    at_once=st.integers(1, 20),
    rate=st.sampled_from([0.0, 5.0]),
    burst=st.integers(1, 6),
)
def test_every_url_is_in_one_shard_and_no_host_gets_more_than_its_budget(
    counts: list[int], unusable: int, workers: int, at_once: int, rate: float, burst: int
):
    urls = [url for host, count in enumerate(counts) for url in of_host(f"h{host}", count)]
    urls += [f"no url {number}" for number in range(unusable)]
    settings = FetchSettings(per_host=at_once, rate_per_host=rate, burst_per_host=burst)
    shards = partition(Urls.distinct(urls), Path("store"), workers, settings)
    urls_of_shards = [url for shard in shards for url in shard.urls.to_pylist()]
    assert sorted(urls_of_shards) == sorted(urls)
    assert len({shard.folder for shard in shards}) == len(shards) <= workers
    whole = Budget(at_once, rate, burst)
    asked: dict[str, list[Budget]] = {}
    for shard in shards:
        for host in {url.split("/")[2] for url in shard.urls.to_pylist() if url.startswith("http")}:
            asked.setdefault(host, []).append(shard.budgets.get(f"{host}:80", whole))
    for budgets in asked.values():
        assert sum(budget.at_once for budget in budgets) <= at_once
        assert sum(budget.rate for budget in budgets) == pytest.approx(rate)
        assert not rate or sum(budget.burst for budget in budgets) <= burst


def test_many_workers_leave_what_one_leaves(server: FaultServer, tmp_path: Path):
    urls, settings = urls_of(server.host), settings_for(server.host)
    alone, together = PictureStore(tmp_path / "alone"), PictureStore(tmp_path / "together")
    reported = []
    one = fetch(urls, alone, settings)
    many = fetch_with(InTurn(3), urls, together, settings, reported.append)
    assert table_bytes(together.ledger()) == table_bytes(alone.ledger())
    assert pictures(together) == pictures(alone)
    assert together.sizes.pictures == alone.sizes.pictures
    assert (many.urls, many.known, many.reasons, many.bytes) == (one.urls, one.known, one.reasons, one.bytes)
    assert many.requests == one.requests
    assert [now.done for now in reported] == sorted(now.done for now in reported)
    assert (reported[-1].done, reported[-1].ok, reported[-1].bytes) == (len(urls), many.reasons["ok"], many.bytes)
    assert not (together.folder / "shards").exists()


def test_a_picture_that_several_workers_met_is_stored_once(server: FaultServer, tmp_path: Path):
    urls = [server.url(f"ok/{number % 5}?{number}") for number in range(60)]
    store = PictureStore(tmp_path / "store")
    fetch(urls[:5], store, settings_for(server.host))
    fetch_with(InTurn(4), urls, store, settings_for(server.host))
    stored = Counter(sha for path in store.folder.glob("pictures-*") for sha in shas_in(path))
    assert set(stored.values()) == {1}
    assert len(stored) == 5


def shas_in(path: Path) -> list[str]:
    return pq.read_table(path, columns=["sha256"])["sha256"].to_pylist()


def test_what_a_fetch_had_when_it_was_killed_is_taken_in_and_not_asked_again(server: FaultServer, tmp_path: Path):
    urls, settings = urls_of(server.host), settings_for(server.host)
    store = PictureStore(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        fetch_with(InTurn(3, dies=2), urls, store, settings)
    before = server.total
    server.requests.clear()
    report = fetch_with(InTurn(2), urls, PictureStore(store.folder), settings)  # another number of workers
    alone = PictureStore(tmp_path / "alone")
    assert 0 < server.total < before
    assert report.known > 300  # the settled URLs of two of three shards
    fetch(urls, alone, settings)
    assert table_bytes(store.ledger()) == table_bytes(alone.ledger())


@pytest.mark.parametrize("stop", range(4))
def test_taking_in_shards_can_be_cut_off_anywhere(
    stop: int, server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from pipeline.core.images import ledger as ledgers

    settings = settings_for(server.host)
    urls = [server.url(f"ok/{number % 50}?{number}") for number in range(90)]
    store = PictureStore(tmp_path / "store")
    for shard in partition(Urls.distinct(urls), store.folder, 2, settings):
        fetch_shard(shard, settings)
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
    assert not shard_folder(store.folder, 0).parent.exists()


def test_a_shard_that_somebody_still_writes_is_not_taken_in(server: FaultServer, tmp_path: Path):
    store = PictureStore(tmp_path / "store")
    orphan = PictureStore(shard_folder(store.folder, 0))
    with orphan.writing(), pytest.raises(BlockingIOError, match="is writing here"):
        fetch_with(InTurn(2), [server.url("ok/1")], store, settings_for(server.host))
    assert server.total == 0
    shutil.rmtree(orphan.folder.parent)
    fetch_with(InTurn(2), [server.url("ok/1")], store, settings_for(server.host))
    assert server.total == 1
