"""URLs as input: checked before the run, observed without a download, downloaded once."""

import functools
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.cli.run import run
from pipeline.core.errors import InputError
from pipeline.core.raw import remote
from pipeline.home.storage import Storage
from pipeline.runtime.resources import RawSources, default_resources
from pipeline.views.home_contents import Home
from tests.pipeline.conftest import TINY, isolate
from tests.pipeline.core.file_server import FileServer, Served

REVIEWS = [
    {"reviewerID": f"A{user}", "asin": f"B{item}", "overall": 5.0, "unixReviewTime": 1_500_000_000 + item}
    for user in range(6)
    for item in range(6)
]
PRODUCTS = [
    {"asin": f"B{item}", "title": "Women's T-Shirt", "imageURL": [], "imageURLHighRes": []} for item in range(6)
]


def zipped(rows: list[dict]) -> bytes:
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    patient = functools.partial(remote.RemoteSettings, backoff=0.0)
    monkeypatch.setattr("pipeline.runtime.resources.remote.RemoteSettings", patient)
    with FileServer() as running:
        running.files["reviews.json.gz"] = Served(zipped(REVIEWS[:18]))
        running.files["products"] = Served(json.dumps(PRODUCTS).encode(), etag=None)
        (tmp_path / "more.json.gz").write_bytes(zipped(REVIEWS[18:]))
        isolate(
            monkeypatch,
            tmp_path / "home",
            ATELIER_REVIEWS=f"{running.url('reviews.json.gz')},{tmp_path / 'more.json.gz'}",
            ATELIER_PRODUCTS=running.url("products"),
            ATELIER_ALLOW_HOSTS=running.host,
        )
        yield running


def call(select: str = "key:reviews", dry_run: bool = False) -> str:
    sink = io.StringIO()
    run(str(TINY), select, Console(file=sink, width=200), dry_run)
    return sink.getvalue()


def bodies(server: FileServer) -> list[str]:
    return sorted(asked.path for asked in server.asked if asked.body)


def test_a_run_downloads_each_url_once_and_the_next_run_none(server: FileServer, tmp_path: Path):
    call()
    assert bodies(server) == ["products", "reviews.json.gz"]
    tables = tmp_path / "home" / "tables"
    assert pq.read_table(tables / "reviews.parquet").num_rows == 36
    assert pq.read_table(tables / "products.parquet").num_rows == 6
    call()
    assert bodies(server) == ["products", "reviews.json.gz"]


def test_a_dry_run_checks_urls_and_downloads_nothing(server: FileServer, tmp_path: Path):
    assert "reviews" in call(dry_run=True)
    assert {asked.method for asked in server.asked} == {"HEAD"}
    assert {path.name for path in (tmp_path / "home").iterdir()} <= {"format.json", "opening.lock"}


@pytest.mark.parametrize("name", ["reviews.json.gz", "products"])
def test_a_url_without_a_file_ends_the_run_before_any_work(server: FileServer, tmp_path: Path, name: str):
    del server.files[name]
    with pytest.raises(InputError, match=rf"^{server.url(name)}: the server answers HTTP 404"):
        call()
    assert not (tmp_path / "home" / "tables").exists()


def test_a_run_without_a_connection_says_how_old_its_copies_are(server: FileServer):
    call()
    server.close()
    said = call()
    assert f"! {server.url('reviews.json.gz')}: no answer from {server.host}" in said
    assert "using the copy that was fetched" in said


def test_the_version_of_a_url_changes_with_its_etag_and_that_of_a_file_with_its_content(server: FileServer, tmp_path):
    def version() -> str:
        raw = default_resources()["raw"]
        assert isinstance(raw, RawSources)
        return raw.review_version()

    first = version()
    assert version() == first
    server.files["reviews.json.gz"].etag = '"two"'
    second = version()
    (tmp_path / "more.json.gz").write_bytes(zipped(REVIEWS[20:]))
    assert len({first, second, version()}) == 3
    assert bodies(server) == []


def test_without_a_cache_folder_urls_are_refused(server: FileServer):
    raw = RawSources(products=server.url("products"))
    for ask in (raw.product_files, raw.product_version, lambda: raw.check(print)):
        with pytest.raises(InputError, match="only local files are read here"):
            ask()


def test_a_url_has_no_planted_tastes():
    assert RawSources(reviews="http://shop.example/" + "long" * 100).truth() is None


def test_the_page_names_a_url_without_its_signature(tmp_path: Path):
    raw = RawSources(reviews="https://shop.example/dumps/x.json?sig=secret", products="/data/shop/products.json")
    with dg.DagsterInstance.ephemeral() as instance:
        home = Home(Storage(root=str(tmp_path)), instance, raw)
        assert home.files() == ["dumps/x.json?...", "shop/products.json"]
