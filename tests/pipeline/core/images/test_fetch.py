"""Run the downloader against a misbehaving host: every fault gets its reason, and nothing is requested twice."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core.images.fetch import FetchProgress, FetchSettings, Urls, fetch
from pipeline.core.images.ledger import LedgerRow, PictureStore
from pipeline.core.images.transfer import forbids_ai
from tests.pipeline.core.fault_server import FaultServer, jpeg


@pytest.fixture(scope="module")
def shared_server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def server(shared_server: FaultServer) -> FaultServer:
    shared_server.requests.clear()
    shared_server.body_bytes_sent = 0
    return shared_server


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


def quick(server: FaultServer, **changes: object) -> FetchSettings:
    settings = FetchSettings(
        allow_hosts=frozenset({server.host}),
        backoff=0.001,
        read_timeout=0.3,
        retries=2,
        max_bytes=1_000_000,
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def rows(store: PictureStore) -> dict[str, dict]:
    return {row["url"]: row for row in store.ledger().to_pylist()}


# path -> (status, reason, HTTP status, attempts)
FAULTS = {
    "ok/1": ("ok", "ok", 200, 1),
    "status/404": ("gone", "http_404", 404, 1),
    "status/410": ("gone", "http_404", 410, 1),
    "status/403": ("gone", "http_4xx", 403, 1),
    "status/500": ("transient", "http_5xx", 500, 3),
    "status/429": ("transient", "http_429", 429, 3),
    "busy/2": ("ok", "ok", 200, 3),
    "slow_down/0": ("ok", "ok", 200, 2),
    "truncated/3": ("transient", "truncated", 200, 3),
    "garbled/4": ("invalid", "not_a_picture", 200, 1),
    "html": ("invalid", "not_a_picture", 200, 1),
    "status/204": ("invalid", "not_a_picture", 204, 1),
    "tiny": ("invalid", "too_small", 200, 1),
    "bomb": ("invalid", "too_many_pixels", 200, 1),
    "oversized": ("invalid", "too_large", 200, 1),
    "endless": ("invalid", "too_large", 200, 1),
    "to/ok/5": ("ok", "ok", 200, 1),
    "loop": ("gone", "too_many_redirects", 301, 1),
    "to/http://10.0.0.1/x": ("blocked", "private_address", 302, 1),
    "to/ftp://example.org/x": ("invalid", "bad_url", 302, 1),
    "robots": ("blocked", "robots", 200, 1),
    "hang": ("transient", "timeout", None, 3),
    "flood": ("transient", "connection", None, 3),
}


def test_every_fault_gets_its_reason_and_only_transient_ones_are_retried(
    server: FaultServer, store: PictureStore
) -> None:
    fetch([server.url(path) for path in FAULTS], store, quick(server))
    got = rows(store)
    names = ("status", "reason", "http_status", "attempts")
    assert {path: tuple(got[server.url(path)][name] for name in names) for path in FAULTS} == FAULTS


def aged(store: PictureStore, url: str, seconds: float) -> None:
    """Make a URL's row so much older."""
    row = rows(store)[url]
    row.pop("status")
    store.add(LedgerRow(**row | {"fetched_at": row["fetched_at"] - timedelta(seconds=seconds)}))
    store.flush()


@pytest.mark.parametrize("path", ["status/403", "status/202", "html"])
def test_a_refusal_that_may_pass_is_asked_about_again_each_time_later(
    server: FaultServer, store: PictureStore, path: str
) -> None:
    urls = [server.url("ok/1"), server.url("ok/2"), server.url("ok/3"), server.url(path)]

    def asked() -> int:
        server.requests.clear()
        fetch(urls, store, quick(server))
        return server.total

    assert asked() == 4
    waits = [1, 4, 16, 64, 256, 1024]  # hours
    if path == "status/202":  # the picture was still being made
        assert asked() == 1
        waits = waits[1:]
    for hours in waits:
        aged(store, urls[3], 3600.0 * hours - 60)
        assert asked() == 0
        aged(store, urls[3], 60)
        assert asked() == 1
    aged(store, urls[3], 1e8)
    assert asked() == 0
    assert rows(store)[urls[3]]["attempts"] == 7


