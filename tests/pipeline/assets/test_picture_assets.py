"""The picture assets as a person meets them: the plan, live counts, what pruning kept and dropped, near-duplicates."""

import base64
import io
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from pipeline.assets.images import image_urls
from pipeline.core import schemas
from pipeline.core.dataset.extent import Extent, carrying, recorded
from pipeline.core.images.fetch import FetchProgress, FetchReport, FetchSettings
from pipeline.core.images.ledger import PictureStore
from pipeline.core.tables import StoredTable, written
from pipeline.runtime import resources
from pipeline.runtime.progress import Terminal
from pipeline.runtime.resources import ImageFetcher
from pipeline.runtime.summary import LatestMetadata
from pipeline.settings.launchpad import ImageUrlsConfig
from pipeline.settings.method import Method
from tests.pipeline.conftest import TINY, made

SELECT = "group:ingest or key:image_urls or key:image_ledger or key:image_bank or key:near_duplicates"
THUMBNAIL = re.compile(r"!\[picture\]\(data:image/jpeg;base64,([A-Za-z0-9+/=]+)\)")


@dataclass
class Fetched:
    """A home whose pictures were fetched once."""

    folder: Path
    said: str
    said_again: str  # a dry run afterwards, with the pictures' server gone
    metadata: dict[str, dict[str, Any]]

    def table(self, name: str):
        return pq.read_table(self.folder / "tables" / f"{name}.parquet")


