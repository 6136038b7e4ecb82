"""A host that means harm costs a bounded time and memory, reaches nothing else, and ends as a row in the ledger."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.core.address import guarded_connector
from pipeline.core.images import transfer
from pipeline.core.images.fetch import FetchSettings, fetch
from pipeline.core.images.ledger import PictureStore
from tests.core.fault_server import FaultServer, jpeg
from tests.core.test_address import Recorder


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


def strict(server: FaultServer, **changes: object) -> FetchSettings:
    settings = FetchSettings(
        allow_hosts=frozenset({server.host}), read_timeout=0.2, total_timeout=0.5, retries=0, max_bytes=100_000
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


# path -> (reason, HTTP status): each ends within the limits above, and none takes the good picture beside it along.
HARM = {
    "drip": ("timeout", 200),  # never silent, never done: the total limit
    "slow_head": ("timeout", None),
    "stalled": ("timeout", 200),
    "endless": ("too_large", 200),  # nothing announced
    "oversized": ("too_large", 200),
    "loop": ("too_many_redirects", 301),
    "bomb": ("too_many_pixels", 200),
    "truncated/3": ("truncated", 200),  # shorter than announced
    "flood": ("connection", None),  # headers without end
    "gzipped": ("not_a_picture", 200),  # never unpacked
    "to/http://user:secret@127.0.0.1/x": ("bad_url", 302),
    "to/file:///etc/passwd": ("bad_url", 302),
    "to/gopher://example.org/x": ("bad_url", 302),
}


def test_every_harm_ends_with_its_reason_and_the_good_picture_beside_it_is_kept(
    server: FaultServer, store: PictureStore
) -> None:
    paths = [*HARM, "ok/1"]
    fetch([server.url(path) for path in paths], store, strict(server))
    table = store.ledger(["url", "reason", "http_status"]).to_pylist()
    got = {row["url"].removeprefix(server.url("")): (row["reason"], row["http_status"]) for row in table}
    assert got == {**HARM, "ok/1": ("ok", 200)}


def test_a_body_without_end_is_not_read_to_its_end(server: FaultServer, store: PictureStore) -> None:
    fetch([server.url("endless"), server.url("oversized")], store, strict(server))
    assert server.body_bytes_sent < 20_000_000  # of 79 million; what the sockets' buffers took is not ours


def test_bytes_after_the_announced_length_are_nobodys_picture(server: FaultServer, store: PictureStore) -> None:
    # The surplus must not be taken for the answer to the next request on the same connection.
    urls = [server.url("longer/1")] + [server.url(f"ok/{number}") for number in range(2, 12)]
    fetch(urls, store, strict(server, concurrency=1, per_host=1, retries=1, backoff=0.001))
    kept = {row["url"]: row["sha256"] for row in store.ledger().to_pylist()}
    assert kept == {urls[0]: None} | {
        server.url(f"ok/{number}"): hashlib.sha256(jpeg(number)).hexdigest() for number in range(2, 12)
    }


def test_ten_thousand_redirects_to_loopback_connect_to_nothing(
    server: FaultServer, store: PictureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()

    def connector(allow: frozenset[str]) -> object:
        return guarded_connector(allow, recorder)

    monkeypatch.setattr(transfer, "guarded_connector", connector)
    forbidden = ["127.0.0.1:1", "[::1]:1", "2130706433:1", "[::ffff:127.0.0.1]:1"]
    urls = [server.url(f"to/http://{forbidden[number % 4]}/{number}") for number in range(10_000)]
    report = fetch(pa.array(urls), store, strict(server, total_timeout=60.0, read_timeout=30.0))
    assert report.reasons == {"private_address": 10_000}
    assert recorder.asked == 0
    assert server.total == 10_000


def test_no_credentials_leave_the_machine_or_enter_a_log(
    server: FaultServer, store: PictureStore, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = f"http://user:hunter2@{server.host}/ok/1"
    urls = [secret, server.url(f"to/{secret}"), server.url("ok/2")]
    with caplog.at_level(logging.DEBUG):
        fetch(urls, store, strict(server))
    assert not any(b"authorization" in head.lower() for head in server.heads)
    assert server.requests["ok/1"] == 0
    shown = caplog.text + "".join(capfd.readouterr())
    assert "hunter2" not in shown
    # The ledger has it as the key it was given, and nowhere else.
    table = store.ledger()
    assert table.filter(pc.equal(table["url"], secret))["reason"].to_pylist() == ["bad_url"]
    assert "hunter2" not in str(table.drop_columns(["url"]).to_pylist())


def test_a_crowd_of_hanging_hosts_does_not_keep_a_good_one_waiting(server: FaultServer, store: PictureStore) -> None:
    # Twelve hosts hang until the good one was asked for everything, and there are four slots: without one kept for
    # hosts that answer, the good one would wait for their time limits.
    crowds = [FaultServer(opens=lambda: server.total == 60) for _ in range(12)]
    with contextlib.ExitStack() as stack:
        for crowd in crowds:
            stack.enter_context(crowd)
        allowed = frozenset({server.host, *(crowd.host for crowd in crowds)})
        hanging = [crowd.url(f"gate/{number}") for number in range(3) for crowd in crowds]
        good = [server.url(f"ok/{number}") for number in range(60)]
        settings = strict(server, concurrency=4, read_timeout=20.0, total_timeout=60.0, allow_hosts=allowed)
        report = fetch(good[:1] + hanging + good[1:], store, settings)
    assert report.reasons == {"ok": 60 + len(hanging)}
