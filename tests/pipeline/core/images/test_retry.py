"""A reason of the ledger names pictures to ask for again, although their outcome was final."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.images.fetch import fetch
from pipeline.core.images.fetch_plan import plan_fetch
from pipeline.core.images.ledger import PictureStore
from pipeline.core.images.pending import placeholders_to_retry
from pipeline.core.images.transfer import FetchSettings
from tests.pipeline.core.fault_server import FaultServer

PATHS = ("ok/1", "status/404", "status/410", "robots", "tiny")


def settings(server: FaultServer, **changes) -> FetchSettings:
    return FetchSettings(allow_hosts=frozenset({server.host}), retries=0, read_timeout=2.0, **changes)


@pytest.mark.parametrize(
    ("retry", "again"),
    [
        ((), set()),
        (("http_404",), {"status/404", "status/410"}),
        (("robots", "too_small"), {"robots", "tiny"}),
        (("all",), set(PATHS) - {"ok/1"}),
    ],
)
def test_only_pictures_of_that_reason_are_asked_for_again(tmp_path: Path, retry: tuple[str, ...], again: set[str]):
    store = PictureStore(tmp_path)
    with FaultServer() as server:
        urls = [server.url(path) for path in PATHS]
        fetch(urls, store, settings(server))
        server.requests.clear()
        chosen = settings(server, retry=retry)
        assert plan_fetch(urls, store, chosen).requests == len(again)
        assert not server.requests, "a plan makes no request"
        fetch(urls, store, chosen)
        assert {path.lstrip("/") for path in server.requests} == again
    assert store.ledger().num_rows == len(PATHS)


def test_placeholders_are_those_of_the_homes_table(tmp_path: Path):
    table = {"url": ["http://h/1.jpg", "http://h/2.jpg"], "reason": ["placeholder", "http_404"]}
    pq.write_table(pa.table(table), tmp_path / "image_ledger.parquet")
    for retry, found in ((("placeholder",), 1), (("all",), 1), (("http_404",), 0), ((), 0)):
        named = placeholders_to_retry(tmp_path / "image_ledger.parquet", FetchSettings(retry=retry))
        assert named == frozenset(["http://h/1.jpg"][:found])
    assert not placeholders_to_retry(tmp_path / "none.parquet", FetchSettings(retry=("all",)))


def test_a_picture_named_by_its_url_is_asked_for_again_although_it_is_good(tmp_path: Path):
    store = PictureStore(tmp_path)
    with FaultServer() as server:
        urls = [server.url("ok/1"), server.url("ok/2")]
        fetch(urls, store, settings(server))
        server.requests.clear()
        fetch(urls, store, settings(server, retry_urls=frozenset(urls[:1])))
        assert [path.lstrip("/") for path in server.requests] == ["ok/1"]


def test_an_unknown_reason_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"retry: 'gone' is no reason of the ledger; there are: all, http_404, "):
        FetchSettings(retry=("gone",))
    with pytest.raises(ValueError, match="'ok' is no reason"):
        FetchSettings(retry=("ok",))
