"""A hostile host costs bounded time and memory, affects nothing else, and ends as a row in the ledger."""

import contextlib
import hashlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.core.address import guarded_connector
from pipeline.core.images import transfer
from pipeline.core.images.fetch import FetchProgress, FetchSettings, fetch
from pipeline.core.images.ledger import PictureStore
from tests.pipeline.core.fault_server import FaultServer, jpeg
from tests.pipeline.core.test_address import Recorder


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


# path -> (reason, HTTP status): each ends within the limits above, and none affects the good picture.
HARM = {
    "drip": ("timeout", 200),  # never silent, so the total limit applies
    "slow_head": ("timeout", None),
    "stalled": ("timeout", 200),
    "endless": ("too_large", 200),  # nothing announced
    "oversized": ("too_large", 200),
    "loop": ("too_many_redirects", 301),
    "bomb": ("too_many_pixels", 200),
    "truncated/3": ("truncated", 200),  # shorter than announced
    "flood": ("connection", None),  # headers without end
    "gzipped": ("not_a_picture", 200),  # never unpacked
    "status_drip": ("timeout", None),
    "line_ends": ("connection", None),  # before the status line
    "hang": ("timeout", None),
    "to/http://user:secret@127.0.0.1/x": ("bad_url", 302),
    "to/file:///etc/passwd": ("bad_url", 302),
    "to/gopher://example.org/x": ("bad_url", 302),
}


def test_every_attack_gets_its_reason_and_the_good_picture_beside_it_is_kept(
    server: FaultServer, store: PictureStore
) -> None:
    paths = [*HARM, "ok/1"]
    fetch([server.url(path) for path in paths], store, strict(server))
    table = store.ledger(["url", "reason", "http_status"]).to_pylist()
    got = {row["url"].removeprefix(server.url("")): (row["reason"], row["http_status"]) for row in table}
    assert got == {**HARM, "ok/1": ("ok", 200)}