def test_pages_from_a_host_that_sends_few_pictures_are_final(server: FaultServer, store: PictureStore) -> None:
    urls = [server.url("ok/1"), server.url("html"), server.url("garbled/1")]
    fetch(urls, store, quick(server))
    assert [rows(store)[url]["format"] for url in urls] == ["JPEG", "HTML", None]
    aged(store, urls[1], 7200)
    assert fetch(urls, store, quick(server)).requests == 0


def test_a_good_picture_is_kept_byte_for_byte_and_described(server: FaultServer, store: PictureStore) -> None:
    report = fetch([server.url("ok/7")], store, quick(server))
    data = jpeg(7)
    row = rows(store)[server.url("ok/7")]
    sha = hashlib.sha256(data).hexdigest()
    assert (row["sha256"], row["format"], row["width"], row["height"]) == (sha, "JPEG", 33, 50)
    assert (row["bytes"], row["etag"]) == (len(data), '"abc"')
    assert dict(store.read([sha])) == {sha: data}
    assert (report.urls, report.known, report.requests, report.reasons) == (1, 0, 1, {"ok": 1})
    assert report.bytes == len(data)


def test_a_finished_fetch_sends_no_request_when_repeated(server: FaultServer, store: PictureStore) -> None:
    paths = [path for path, (status, *_) in FAULTS.items() if status != "transient"]
    urls = [server.url(path) for path in paths]
    fetch(urls, store, quick(server))
    before = store.ledger()
    server.requests.clear()
    report = fetch(urls, PictureStore(store.folder), quick(server))
    assert server.total == 0
    assert (report.known, report.requests, report.reasons) == (len(urls), 0, {})
    assert store.ledger().equals(before)


def test_the_next_run_requests_transient_urls_again(server: FaultServer, store: PictureStore) -> None:
    urls = [server.url("ok/1"), server.url("busy/9")]
    fetch(urls, store, quick(server, retries=0))
    assert rows(store)[urls[1]]["status"] == "transient"
    fetch(urls, store, quick(server))
    assert rows(store)[urls[1]]["status"] == "ok"
    assert server.requests["ok/1"] == 1


def test_a_url_listed_twice_is_requested_once(server: FaultServer, store: PictureStore) -> None:
    report = fetch([server.url("ok/1")] * 5, store, quick(server))
    assert (server.total, report.urls) == (1, 1)


def test_retry_after_replaces_the_backoff(server: FaultServer, store: PictureStore) -> None:
    # The backoff is an hour, so only the server's Retry-After of zero seconds can bring the picture.
    settings = quick(server, backoff=3600.0, backoff_cap=3600.0)
    assert fetch([server.url("slow_down/0")], store, settings).reasons == {"ok": 1}


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_understood_in_both_forms(
    server: FaultServer, store: PictureStore, status: int, form: str
) -> None:
    settings = quick(server, backoff=3600.0, backoff_cap=3600.0)
    assert fetch([server.url(f"pause/{status}/{form}")], store, settings).reasons == {"ok": 1}


def test_a_long_retry_after_is_capped(server: FaultServer, store: PictureStore) -> None:
    settings = quick(server, retry_after_cap=0.01)
    urls = [server.url("slow_down/3600"), server.url("pause/503/far")]
    assert fetch(urls, store, settings).reasons == {"ok": 2}


def test_a_url_that_must_not_be_fetched_is_recorded_without_a_request(server: FaultServer, store: PictureStore) -> None:
    bad = ["", "pictures/1.jpg", "//cdn/1.jpg", "data:image/gif;base64,R0", "ftp://h/x", "file://h/x"]
    bad += [f"http://user:secret@{server.host}/ok/1", "http://host:99999/x", "http://", "http://a b/x"]
    fetch(bad, store, quick(server))
    got = rows(store)
    assert {(got[url]["status"], got[url]["reason"], got[url]["attempts"]) for url in bad} == {
        ("invalid", "bad_url", 0)
    }
    assert server.total == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "127.1", "0x7f.0.0.1"])
def test_loopback_in_any_spelling_is_blocked_unless_allowed(
    server: FaultServer, store: PictureStore, host: str
) -> None:
    fetch([f"http://{host}:{server.port}/ok/1"], store, quick(server, allow_hosts=frozenset()))
    assert store.ledger()["reason"].to_pylist() == ["private_address"]
    assert server.total == 0


