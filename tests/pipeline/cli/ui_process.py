"""Run `python -m pipeline.ui` as a process: send it requests and signals, and find what is left of it."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psutil

from tests.pipeline.conftest import VARIABLES, free_port

ROOT = Path(__file__).parents[3]
LIMIT = 180.0  # seconds for each wait, on a busy machine
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""


class Ui:
    """A UI started in `folder` and ended with the block at the latest; `output` is its output."""

    def __init__(self, folder: Path, *, background: bool = False, **variables: str):
        self.folder, self.mark = folder, uuid.uuid4().hex
        self.ports = {"dagster": free_port(), "mlflow": free_port()}
        self._background = background
        named = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self.process_environment = {**named, "PYTHONPATH": str(ROOT), "TEST_MARK": self.mark, **variables}

    def __enter__(self) -> Self:
        words = [f"--{name}-port={port}" for name, port in self.ports.items()]
        command = [sys.executable, "-m", "pipeline.ui", *words]
        if self._background:  # a shell starts a background job with SIGINT ignored
            ignore = "signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
            command = [sys.executable, "-c", f"import os, signal, sys; {ignore}", *command]
        with (self.folder / "output").open("w") as output:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.process_environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.left():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    def up(self) -> None:
        """Wait until the UI prints that both servers answer."""
        self.until(lambda: "Ctrl-C" in self.output, "the UI does not come up")

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait until `holds` returns something true, and return that."""
        deadline = time.monotonic() + LIMIT
        while not (found := holds()):
            assert time.monotonic() < deadline, f"{what}; its output:\n{self.output}"
            time.sleep(0.1)
        return found

    def end(self, *numbers: signal.Signals) -> int:
        """Send signals, one right after the other, and wait for the end; return the exit code."""
        for number in numbers:
            self.process.send_signal(number)
        return self.process.wait(LIMIT)

    def left(self) -> list[psutil.Process]:
        """List its running processes, including those that left its process group."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("TEST_MARK") == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def nothing_is_left(self) -> None:
        """Wait until none of its processes runs, and check that its ports can be bound."""
        self.until(lambda: not self.left(), f"processes are left: {self.left()}")
        for port in self.ports.values():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))

    def ask(self, server: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        """Send a request, by GET or, with a body, by POST; return its status and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[server], timeout=60)
        sent = {"Content-Type": "application/json", **{name.replace("_", "-"): v for name, v in headers.items()}}
        with contextlib.closing(connection):
            connection.request("POST" if body else "GET", path, body and json.dumps(body), sent)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def graphql(self, query: str, **variables: Any) -> Any:
        """Send a GraphQL query as Dagster's own page does; return its data."""
        status, text = self.ask(
            "dagster", "/graphql", {"query": query, "variables": variables},
            Origin=f"http://127.0.0.1:{self.ports['dagster']}",
        )  # fmt: skip
        assert status == 200, text
        return json.loads(text)["data"]

    def launch(self, job: str, *assets: str) -> str:
        """Launch a run of these assets as the Materialize button does; return its id."""
        selector = {
            "repositoryLocationName": "atelier", "repositoryName": "__repository__", "jobName": job,
            "assetSelection": [{"path": [asset]} for asset in assets], "assetCheckSelection": [],
        }  # fmt: skip
        answer = self.graphql(LAUNCH, params={"selector": selector, "mode": "default", "runConfigData": {}})
        assert answer["launchRun"]["__typename"] == "LaunchRunSuccess", answer
        return answer["launchRun"]["run"]["runId"]

    def handshake(self, origin: str) -> int:
        """Open a websocket and return the status."""
        with socket.create_connection(("127.0.0.1", self.ports["dagster"]), 60) as connection:
            connection.sendall(
                f"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1:{self.ports['dagster']}\r\nConnection: Upgrade\r\n"
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                f"Sec-WebSocket-Protocol: graphql-ws\r\nOrigin: {origin}\r\n\r\n".encode()
            )
            return int(connection.recv(1000).split(b" ")[1])


def mutation_link() -> str:
    return f"/graphql?query={quote('mutation{setNuxSeen}')}"


def matching(processes: list[psutil.Process], words: str) -> list[psutil.Process]:
    """Filter the processes whose command line contains `words`."""
    return [process for process in processes if words in " ".join(process.cmdline())]