@pytest.mark.parametrize("kind", ["crumbs", "trailers"])  # chunks of one byte; headers after the last chunk
def test_a_body_of_mostly_chunk_headers_is_stopped(server: FaultServer, store: PictureStore, kind: str) -> None:
    report = fetch([server.url(kind)], store, strict(server, read_timeout=10.0, total_timeout=10.0))
    assert set(report.reasons) <= {"connection", "truncated"}  # before or after its head was passed on


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[FaultServer]]:
    """Start `count` fault servers, each with its own `host:port`."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(FaultServer()) for _ in range(count)]


FLOODS = ("interim/103", "interim/100", "crumbs", "line_ends", "trailers", "answers", "flood")


def test_floods_from_several_hosts_end_at_their_limit_and_delay_no_other_host(
    server: FaultServer, store: PictureStore
) -> None:
    good = [server.url(f"ok/{number}") for number in range(200)]
    reported: list[FetchProgress] = []
    with hosts(len(FLOODS)) as bad:
        flooded = [host.url(f"{flood}?{n}") for n in range(4) for host, flood in zip(bad, FLOODS, strict=True)]
        allowed = frozenset({server.host, *(host.host for host in bad)})
        settings = strict(server, read_timeout=4.0, total_timeout=4.0, allow_hosts=allowed)
        started = time.monotonic()
        fetch(flooded + good, store, settings, reported.append)
        seconds = time.monotonic() - started
    rows = {row["url"]: row for row in store.ledger().to_pylist()}
    assert {rows[url]["reason"] for url in good} == {"ok"}
    waited = [rows[url]["fetched_at"] for url in flooded if "interim" in url]
    assert {rows[url]["reason"] for url in flooded if "interim" in url} == {"timeout"}
    # All good pictures arrived before the first flood reached its limit.
    assert max(rows[url]["fetched_at"] for url in good) < min(waited)
    assert any(200 <= progress.done < progress.total for progress in reported)  # and this was reported
    assert seconds < 5 * settings.total_timeout  # generous: the machine may be busy


@pytest.mark.parametrize(
    "kind", ["status_drip", "slow_head", "drip", "hang", "stalled", "interim/103", "interim/100", "interim/102/lf"]
)
def test_an_attempt_ends_by_its_total_limit_whatever_the_server_does(
    server: FaultServer, store: PictureStore, kind: str
) -> None:
    started = time.monotonic()
    report = fetch([server.url(kind)], store, strict(server, read_timeout=60.0, total_timeout=0.5))
    assert report.reasons == {"timeout": 1}
    assert time.monotonic() - started < 20  # `test_time_limits.py` tests the exact limit


def test_a_missing_tls_handshake_ends_at_the_connect_limit(server: FaultServer, store: PictureStore) -> None:
    url = server.url("ok/1").replace("http:", "https:")  # the server waits for the end of a request
    report = fetch([url], store, strict(server, connect_timeout=0.3, read_timeout=60.0, total_timeout=60.0))
    assert report.reasons == {"timeout": 1}


def test_a_hanging_name_server_delays_only_its_names(
    server: FaultServer, store: PictureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def look_up(*_: object, **__: object) -> object:
        answers.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    names = [f"http://pictures{number}.example/1.jpg" for number in range(20)]
    started = time.monotonic()
    report = fetch(
        [*names, server.url("ok/1")], store, strict(server, connect_timeout=0.3, read_timeout=60.0, total_timeout=60.0)
    )
    answers.set()
    assert report.reasons == {"ok": 1, "timeout": 20}
    assert time.monotonic() - started < 30


def test_interim_responses_of_a_good_server_are_skipped(server: FaultServer, store: PictureStore) -> None:
    fetch([server.url("hinted/1")], store, strict(server))
    assert store.ledger()["sha256"].to_pylist() == [hashlib.sha256(jpeg(1)).hexdigest()]


@pytest.mark.parametrize("kind", ["late", "twice", "chunked_twice"])
def test_an_unrequested_response_never_becomes_a_picture(server: FaultServer, store: PictureStore, kind: str) -> None:
    # The late bytes arrive long before the next request, so they cannot belong to its response.
    rate = {"rate_per_host": 4.0, "burst_per_host": 1} if kind == "late" else {}
    settings = strict(server, concurrency=1, per_host=1, read_timeout=5.0, total_timeout=10.0, **rate)
    urls = {server.url(f"{kind}/{number}"): number for number in range(5)}
    fetch([*urls], store, settings)
    kept = {row["url"]: row["sha256"] for row in store.ledger().to_pylist()}
    assert kept == {url: hashlib.sha256(jpeg(number)).hexdigest() for url, number in urls.items()}
    assert [closes(head) for head in server.heads] == [False, True, True, True, True]


def test_one_hosts_surplus_bytes_close_no_other_hosts_connections(server: FaultServer, store: PictureStore) -> None:
    with FaultServer() as other:
        settings = strict(server, concurrency=1, allow_hosts=frozenset({server.host, other.host}), total_timeout=10.0)
        fetch([server.url(f"twice/{n}") for n in range(3)] + [other.url(f"ok/{n}") for n in range(9)], store, settings)
        assert closes(server.heads[-1])
        assert not any(closes(head) for head in other.heads)
        assert other.most_connections == 1


def closes(head: bytes) -> bool:
    """Return whether a request asks to close its connection."""
    return b"\r\nConnection: close\r\n" in head


def test_an_endless_body_is_cut_off(server: FaultServer, store: PictureStore) -> None:
    fetch([server.url("endless"), server.url("oversized")], store, strict(server))
    assert server.body_bytes_sent < 20_000_000  # of 79 million; sockets buffer some of them


def test_bytes_after_the_announced_length_never_become_a_picture(server: FaultServer, store: PictureStore) -> None:
    # The surplus must not become the response to the next request on the same connection.
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
    # Only the ledger has it, as part of the URL that it was given.
    table = store.ledger()
    assert table.filter(pc.equal(table["url"], secret))["reason"].to_pylist() == ["bad_url"]
    assert "hunter2" not in str(table.drop_columns(["url"]).to_pylist())


def test_many_hanging_hosts_do_not_delay_a_good_one(server: FaultServer, store: PictureStore) -> None:
    # Twelve hosts hang until the good one is done, and there are four slots. Without a slot reserved for hosts that
    # answer, the good one would wait for their time limits.
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
