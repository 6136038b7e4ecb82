"""A run that nothing can come of stops before it begins, with the cause; what is read for that is not read again."""

import functools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.cli.run import main
from pipeline.core.raw import parts
from pipeline.runtime.exits import DONE, WRONG_CALL
from tests.pipeline.conftest import TINY, isolate
from tests.pipeline.inspection.shops import PRODUCTS, REVIEWS, product, write

Call = Callable[..., tuple[int, str]]
TO_URLS = "group:ingest or key:image_urls"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command on a shop's rows, written to files; keyword arguments change the environment."""

    def run(*arguments: str, reviews: list = REVIEWS, products: list = PRODUCTS, **variables: str) -> tuple[int, str]:
        named = {
            "ATELIER_REVIEWS": str(write(tmp_path / "files" / "reviews.jsonl", reviews)),
            "ATELIER_PRODUCTS": str(write(tmp_path / "files" / "products.jsonl", products)),
        }
        isolate(monkeypatch, tmp_path / "home", **{**named, **variables})
        capsys.readouterr()
        code = main(["--profile", str(TINY), *arguments])
        return code, " ".join(capsys.readouterr().out.split())

    return run


OTHERS = [product(row["asin"].lower()) for row in PRODUCTS]


def test_a_run_whose_ids_do_not_meet_stops_before_anything_is_made(call: Call, tmp_path: Path):
    code, said = call(products=OTHERS)
    assert code == WRONG_CALL
    assert "error: nothing can come of this run: none of the 6 reviewed ids is among the 6 products" in said
    assert "in capitals" in said and "--anyway goes on." in said
    assert not (tmp_path / "home" / "tables").exists()


def test_anyway_goes_on_and_says_what_it_overrules(call: Call, tmp_path: Path):
    code, said = call("--select", TO_URLS, "--anyway", products=OTHERS)
    assert code == DONE
    assert "going on, although nothing can come of this run: none of the 6 reviewed ids" in said
    assert (tmp_path / "home" / "tables" / "image_urls.parquet").is_file()


def test_reviews_of_which_no_line_was_one_stop_the_run_with_the_first_line(call: Call):
    code, said = call(reviews=[{**row, "asin": None} for row in REVIEWS])
    assert code == WRONG_CALL
    assert f"none of the {len(REVIEWS)} lines could be read as a review" in said and "reviews.jsonl:1:" in said


def test_products_without_a_usable_picture_stop_the_run_with_the_kinds_of_addresses(call: Call):
    code, said = call(products=[product(row["asin"], imageURL=["data:image/png;base64,AA"]) for row in PRODUCTS])
    assert code == WRONG_CALL
    assert "no product of 6 has a usable picture address (unusable addresses: 6 data: addresses)" in said


def test_the_k_of_the_profile_decides_who_has_enough(call: Call, tmp_path: Path):
    few = [row for row in REVIEWS if row["asin"] < "0B3"]
    code, said = call("--select", TO_URLS, reviews=few)
    assert code == WRONG_CALL and "no user with 5 distinct items among 4 users and 12 reviews" in said
    profile = tmp_path / "three.yaml"
    profile.write_text("ops: {five_core: {config: {k: 3}}}")
    assert call("--profile", str(profile), "--select", TO_URLS, reviews=few)[0] == DONE


def test_the_generators_half_is_made_although_ids_do_not_meet(call: Call):
    _code, said = call("--select", "+key:garments", products=OTHERS)
    assert "nothing can come" not in said


def test_a_run_that_only_reads_is_not_stopped(call: Call):
    code, said = call("--select", "key:reviews or key:products or key:rejects", products=OTHERS)
    assert code == DONE and "inspected" not in said


def test_a_run_that_only_reads_is_stopped_where_no_line_can_be_read(call: Call):
    code, said = call(
        "--select", "key:reviews or key:products or key:rejects", reviews=[{**row, "asin": None} for row in REVIEWS]
    )
    assert code == WRONG_CALL and "Done" not in said
    assert "none of the 24 lines could be read as a review: 24 asin_missing" in said


def test_what_the_inspection_read_is_not_read_again(call: Call, monkeypatch: pytest.MonkeyPatch):
    read: Counter[str] = Counter()
    real = parts._read

    def counted(path: Path, *rest):
        read[path.name] += 1
        return real(path, *rest)

    monkeypatch.setattr(parts, "_read", counted)
    code, said = call("--select", TO_URLS)
    assert code == DONE and "inspected: 24 reviews by 4 users of 6 items; 6 products" in said
    assert read == {"reviews.jsonl": 1, "products.jsonl": 1}


def test_the_inspection_leaves_nothing_in_the_home_that_ingest_does_not(call: Call, tmp_path: Path):
    call("--select", TO_URLS)
    assert list((tmp_path / "home" / "staged").glob("inspect-*")) == []


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the shop's files over HTTP; yield `host:port` and the paths that were asked for."""
    (tmp_path / "files").mkdir()
    asked: list[str] = []

    class Host(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    handler = functools.partial(Host, directory=str(tmp_path / "files"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_files_at_urls_are_judged_once_they_are_read_and_before_a_picture_is_fetched(call: Call, served):
    host, asked = served
    pictures = [product(row["asin"].lower(), imageURL=[f"http://{host}/{n}.jpg"]) for n, row in enumerate(PRODUCTS)]
    urls = {
        "ATELIER_REVIEWS": f"http://{host}/reviews.jsonl",
        "ATELIER_PRODUCTS": f"http://{host}/products.jsonl",
        "ATELIER_ALLOW_HOSTS": host,
    }
    select = ("--select", f"{TO_URLS} or key:image_ledger")
    code, said = call(*select, products=pictures, **urls)
    assert code == WRONG_CALL
    assert "error: nothing can come of this run: none of the 6 reviewed ids is among the 6 products" in said
    assert not [path for path in asked if path.endswith(".jpg")]
    code, said = call(*select, "--anyway", products=pictures, **urls)
    assert "none of the 6 reviewed ids" not in said


def test_a_line_of_the_rejects_is_shown_escaped(call: Call):
    code, said = call(reviews=[{"reviewerID": "\x1b[2J"}])
    assert code == WRONG_CALL and "\x1b" not in said
    assert json.dumps("\x1b")[1:-1] in said
