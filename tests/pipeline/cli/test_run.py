"""The command `run`: an error names the place and the remedy, and the exit code tells a wrong call from a failure."""

import gzip
import io
import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.cli.run import main
from pipeline.core.errors import InputError
from pipeline.runtime.exits import DONE, FAILED, WRONG_CALL
from pipeline.sample import source as sample_source
from tests.pipeline.conftest import TINY, free_port, isolate, small_catalogue

Call = Callable[..., tuple[int, str]]


def review(user: int, item: int, picture: str = "") -> dict:
    return {
        "reviewerID": f"A{user:03d}", "asin": f"B{item:03d}", "overall": 5.0, "unixReviewTime": 1_500_000_000 + item,
        "reviewerName": "Ann", "reviewText": "Nice", "summary": "Nice", "verified": True, "reviewTime": "07 14, 2017",
        **({"image": [picture]} if picture else {}),
    }  # fmt: skip


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def product(item: int, url: str) -> dict:
    return {"asin": f"B{item:03d}", "title": "Women's T-Shirt", "imageURL": [url], "imageURLHighRes": []}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Write reviews of six users who bought the same six items; the picture host does not answer."""
    reviews = [review(user, item) for user in range(6) for item in range(6)]
    products = [product(item, f"http://127.0.0.1:9/{item}.jpg") for item in range(6)]
    return {
        "ATELIER_REVIEWS": str(write_lines(tmp_path / "reviews.json.gz", reviews)),
        "ATELIER_PRODUCTS": str(write_lines(tmp_path / "products.json.gz", products)),
    }


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture, files) -> Call:
    """Run the command in this process; return its exit code and output. Keyword arguments change the environment."""

    def run(*arguments: str, profile: str = str(TINY), **variables: str) -> tuple[int, str]:
        isolate(monkeypatch, tmp_path / "home", **{**files, **variables})
        capsys.readouterr()
        code = main(["--profile", profile, *arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return code, " ".join(said.out.split())

    return run


def test_a_dry_run_shows_the_runs_and_makes_nothing(call: Call, tmp_path: Path):
    code, said = call("--dry-run")
    assert code == DONE
    assert "vendor_customer: " in said and "dvbpr" in said
    assert {path.name for path in (tmp_path / "home").iterdir()} <= {"format.json", "opening.lock"}


def test_only_the_modes_that_were_asked_for_are_run(call: Call):
    code, said = call("--dry-run", "--modes", "vendor_single")
    assert code == DONE
    assert "vendor_single: " in said and "vendor_customer: " not in said and "vendor_all: " not in said
    named = "left out, because their image mode is not among --modes: "
    assert f"{named}design_steps, designs_tradeoff, personal_designs, restyled_products" in said
    assert named not in call("--dry-run", "--modes", "vendor_all")[1]
    assert named not in call("--dry-run", "--modes", "vendor_single", "--select", "+key:catalogue")[1]


def test_an_unknown_mode_is_a_wrong_call(call: Call):
    with pytest.raises(SystemExit) as caught:
        call("--modes", "vendor")
    assert caught.value.code == WRONG_CALL


def test_a_missing_input_file_is_named(call: Call, tmp_path: Path):
    for variable in ("ATELIER_REVIEWS", "ATELIER_PRODUCTS"):
        code, said = call(**{variable: str(tmp_path / "nowhere.json.gz")})
        assert code == WRONG_CALL
        assert "nowhere.json.gz: no such file; check the path" in said


def test_an_empty_input_file_is_named(call: Call, tmp_path: Path):
    (tmp_path / "empty.json").touch()
    code, said = call(ATELIER_REVIEWS=str(tmp_path / "empty.json"))
    assert code == WRONG_CALL
    assert "empty.json: the file is empty; fetch it again" in said


def test_products_must_be_named(call: Call):
    code, said = call(ATELIER_PRODUCTS="")
    assert code == WRONG_CALL
    assert "set ATELIER_PRODUCTS" in said and "make demo" in said


def test_a_truncated_gz_is_named_and_nothing_of_it_is_kept(call: Call, files, tmp_path: Path):
    whole = Path(files["ATELIER_REVIEWS"]).read_bytes()
    (tmp_path / "short.json.gz").write_bytes(whole[: len(whole) // 2])
    code, said = call("--select", "group:ingest", ATELIER_REVIEWS=str(tmp_path / "short.json.gz"))
    assert code == WRONG_CALL
    assert "short.json.gz: the compressed file is cut short or damaged" in said and "Fetch the file again" in said
    assert not list((tmp_path / "home").rglob("reviews.parquet"))


def test_an_output_folder_that_cannot_be_written_is_named(call: Call, tmp_path: Path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    for home in (tmp_path / "taken", tmp_path / "taken" / "below"):
        code, said = call(ATELIER_HOME=str(home))
        assert code == WRONG_CALL
        assert f"ATELIER_HOME {home} cannot be written" in said and "Name another folder" in said


def test_an_unknown_profile_is_named_with_the_known_ones(call: Call):
    code, said = call(profile="paris")
    assert code == WRONG_CALL
    assert "profile 'paris'" in said and "demo" in said


def test_a_wrong_profile_stops_before_any_work(call: Call, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("ops: {dvbpr: {config: {epoch: 3}}}")
    code, said = call(profile=str(tmp_path / "mine.yaml"))
    assert code == WRONG_CALL
    assert "mine.yaml: unknown key ops.dvbpr.config.epoch; allowed: " in said
    assert not (tmp_path / "home").exists()


def test_an_invalid_value_in_a_profile_stops_before_any_work(call: Call, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("ops: {dvbpr: {config: {padding: smae}}}")
    code, said = call("--dry-run", profile=str(tmp_path / "mine.yaml"))
    assert code == WRONG_CALL and "smae" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_reported_before_any_work(call: Call, tmp_path: Path):
    code, said = call(ATELIER_DEVICE="cuda")
    assert code == WRONG_CALL
    assert "ATELIER_DEVICE: device 'cuda' was asked for and is not here" in said and "choose auto" in said
    assert not (tmp_path / "home" / "tables").exists()


def test_an_unknown_device_is_named_with_the_known_ones(call: Call):
    code, said = call(ATELIER_DEVICE="tpu")
    assert code == WRONG_CALL
    assert "'tpu' is unknown" in said and "auto, cuda, mps, cpu" in said


def test_a_selection_of_nothing_is_a_wrong_call(call: Call):
    code, said = call("--select", "key:dvbprr")
    assert code == WRONG_CALL
    assert "dvbprr" in said


def test_an_unknown_argument_is_a_wrong_call(call: Call):
    with pytest.raises(SystemExit) as caught:
        call("--everything")
    assert caught.value.code == WRONG_CALL


def test_a_port_in_use_of_the_embedded_catalogue_is_named_with_the_remedy(call: Call, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        small = small_catalogue(items=24, users=8, casual_users=4, other_products=2, port=port)
        monkeypatch.setattr(sample_source, "SampleSettings", lambda: small)
        code, said = call(profile="demo")
    assert code == WRONG_CALL
    assert f"port {port} on 127.0.0.1 is in use: stop the process that listens there" in said


def test_the_embedded_catalogue_names_itself_in_the_environment(tmp_path: Path):
    port = free_port()
    small = small_catalogue(items=24, users=8, casual_users=4, other_products=2, port=port)
    said: list[str] = []
    with sample_source.embedded(tmp_path / "catalogue", said.append, small) as variables:
        assert Path(variables["ATELIER_REVIEWS"]).is_file() and Path(variables["ATELIER_PRODUCTS"]).is_file()
        assert variables["ATELIER_ALLOW_HOSTS"] == f"127.0.0.1:{port}"
    assert said == ["drawing the embedded catalogue", f"serving its pictures on http://127.0.0.1:{port}"]


def test_the_absence_of_users_with_five_items_is_reported_with_counts(call: Call, tmp_path: Path):
    few = write_lines(tmp_path / "few.json.gz", [review(user, item) for user in range(6) for item in range(4)])
    code, said = call("--select", "group:ingest", ATELIER_REVIEWS=str(few))
    assert code != DONE
    assert "no user with 5 distinct items among 6 users and 24 reviews" in said


@pytest.fixture
def one_picture():
    """Serve a picture of item 0 and 404 for everything else; yield `host:port`."""
    sink = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(sink, "JPEG")

    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path == "/0.jpg"
            self.send_response(200 if there else 404)
            self.send_header("Content-Length", str(len(sink.getvalue()) if there else 0))
            self.end_headers()
            if there:
                self.wfile.write(sink.getvalue())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_mode_without_working_pictures_is_reported_with_counts(call: Call, tmp_path: Path, one_picture: str):
    products = write_lines(
        tmp_path / "served.json.gz", [product(item, f"http://{one_picture}/{item}.jpg") for item in range(6)]
    )
    code, said = call(
        "--select", "group:ingest or key:image_urls or key:image_ledger or key:splits",
        ATELIER_PRODUCTS=str(products), ATELIER_ALLOW_HOSTS=one_picture,
    )  # fmt: skip
    assert code != DONE
    assert "vendor_single: no user is left with 5 items that have a working picture (5 of 6 items have none)" in said
    assert "image_ledger" in said
    assert "! vendor_single: 5 of 6 items of the 5-core (83.3%) have no picture: 5 broken (http_404)" in said


def test_a_failure_of_every_picture_is_reported_without_retries(call: Call, monkeypatch):
    import time

    sleep, long = time.sleep, []

    def watched(seconds: float) -> None:
        if seconds >= 1:
            long.append(seconds)
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", watched)
    code, said = call("--select", "group:ingest or key:image_urls or key:image_ledger")
    assert long == [], "it waited before it asked the same hosts for the same again"
    assert code != DONE
    assert "none of 6 pictures could be fetched" in said and "ATELIER_ALLOW_HOSTS" in said


def test_an_error_inside_the_run_is_a_failure_and_no_wrong_call(call: Call, monkeypatch):
    def breaks(*_: object) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr("pipeline.cli.run.plan", breaks)
    code, said = call()
    assert code == FAILED
    assert "failed: the disk is on fire" in said


def test_an_interrupted_run_says_how_to_continue(call: Call, monkeypatch):
    def stops(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.cli.run.plan", stops)
    code, said = call()
    assert code == 130 and "the same command goes on from here" in said


def test_the_error_of_a_missing_table_names_the_asset_that_makes_it(call: Call):
    code, said = call("--select", "key:splits")
    assert code != DONE
    assert ".parquet is missing: materialise " in said and said.rstrip().endswith("first.")


def test_an_error_of_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from pipeline.home import environment

    isolate(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("ATELIER_ALLOW_HOSTS", " 127.0.0.1:8877, ,shop.local:80")
    assert environment.allowed_hosts() == {"127.0.0.1:8877", "shop.local:80"}
    assert environment.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    monkeypatch.setenv("ATELIER_HOME", "~/atelier")
    assert environment.home() == Path("~/atelier").expanduser().resolve()
    with pytest.raises(InputError, match="ATELIER_HOME"):
        monkeypatch.setenv("ATELIER_HOME", "/dev/null/home")
        environment.writable_home()
