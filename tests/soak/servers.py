"""Dagster's servers over one home as in `make ui`, each a process that can be killed and started again.

Runs are launched over HTTP, as the UI does, and executed by run workers that the code server starts. The instance is
the project's, with a shorter polling interval of the daemon, so that fifty kills take less time.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import yaml

from pipeline.home import instance
from tests.soak.lives import ROOT

BIN = Path(sys.executable).parent
# Overrides of run_monitoring in dagster.yaml, in seconds; 10 and 30 there.
FASTER_MONITORING = {"poll_interval_seconds": 2, "free_slots_after_run_end_seconds": 5}
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""


class Servers:
    """A code server, the daemon and the webserver of a home."""

    def __init__(self, home: Path, variables: dict[str, str], log: Path, timeout: float):
        self.home, self.log, self.timeout = home, log, timeout
        instance.CONFIGURATION = _write_configuration(log.with_name("dagster.yaml"))
        folder = instance.prepare(home)
        self._environment = {**os.environ, **variables, "DAGSTER_HOME": str(folder), "PYTHONPATH": str(ROOT)}
        self._ports = {"code": free_port(), "webserver": free_port()}
        workspace = home / "workspace.yaml"
        workspace.write_text(
            "load_from:\n  - grpc_server:\n      host: 127.0.0.1\n"
            f"      port: {self._ports['code']}\n      location_name: atelier\n"
        )
        self._commands = {
            "code": [
                "dagster", "api", "grpc", "-m", "pipeline.definitions",
                "-h", "127.0.0.1", "-p", str(self._ports["code"]),
            ],
            "daemon": ["dagster-daemon", "run", "-w", str(workspace)],
            "webserver": [
                "dagster-webserver", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(self._ports["webserver"]),
            ],
        }  # fmt: skip
        self._processes: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Servers":
        for name in self._commands:
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name: str) -> None:
        """Start a server, and wait until it answers."""
        command = self._commands[name]
        output = self.log.open("a")
        self._processes[name] = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]], env=self._environment, cwd=ROOT, stdout=output, stderr=output
        )
        if name in self._ports:
            self._until(lambda: _listens(self._ports[name]), f"{name} does not answer; see {self.log}")

    def kill(self, name: str) -> None:
        """kill -9 a server."""
        self._processes[name].kill()
        self._processes[name].wait()

    def launch(self, job: str, assets: list[str], mode: str | None) -> str:
        """Launch a run through the webserver; return its id."""
        selector = {
            "repositoryLocationName": "atelier", "repositoryName": "__repository__", "jobName": job,
            "assetSelection": [{"path": [asset]} for asset in assets], "assetCheckSelection": [],
        }  # fmt: skip
        tags = [{"key": "dagster/partition", "value": mode}] if mode else []
        params = {
            "selector": selector, "runConfigData": {}, "mode": "default", "executionMetadata": {"tags": tags},
        }  # fmt: skip
        answers: list[dict[str, Any]] = []

        def launched() -> bool:
            try:
                answers.append(self._graphql(LAUNCH, {"params": params})["launchRun"])
            except OSError:  # the webserver is still starting
                return False
            if answers[-1]["__typename"] != "LaunchRunSuccess":  # it has not loaded the code yet
                with self.log.open("a") as log:
                    print(f"the launch was refused: {answers[-1]}", file=log)
                return False
            return True

        self._until(launched, f"the webserver accepts no launch of {job}; see {self.log}")
        return answers[-1]["run"]["runId"]

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._ports['webserver']}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.loads(answer.read())
        if "errors" in found:
            raise RuntimeError(str(found["errors"]))
        return found["data"]

    def worker_of(self, run_id: str) -> psutil.Process | None:
        """Wait for the process that executes a run; return None if it has ended already."""
        found: list[psutil.Process | None] = []

        def started() -> bool:
            with self.opened() as opened:
                for event in opened.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
                    _, pid, rest = (event.message or "").partition("Started process for run (pid: ")
                    if pid:
                        try:
                            found.append(psutil.Process(int(rest.split(")")[0])))
                        except psutil.NoSuchProcess:
                            found.append(None)
                        return True
            return False

        self._until(started, f"run {run_id} has no worker; see {self.log}")
        return found[0]

    def ended(self, run_id: str) -> bool:
        """Return whether a run has ended."""
        with self.opened() as opened:
            run = opened.get_run_by_id(run_id)
            return run is not None and run.is_finished

    def outcome(self, run_id: str) -> dg.DagsterRunStatus:
        """Wait for the end of a run and of its retries by the daemon; return the last status."""
        last: list[dg.DagsterRun] = []

        def ended() -> bool:
            with self.opened() as opened:
                run = opened.get_run_by_id(run_id)
                assert run is not None
                group = [run, *opened.get_runs(dg.RunsFilter(tags={"dagster/root_run_id": run_id}))]
                newest = max(group, key=lambda each: opened.get_run_record_by_id(each.run_id).create_timestamp)
                last[:] = [newest]
                # Dagster marks a run as failed first, and a moment later whether it will be retried.
                final = newest.status is dg.DagsterRunStatus.SUCCESS or newest.tags.get("dagster/will_retry") == "false"
                return newest.is_finished and final

        self._until(ended, f"run {run_id} does not end; see {self.log}")
        return last[0].status

    def opened(self) -> dg.DagsterInstance:
        """Open the home's instance."""
        return instance.open_instance(self.home)

    def _until(self, holds: Any, complaint: str) -> None:
        deadline = time.monotonic() + self.timeout
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(complaint)
            time.sleep(0.3)


def _write_configuration(path: Path) -> Path:
    """Write the project's dagster.yaml with FASTER_MONITORING to `path`."""
    configuration = yaml.safe_load(instance.CONFIGURATION.read_text())
    configuration["run_monitoring"] |= FASTER_MONITORING
    path.write_text(yaml.safe_dump(configuration))
    return path


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Find a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