@pytest.fixture(scope="module")
def fetched(environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Fetched:
    from pipeline.cli.run import run

    home = made(environment, tmp_path_factory.mktemp("pictures"), SELECT)
    again = io.StringIO()
    run(str(TINY), SELECT, Console(file=again, width=160), dry_run=True)
    with dg.DagsterInstance.from_config(str(home.folder / "dagster")) as instance:
        metadata = {name: LatestMetadata(instance).of(name) for name in ("image_ledger", "near_duplicates")}
    return Fetched(home.folder, home.said, again.getvalue(), metadata)


def picture(markdown: str) -> Image.Image:
    match = THUMBNAIL.fullmatch(markdown)
    assert match is not None and len(markdown) < 200_000
    return Image.open(io.BytesIO(base64.b64decode(match.group(1))))


def test_the_plan_is_on_the_terminal_before_the_fetch_and_in_the_metadata(fetched: Fetched):
    urls = len(set(fetched.table("image_urls")["url"].to_pylist()))
    assert f"pictures to fetch: 1 file to read on this machine and {urls - 1} requests to 1 host" in fetched.said
    assert fetched.said.index("pictures to fetch") < fetched.said.index("image_ledger")
    told = fetched.metadata["image_ledger"]
    assert told["planned_requests"] == urls
    assert told["planned_megabytes"] > 0 and told["planned_seconds"] > 0
    assert "| host | URLs | there | requests |" in told["plan"] and f"| {urls - 1} | 0 | {urls - 1} |" in told["plan"]


def test_a_dry_run_shows_what_would_be_fetched_now(fetched: Fetched):
    assert "no request to make" in fetched.said_again
    assert "near_duplicates" in fetched.said_again


def test_what_was_kept_and_what_was_not_and_why_are_small_pictures_with_a_file_behind(fetched: Fetched):
    told = fetched.metadata["image_ledger"]
    assert sum(told["images_broken"].values()) > 0
    for shown, path in (("kept", "kept_sheet"), ("pruned", "pruned_chart")):
        small, whole = picture(told[shown]), Image.open(told[path])
        assert Path(told[path]).parent == fetched.folder / "lookbook" / "pictures"
        assert small.width <= whole.width and small.width > 100


def test_near_duplicates_are_a_table_with_a_row_a_picture_of_the_bank(fetched: Fetched):
    table = fetched.table("near_duplicates")
    index = pq.read_table(next((fetched.folder / "bank").glob("index-*.parquet")))
    assert table.schema.equals(schemas.NEAR_DUPLICATES)
    assert table["sha256"].to_pylist() == index["sha256"].to_pylist()
    told = fetched.metadata["near_duplicates"]
    assert told["pictures"] == table.num_rows
    assert told["clusters"] == len(set(table["cluster"].to_pylist()) - {None})


def test_every_bank_row_is_told_how_many_items_show_it(fetched: Fetched):
    ok = {row["url"]: row["sha256"] for row in fetched.table("image_ledger").to_pylist() if row["status"] == "ok"}
    items: dict[str, set[int]] = {}
    for row in fetched.table("image_urls").to_pylist():
        if row["item"] is not None and row["url"] in ok:
            items.setdefault(ok[row["url"]], set()).add(row["item"])
    alone = [row for row in fetched.table("near_duplicates").to_pylist() if row["cluster"] is None]
    assert alone
    assert all(row["cluster_items"] == len(items[row["sha256"]]) for row in alone)


def test_the_summary_counts_near_duplicates(fetched: Fetched):
    import json

    found = json.loads((fetched.folder / "summary.json").read_text())["data"]["near_duplicates"]
    assert found["pictures"] == fetched.table("near_duplicates").num_rows
    assert {"clusters_across_items", "pictures_across_items"} <= set(found)


def test_live_counts_say_rate_ok_broken_and_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def stand_in(urls, store, settings, on_progress):
        on_progress(FetchProgress(done=1500, total=4000, ok=1400, broken=100, rate=250.0, bytes=3_200_000))
        return FetchReport(urls=4000, known=0, requests=1500, given_up=0)

    monkeypatch.setattr(resources, "fetch", stand_in)
    heard: list[tuple[int, int, str]] = []
    ImageFetcher().fetch([], PictureStore(tmp_path), FetchSettings(), lambda *said: heard.append(said))
    assert heard == [(1500, 4000, "250/s, 1,400 ok, 100 broken, 3.2 MB")]


def test_the_terminals_bar_shows_counts_time_left_and_note():
    sink = io.StringIO()
    terminal = Terminal()
    terminal.open(Console(file=sink, width=160, force_terminal=True))
    report = terminal.reporter("fetching pictures")
    assert report is not None
    report(1500, 4000, "250/s, 1,400 ok, 100 broken, 3.2 MB")
    terminal.show("the plan")
    terminal.close()
    said = sink.getvalue()
    assert "fetching pictures" in said and "1500/4000" in said and "250/s, 1,400 ok, 100 broken" in said
    assert "the plan" in said and re.search(r"(--|\d\d):(--|\d\d)", said)  # time left


def test_products_alone_want_their_own_pictures_and_nobodys_photos(tmp_path: Path):
    product = {"asin": "B1", "title": "Women's top", "categories": [], "vendor_urls": ["http://h/1.jpg"],
               "vendor_urls_high": [], "garment_class": "women_tops"}  # fmt: skip
    stored = {}
    for name, rows in (("REVIEWS", []), ("PRODUCTS", [product])):
        stored[name] = StoredTable(tmp_path / f"{name}.parquet", getattr(schemas, name))
        with written(stored[name].path, stored[name].schema) as add:
            add(pa.Table.from_pylist(rows, schema=stored[name].schema))
    wanted = image_urls(
        config=ImageUrlsConfig(),
        method=Method(),
        interactions=schemas.INTERACTIONS.empty_table(),
        items=pa.table([pa.chunked_array([], field.type) for field in schemas.ITEMS], schema=schemas.ITEMS),
        products=stored["PRODUCTS"],
        reviews=stored["REVIEWS"],
    ).value
    assert wanted.select(["asin", "item", "url"]).to_pylist() == [{"asin": "B1", "item": None, "url": "http://h/1.jpg"}]


def test_items_that_left_the_core_keep_their_number_and_ask_for_no_picture(tmp_path: Path):
    products = [
        {"asin": f"B{n}", "title": "Scarf", "categories": [], "vendor_urls": [f"http://h/{n}.jpg"],
         "vendor_urls_high": [], "garment_class": None}
        for n in range(3)
    ]  # fmt: skip
    stored = {}
    for name, rows in (("REVIEWS", []), ("PRODUCTS", products)):
        stored[name] = StoredTable(tmp_path / f"{name}.parquet", getattr(schemas, name))
        with written(stored[name].path, stored[name].schema) as add:
            add(pa.Table.from_pylist(rows, schema=stored[name].schema))
    extent = Extent(3, users=1, of_users=9, seed=0)
    left = pa.Table.from_pylist([{"user": 4, "item": 1, "time": None}], schema=schemas.INTERACTIONS)
    found = image_urls(
        config=ImageUrlsConfig(modes=["vendor_single"]),
        method=Method(),
        interactions=carrying(left, extent),
        items=pa.table({"item": pa.array(range(3), pa.int32()), "asin": ["B0", "B1", "B2"]}, schema=schemas.ITEMS),
        products=stored["PRODUCTS"],
        reviews=stored["REVIEWS"],
    ).value
    assert found.select(["asin", "item"]).to_pylist() == [{"asin": "B1", "item": 1}]
    assert recorded(found) == replace(extent, modes=("vendor_single",))
