"""Run `mlflow models serve` on a registered version, and ask it over HTTP."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.pipeline.conftest import free_port


@contextlib.contextmanager
def serving(uri: str, tracking_uri: str, folder: Path) -> Iterator[str]:
    """Run `mlflow models serve` as in the docs, in another process and folder; yield the address to ask."""
    port, log = free_port(), folder / "log"
    programs = Path(sys.executable).parent
    command = [
        str(programs / "mlflow"), "models", "serve", "-m", uri,
        "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",  # mlflow looks for uvicorn there
        "MLFLOW_TRACKING_URI": tracking_uri,
    }
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            command, env=environment, cwd=log.parent, stdout=sink, stderr=sink, start_new_session=True
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 120
            while not answers(f"http://127.0.0.1:{port}/ping"):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # after SIGTERM its parent takes ten seconds


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


def post(server: str, body: str | bytes, kind: str = "application/json") -> tuple[int, dict[str, Any]]:
    """Send a request; return its status and its JSON answer."""
    data = body if isinstance(body, bytes) else body.encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(server, data, {"Content-Type": kind}), timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def ask(server: str, *records: dict[str, Any]) -> list[dict[str, Any]]:
    status, answer = post(server, json.dumps({"dataframe_records": records}))
    assert status == 200, answer
    return answer["predictions"]
