"""A sample, its own k and some modes, through the command: what it makes, that it says so, and the way back."""

import io
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.cli.run import main
from pipeline.core.dataset.extent import Extent, recorded
from pipeline.runtime.exits import DONE, WRONG_CALL
from tests.pipeline.conftest import TINY, isolate
from tests.pipeline.inspection.shops import product, review, write

USERS, ITEMS, EACH = 12, 24, 6  # user n reviews items 2n, 2n + 1, ... around the circle
REVIEWS = [review(user, f"B{(2 * user + step) % ITEMS:02}") for user in range(USERS) for step in range(EACH)]
LABEL = "sample: 3 of 12 users (seed 1), k = 4"


class Host:
    """A picture host on loopback, with a picture for every item; a path in `gone` is answered with 404."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.gone: set[str] = set()


@pytest.fixture
def host() -> Iterator[tuple[Host, str]]:
    state = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked[self.path] += 1
            sink = io.BytesIO()
            if there := self.path not in state.gone:
                shade = int(re.sub(r"\D", "", self.path)) * 3
                Image.new("RGB", (32, 32), (shade % 256, 90, 255 - shade % 256)).save(sink, "PNG")
            self.send_response(200 if there else 404)
            self.send_header("Content-Length", str(len(sink.getvalue())))
            self.end_headers()
            self.wfile.write(sink.getvalue())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield state, f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host):
    _, address = host

    def pictures(asin: str) -> list[str]:
        return [f"http://{address}/{asin[1:]}{place}.png" for place in range(2)]

    products = [product(f"B{item:02}", imageURL=pictures(f"B{item:02}")) for item in range(ITEMS)]
    files = {
        "ATELIER_REVIEWS": str(write(tmp_path / "reviews.jsonl", REVIEWS)),
        "ATELIER_PRODUCTS": str(write(tmp_path / "products.jsonl", products)),
    }
    isolate(monkeypatch, tmp_path / "home", **files, ATELIER_ALLOW_HOSTS=address)

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["--profile", str(TINY), *arguments])
        return code, " ".join(capsys.readouterr().out.split())

    return run


def version(home: Path, asset: str) -> str:
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        found = instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert found is not None and found.asset_materialization is not None
        return (found.asset_materialization.tags or {})["dagster/data_version"]


def test_part_of_a_shop_is_made_and_labelled_and_the_whole_is_made_again(call, host, tmp_path: Path):
    (state, _), home = host, tmp_path / "home"
    part = ("--users", "3", "--seed", "1", "--min-interactions", "4", "--modes", "vendor_single", "vendor_all")
    state.gone = {f"/{item:02}1.png" for item in range(ITEMS)}

    code, said = call("--select", "+key:catalogue", *part)
    assert code == DONE, said
    assert f"{LABEL}: 3 users and " in said, "the prediction before the run"
    assert said.count(LABEL) == 2, "the prediction, and the label in the closing lines"
    found = {str(path.relative_to(home / "tables")) for path in (home / "tables").rglob("*.parquet")}
    assert {name for name in found if "/" in name} == {
        f"{table}/{mode}.parquet" for table in ("catalogue", "splits") for mode in ("vendor_single", "vendor_all")
    }
    assert not {"recommender", "baselines", "generator"} & {path.name for path in home.iterdir()}
    interactions = pq.read_table(home / "tables/interactions.parquet")
    assert recorded(interactions) == Extent(4, users=3, of_users=USERS, seed=1)
    assert interactions.num_rows == 3 * EACH
    listed = set(pq.read_table(home / "tables/image_urls.parquet")["asin"].to_pylist())
    assert listed == set(pq.read_table(home / "tables/items.parquet")["asin"].to_pylist()) and len(listed) < ITEMS
    splits = pq.read_table(home / "tables/splits/vendor_single.parquet")
    assert recorded(splits) == recorded(interactions)
    summary = json.loads((home / "summary.json").read_text())
    assert summary["data"]["extent"] == summary["modes"]["vendor_all"]["extent"] == LABEL
    assert summary["data"]["sample"] == {"users": 3, "seed": 1} and summary["data"]["k"] == 4
    sampled = version(home, "interactions")

    # Back to all users, with the pictures there at last: they are asked for again only because of --retry.
    state.gone, before = set(), state.asked.copy()
    fetch = ("--select", "key:interactions or key:users or key:items or key:image_urls or key:image_ledger")
    code, said = call(*fetch, "--retry", "http_404", "--dry-run")
    assert code == DONE and state.asked == before, "a dry run makes no request"
    assert f"{len(listed)} requests to 1 host" in said
    code, said = call(*fetch, "--retry", "http_404")
    assert code == DONE and f"! vendor_all: its figures are of other data ({LABEL})" in said
    assert version(home, "interactions") != sampled
    asked = state.asked - before
    assert set(asked) == {f"/{item:02}{place}.png" for item in range(ITEMS) for place in range(2)} - {
        f"/{asin[1:]}0.png" for asin in listed
    }
    ledger = pq.read_table(home / "tables/image_ledger.parquet")
    assert set(ledger["reason"].to_pylist()) == {"ok"} and ledger.num_rows == 2 * ITEMS
    assert json.loads((home / "summary.json").read_text())["data"]["extent"] == ""


def test_users_cannot_be_chosen_without_reviews(call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ATELIER_REVIEWS")
    code, said = call("--users", "3")
    assert code == WRONG_CALL and "choose among users, and no reviews are named: set ATELIER_REVIEWS" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--users", "3", "--select", "key:splits"), "would have no effect: the assets selected by --select lack"),
        (("--retry", "all", "--select", "group:ingest"), "--retry would have no effect"),
        (("--min-interactions", "7"), "no user with 7 distinct items among 12 users"),
        (("--retry", "vanished"), "'vanished' is no reason of the ledger; there are: all, http_404"),
    ],
)
def test_what_cannot_have_an_effect_stops_before_any_work(call, tmp_path: Path, arguments: tuple[str, ...], said: str):
    code, output = call(*arguments)
    assert code == WRONG_CALL and said in output
    assert not (tmp_path / "home/tables").exists()
