"""`python -m tests.pages.uis --home var/demo`: the README's pictures of Dagster's asset graph and MLflow's comparison.

Starts `make ui`'s servers on free ports over a home of the embedded catalogue, and ends them again.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from tests.pages.browser import CHROMIUM, chromium

STARTED_WITHIN = 120  # seconds
SETTLED = 4000  # milliseconds in which a page lays itself out
COLOURS = 128
SIZE = {"width": 1900, "height": 1200}
ZOOM_OUT = 1872, 1052  # Dagster's button, and the cross of MLflow's assistant, at this size; neither has a name
CLOSE_ASSISTANT = 1864, 36
CANVAS = 1000, 1100


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def uis(home: Path) -> Generator[tuple[str, str]]:
    """Both servers over `home`: Dagster's address and MLflow's."""
    dagster, mlflow = free_port(), free_port()
    command = [sys.executable, "-m", "pipeline.ui", "--dagster-port", str(dagster), "--mlflow-port", str(mlflow)]
    environment = {**os.environ, "ATELIER_HOME": str(home)}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        addresses = f"http://127.0.0.1:{dagster}", f"http://127.0.0.1:{mlflow}"
        for address in addresses:
            _wait(address)
        yield addresses
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


def _wait(address: str) -> None:
    end = time.monotonic() + STARTED_WITHIN
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def evaluations(mlflow: str) -> list[str]:
    """The MLflow runs of the last evaluation of every mode."""
    body = {"experiment_ids": ["1"], "filter": "tags.`dagster.asset` = 'recommender_evaluation'", "max_results": 3}
    request = urllib.request.Request(
        f"{mlflow}/api/2.0/mlflow/runs/search", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return [run["info"]["run_id"] for run in json.load(answer)["runs"]]


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.pages.uis", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("var/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args(argv)
    if CHROMIUM is None:
        print("error: there is no Chromium here: apt-get install chromium", file=sys.stderr)
        return 1
    if not (options.home / "summary.json").is_file():
        print(f"error: {options.home} holds no finished run: run make demo first.", file=sys.stderr)
        return 2
    with uis(options.home.resolve()) as (dagster, mlflow), chromium() as browser:
        page = browser.new_page()
        page.set_viewport_size(SIZE)
        page.goto(f"{dagster}/asset-groups")
        page.wait_for_timeout(2 * SETTLED)
        page.mouse.click(*CANVAS)
        page.keyboard.press("Alt+e")  # all groups open
        page.wait_for_timeout(2 * SETTLED)
        page.mouse.click(*ZOOM_OUT)  # once: further out no asset is drawn
        page.wait_for_timeout(SETTLED)
        _save(page, options.out / "asset-graph.png")
        started = time.perf_counter()
        page.goto(f"{dagster}/assets/recommender_comparison")
        page.get_by_text("recommender_evaluation").first.wait_for()
        print(f"an asset's page was shown after {time.perf_counter() - started:.1f} s")
        runs = urllib.parse.quote(json.dumps(evaluations(mlflow)))
        page.goto(f"{mlflow}/#/compare-runs?runs={runs}&experiments={urllib.parse.quote(json.dumps(['1']))}")
        page.wait_for_timeout(SETTLED)
        page.mouse.click(*CLOSE_ASSISTANT)
        page.wait_for_timeout(SETTLED)
        _save(page, options.out / "mlflow.png")
    return 0


def _save(page, path: Path) -> None:
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