def test_a_redirect_away_from_an_allowed_host_is_checked_again(server: FaultServer, store: PictureStore) -> None:
    with FaultServer() as other:  # the same address on another port was not allowed
        url = server.url(f"to/{other.url('ok/1')}")
        fetch([url], store, quick(server))
        assert rows(store)[url]["reason"] == "private_address"
        assert other.total == 0


def test_a_blocked_address_is_requested_once_it_is_allowed(server: FaultServer, store: PictureStore) -> None:
    url = server.url("ok/1")
    fetch([url], store, quick(server, allow_hosts=frozenset()))
    assert fetch([url], store, quick(server)).reasons == {"ok": 1}


def test_robots_tags_are_respected_unless_turned_off(server: FaultServer, store: PictureStore) -> None:
    url = server.url("robots/noimageai")
    assert fetch([url], store, quick(server)).reasons == {"robots": 1}
    assert fetch([url], store, quick(server, respect_robots=False)).reasons == {"ok": 1}


@pytest.mark.parametrize(
    ("tags", "forbidden"),
    [
        ([], False),
        (["noindex, nofollow"], False),
        (["NoAI"], True),
        (["noindex", "nofollow, noimageai"], True),
        (["otherbot: noai"], False),
        (["otherbot: noindex, noai"], False),
        (["atelier: noai"], True),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST, noai"], True),
    ],
)
def test_a_robots_tag_applies_to_everybody_or_to_our_agent(tags: list[str], forbidden: bool) -> None:
    assert forbids_ai(tags, "atelier") is forbidden


def test_a_hanging_host_does_not_delay_others(server: FaultServer, store: PictureStore) -> None:
    # There are six slots, and ten URLs hang until the other host is done. With a single queue the first six of them
    # would block every slot.
    with FaultServer(opens=lambda: server.total == 200) as hanging:
        allowed = frozenset({server.host, hanging.host})
        settings = quick(server, concurrency=6, read_timeout=20.0, retries=0, allow_hosts=allowed)
        good = [server.url(f"ok/{number}") for number in range(200)]
        report = fetch([hanging.url(f"gate/{number}") for number in range(10)] + good, store, settings)
    assert report.reasons == {"ok": 210}


def test_a_silent_host_is_given_up_and_counted(server: FaultServer, store: PictureStore) -> None:
    urls = [server.url(f"hang/{number}") for number in range(100)]
    report = fetch(urls, store, quick(server, read_timeout=0.05, host_failures=8, retries=1))
    assert report.reasons == {"timeout": 100}
    assert report.given_up >= 70
    assert server.total < 40
    assert {row["status"] for row in rows(store).values()} == {"transient"}


def test_the_address_guard_and_the_ledger_hold_without_a_server(store: PictureStore) -> None:
    with FaultServer() as gone:
        url = gone.url("ok/1")
        settings = quick(gone)
    assert fetch([url], store, settings).reasons == {"connection": 1}


def test_progress_ends_with_the_totals(server: FaultServer, store: PictureStore) -> None:
    seen: list[FetchProgress] = []
    fetch([server.url("ok/1"), server.url("status/404")], store, quick(server), on_progress=seen.append)
    last = seen[-1]
    assert (last.done, last.total, last.ok, last.broken) == (2, 2, 1, 1)
    assert last.bytes == len(jpeg(1))
    assert last.rate > 0


def test_a_second_writer_is_refused_by_name(server: FaultServer, store: PictureStore) -> None:
    with store.writing(), pytest.raises(BlockingIOError, match=re.escape(str(store.folder))):
        fetch([server.url("ok/1")], PictureStore(store.folder), quick(server))


@pytest.mark.parametrize(
    ("field", "value"),
    [("concurrency", 0), ("read_timeout", 0.0), ("retries", -1), ("allow_hosts", frozenset({"localhost"}))],
)
def test_an_invalid_setting_is_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        FetchSettings(**{field: value})  # type: ignore[arg-type]


def test_urls_in_a_column_read_like_a_list() -> None:
    texts = ["http://a.example/1", "http://b.example/ü", "", "http://c.example/😀", "http://d.example/5"]
    for column, expected in (
        (pa.array(texts), texts),
        (pa.array(texts)[1:4], texts[1:4]),
        (pa.array([], pa.string()), []),
    ):
        urls = Urls(column)
        assert list(urls) == expected
        assert list(urls[1:]) == expected[1:]
        with pytest.raises(IndexError):
            urls[len(expected)]
