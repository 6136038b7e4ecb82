"""Pictures fetched by a real Ray cluster of several processes on loopback: what one process would have left, and kills.

The picture server counts the connections that are open at the same time.
"""

import contextlib
import os
import posixpath
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.core.images.fetch import FetchSettings, fetch
from pipeline.core.images.fetch_shards import fetch_with
from pipeline.core.images.ledger import PictureStore
from pipeline.core.shards import Runner
from tests.pipeline.core.fault_server import FaultServer
from tests.pipeline.core.images.test_killed_fetch import pictures, settings_for, table_bytes, urls_of
from tests.scale.conftest import WORKERS

PER_HOST = 7  # divides by no number of workers


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def polite(server: FaultServer, **more) -> FetchSettings:
    return FetchSettings(
        allow_hosts=frozenset({server.host}), per_host=PER_HOST, retries=1, backoff=0.001, flush_every=20, **more
    )


def workers_at(work: str) -> list[int]:
    """Process ids of the Ray workers that run a function now."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ended while we looked
            if f"ray::{work}" in " ".join(one.cmdline()):
                found.append(one.pid)
    return found


def test_a_cluster_of_our_own_listens_on_loopback_alone(cluster: Runner):
    assert list(cluster.map(posixpath.basename, ["a/1", "a/2"])) == ["1", "2"]
    me = psutil.Process()
    listening = {
        connection.laddr.ip
        for one in [me, *me.children(recursive=True)]
        for connection in one.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert listening


def test_results_come_in_order_and_errors_as_themselves(cluster: Runner):
    assert list(cluster.map(divmod_of, range(20), 7)) == [divmod(number, 7) for number in range(20)]
    with pytest.raises(ZeroDivisionError):
        list(cluster.map(divmod_of, range(20), 0))


def divmod_of(number: int, by: int) -> tuple[int, int]:
    return divmod(number, by)


def test_a_ray_fetch_leaves_byte_for_byte_what_one_process_leaves(cluster: Runner, server: FaultServer, tmp_path: Path):
    urls, settings = urls_of(server.host), settings_for(server.host)
    alone, together = PictureStore(tmp_path / "alone"), PictureStore(tmp_path / "together")
    one = fetch(urls, alone, settings)
    many = fetch_with(cluster, urls, together, settings)
    assert table_bytes(together.ledger()) == table_bytes(alone.ledger())
    assert pictures(together) == pictures(alone)
    assert together.sizes.pictures == alone.sizes.pictures
    assert (many.urls, many.reasons, many.bytes, many.requests) == (one.urls, one.reasons, one.bytes, one.requests)
    again = fetch_with(cluster, urls, together, settings)
    assert again.known == sum(row != "transient" for row in together.ledger(["status"])["status"].to_pylist())


def test_all_workers_together_open_no_more_connections_to_a_host_than_one_may(
    cluster: Runner, server: FaultServer, tmp_path: Path
):
    report = fetch_with(
        cluster, [server.url(f"ok/{number}") for number in range(900)], PictureStore(tmp_path / "s"), polite(server)
    )
    assert report.reasons == {"ok": 900}
    assert WORKERS < server.most_connections <= PER_HOST  # more than one worker was at it


def test_a_worker_killed_while_it_fetches_costs_a_flush_and_nothing_else(
    cluster: Runner, server: FaultServer, tmp_path: Path
):
    urls = [server.url(f"ok/{number % 500}?{number}") for number in range(1500)]
    killed: list[int] = []

    def strike() -> None:
        if server.total in (400, 900) and (found := [pid for pid in workers_at("fetch_shard") if pid not in killed]):
            killed.append(found[0])
            os.kill(found[0], signal.SIGKILL)

    server.on_request = strike
    store = PictureStore(tmp_path / "killed")
    report = fetch_with(cluster, urls, store, polite(server))
    server.on_request = lambda: None
    assert len(killed) == 2
    assert report.reasons == {"ok": 1500}
    ledger = store.ledger()
    assert ledger["url"].to_pylist() == sorted(urls)  # no gap, no duplicate
    assert PictureStore(store.folder).sizes.pictures == 500
    asked_again = server.total - len(urls)
    assert 0 <= asked_again <= 2 * (20 + PER_HOST)
    assert server.most_connections <= PER_HOST
    undisturbed = PictureStore(tmp_path / "undisturbed")
    fetch(urls, undisturbed, polite(server))
    assert table_bytes(ledger) == table_bytes(undisturbed.ledger())
    assert pictures(store) == pictures(undisturbed)
