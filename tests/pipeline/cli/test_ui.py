"""One real start of `make ui`: its pages, requests from other sites, a run that is interrupted, and its end."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from pipeline.home import instance
from pipeline.upkeep.recovery import UNFINISHED
from tests.pipeline.cli.ui_process import LIMIT, Ui, matching, mutation_link

pytestmark = pytest.mark.slow
PICTURE = "http://{}/images/{}.jpg"
CHAIN = ("reviews", "products", "rejects", "interactions", "users", "items", "image_urls", "image_ledger")


@pytest.fixture(scope="module")
def mute() -> Iterator[socket.socket]:
    """Listen as a picture host that never answers: a run that fetches from it does not end by itself."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mute: socket.socket) -> Path:
    """Make a working directory: a shop's files, and a `.env` that names them, another home and a licence."""
    made = tmp_path_factory.mktemp("working folder")
    host = f"127.0.0.1:{mute.getsockname()[1]}"
    (made / "shop").mkdir()
    women = ["Clothing", "Women", "T-Shirt"]
    products = [
        {"asin": f"0{108775000 + item}", "title": f"Women's T-Shirt {item}", "category": women,
         "imageURL": [PICTURE.format(host, item)], "imageURLHighRes": [PICTURE.format(host, item)]}
        for item in range(12)
    ]  # fmt: skip
    reviews = [
        {"overall": 5.0, "verified": True, "reviewerID": f"U{user:03}", "asin": f"0{108775000 + (user + n) % 12}",
         "unixReviewTime": 1_400_000_000 + 86_400 * (10 * user + n)}
        for user in range(12) for n in range(8)
    ]  # fmt: skip
    for name, rows in (("products", products), ("reviews", reviews)):
        (made / "shop" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (made / ".env").write_text(
        f"ATELIER_HOME=other\nATELIER_LICENCE=of the file\nATELIER_REVIEWS=shop/reviews.jsonl\n"
        f"ATELIER_PRODUCTS=shop/products.jsonl\nATELIER_ALLOW_HOSTS={host}\nATELIER_DEVICE=cpu\n"
    )
    return made


@pytest.fixture(scope="module")
def ui(folder: Path) -> Iterator[Ui]:
    """Start a UI. The shell names the home and an empty licence; the `.env` sets the rest."""
    with Ui(
        folder, ATELIER_HOME=str(folder / "home"), ATELIER_LICENCE="", ATELIER_UI_HOSTS="atelier.example"
    ) as started:
        started.up()
        yield started


def test_it_prints_its_addresses_once_they_answer(ui):
    assert ui.output.splitlines()[0] == f"home     {ui.folder / 'home'}"
    for name, path in (("dagster", "/server_info"), ("mlflow", "/health")):
        assert f"http://127.0.0.1:{ui.ports[name]}" in ui.output
        assert ui.ask(name, path)[0] == 200
    status, page = ui.ask("dagster", "/asset-groups")
    assert status == 200 and "<html" in page
    assert '"telemetryEnabled": false' in page or "telemetryEnabled" not in page


def test_the_code_is_loaded_when_it_answers(ui):
    found = ui.graphql("{workspaceOrError{... on Workspace{locationEntries{locationOrLoadError{__typename}}}}}")
    entries = found["workspaceOrError"]["locationEntries"]
    assert [entry["locationOrLoadError"]["__typename"] for entry in entries] == ["RepositoryLocation"]


def test_pages_of_other_sites_are_refused_and_its_own_work(ui):
    own, evil = f"http://127.0.0.1:{ui.ports['dagster']}", "http://evil.example"
    query, mutation = {"query": "{version}"}, {"query": "mutation{setNuxSeen}"}
    assert ui.ask("dagster", mutation_link())[0] == 403
    assert ui.ask("dagster", "/graphql", query, Host="evil.example")[0] == 400
    assert ui.ask("dagster", "/graphql", query, Origin=evil)[0] == 403
    assert ui.ask("dagster", "/graphql", mutation)[0] == 403
    assert ui.handshake(evil) == 403
    assert ui.ask("dagster", "/graphql", query)[0] == 200
    assert ui.ask("dagster", "/graphql", query, Host="atelier.example", Origin="https://atelier.example")[0] == 200
    assert ui.ask("dagster", "/graphql", mutation, Origin=own)[0] == 200
    assert ui.handshake(own) == 101
    search, path = {"max_results": 1}, "/api/2.0/mlflow/experiments/search"
    assert ui.ask("mlflow", path, search, Host="evil.example")[0] == 403
    assert ui.ask("mlflow", path, search, Origin=evil)[0] == 403
    for host in (
        "localhost",
        f"127.0.0.1:{ui.ports['mlflow']}",
        "[::1]:5000",
        "atelier.example",
        "atelier.example:443",
    ):
        assert ui.ask("mlflow", path, search, Host=host)[0] == 200
    assert ui.ask("mlflow", path, search, Origin="https://atelier.example")[0] == 200


def test_a_second_ui_on_the_home_is_refused_with_the_first_ones_address(ui):
    second = subprocess.run(
        [sys.executable, "-m", "pipeline.ui", "--dagster-port", "1"], cwd=ui.folder, env=ui.process_environment,
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    said = second.stdout + second.stderr
    for known in (f"process {ui.process.pid}", *(f"http://127.0.0.1:{port}" for port in ui.ports.values()), "since 20"):
        assert known in said


def test_a_port_in_use_is_refused_with_the_process_that_listens(ui):
    other = {**ui.process_environment, "ATELIER_HOME": str(ui.folder / "third")}
    refused = subprocess.run(
        [sys.executable, "-m", "pipeline.ui", "--dagster-port", str(ui.ports["dagster"])], cwd=ui.folder, env=other,
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    (listening,) = [
        p
        for p in matching(ui.left(), "pipeline.cli.servers.webserver")
        if "pipeline.cli.servers.supervisor" not in p.cmdline()
    ]
    assert f"process {listening.pid}" in refused.stdout + refused.stderr


def test_a_running_run_uses_the_home_and_can_be_resumed_after_the_ui_ends(ui, folder, mute):
    run_id = ui.launch("everything", *CHAIN)
    mute.settimeout(LIMIT)
    fetching, _ = mute.accept()  # a step has asked for a picture
    running = ui.left()
    spawned = matching(running, "multiprocessing.spawn")
    assert spawned  # the run's worker
    for words in (
        "code-server",
        "dagster api grpc",
        "dagster._daemon",
        "pipeline.cli.servers.webserver",
        "uvicorn",
        "mlflow server",
    ):
        assert matching(running, words), words
    for process in running:
        known = process.environ()
        if process.pid == ui.process.pid:
            continue
        assert known["ATELIER_HOME"] == str(folder / "home")
        assert known["DAGSTER_HOME"] == str(folder / "home" / "dagster")
        assert known["ATELIER_LICENCE"] == ""  # set to empty in the shell, which overrides the file
        assert known["ATELIER_REVIEWS"] == "shop/reviews.jsonl"  # from the file, and relative to its folder:
        assert known["MLFLOW_DISABLE_TELEMETRY"] == "true" and known["DAGSTER_DISABLE_TELEMETRY"]
    assert (folder / "home" / "tables" / "reviews.parquet").is_file()
    assert not (folder / "other").exists()

    assert ui.end(signal.SIGTERM, signal.SIGTERM) == 143
    fetching.close()
    ui.nothing_is_left()
    with instance.open_instance(folder / "home") as opened:
        run = opened.get_run_by_id(run_id)
        assert run is not None and run.status not in UNFINISHED
        assert run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
        made = opened.get_latest_materialization_event(dg.AssetKey("reviews"))
        assert made is not None and made.run_id == run_id  # finished assets stay materialised
