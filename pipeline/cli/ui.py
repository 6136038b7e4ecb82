"""`python -m pipeline.ui`: serve Dagster's UI with its daemon, and MLflow's UI, over one home.

It only starts and stops servers. They bind to loopback, because neither has a login. Each runs under a leash
(`pipeline/servers/leash.py`), so that nothing outlives this process, however it ends.
"""

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil
from rich.console import Console

from pipeline.core.errors import InputError
from pipeline.core.quoting import printable_lines
from pipeline.home import environment, instance
from pipeline.mirror import background_sync
from pipeline.runtime.exits import FAILED, ended
from pipeline.sample import source as sample_source
from pipeline.servers import leash

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
# Seconds between asking a server to end and killing it. Steps at work, of the code server's group, write down that they
# were cut off; the others have nothing to lose, and many seconds of Python's own tidying up.
GRACE = {"code": 20.0, "mlflow": 5.0, "dagster": 5.0, "daemon": 5.0}
STARTED_WITHIN = 600.0  # seconds
LAST_LINES = 15  # of a server's log, shown where it ended by itself
LOCK = "ui.lock"  # in DAGSTER_HOME; holds the pid and addresses that a second UI prints
SERVERS = "servers"  # beside it: the servers' logs; no `.env` lies there, and Dagster's processes begin there
SOCKET_PATH = 100  # bytes; of a Unix socket's name 104 are allowed at most

EPILOG = """\
environment (a .env file works; the shell's own variables win over it, in every server and step too):
  ATELIER_HOME      the home
  ATELIER_UI_HOSTS  names that the UIs are asked by beside localhost: name or name:port, comma-separated. Requests
                    under other names, and those of other sites' pages, are refused; a proxy in front needs this.
A program that sends Dagster a mutation says whence it comes: the header Origin, http://127.0.0.1:3000 by default.
python -m pipeline.run --help lists the rest.

exit codes: 1 a server ended, its last lines say why; 2 the call or the configuration is wrong, or a UI has this home;
ended by Ctrl-C 130, by SIGTERM 143, by SIGHUP 129
"""


class Ended(KeyboardInterrupt):
    """A signal asked for the end."""


class Signals:
    """What ends the UI: raised while it prepares, noted while servers are to be started and ended in order."""

    def __init__(self) -> None:
        self.first, self.raising = 0, True
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Ignored from the start: by nohup, or by a shell that started this in the background.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.first = self.first or number
        if self.raising:
            raise Ended

    @contextmanager
    def noted(self) -> Generator[None]:
        """A block that signals do not interrupt; it looks at `first`."""
        self.raising = False
        try:
            yield
        finally:
            self.raising = True


@dataclass
class Server:
    """A server on its leash."""

    name: str
    leash: subprocess.Popen
    mark: str
    log: Path


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.ui",
        description="Open a home in Dagster's UI and MLflow's. The home is ATELIER_HOME; when that is not set, var/, "
        "or var/demo where only the demo has run. A Materialize button uses the profile the home was last run with.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dagster-port", type=int, default=3000)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    return parser.parse_args(argv)


def chosen_home() -> Path:
    """The home to open."""
    if not os.environ.get("ATELIER_HOME"):
        demo = Path("var/demo").resolve()
        if not (Path("var") / instance.RECORD).is_file() and (demo / instance.RECORD).is_file():
            os.environ["ATELIER_HOME"] = str(demo)
    return environment.writable_home()


def free(port: int, option: str) -> None:
    """Check that a port can be bound.

    Raises:
        InputError: something listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"port {port} cannot be had{_listener(port)}: stop what listens there, or give another with {option}."
            ) from error


def _listener(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            for known in process.net_connections("tcp"):
                if known.status == psutil.CONN_LISTEN and known.laddr.port == port:
                    return f" ({process.name()}, process {process.pid}, listens there)"
    return ""


@contextmanager
def only_one(folder: Path, options: argparse.Namespace, console: Console) -> Generator[int]:
    """Hold the home's UI; gives the lock's descriptor, which leashes keep open until their servers are gone.

    Raises:
        InputError: another UI has the home.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as lock:
        by, told = time.monotonic() + 2 * max(GRACE.values()), False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                lock.seek(0)
                first = _recorded(lock.read())
                if not first.get("gone") or time.monotonic() > by:
                    raise InputError(_refusal(folder.parent, first)) from error
                if not told:
                    told = True
                    console.print("The last UI of this home was killed; its servers are just ending.")
                time.sleep(0.2)
        lock.truncate(0)
        me = psutil.Process()
        record = {
            "pid": me.pid, "started": me.create_time(), "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "dagster": f"http://{HOST}:{options.dagster_port}", "mlflow": f"http://{HOST}:{options.mlflow_port}",
        }  # fmt: skip
        lock.write(json.dumps(record))
        lock.flush()
        yield lock.fileno()


def _recorded(text: str) -> dict:
    """What the first UI wrote down; `gone` where its process is known to have ended."""
    try:
        first = json.loads(text)
    except ValueError:  # it has just locked, and not written yet
        return {}
    if first["host"] == socket.gethostname():
        try:
            first["gone"] = abs(psutil.Process(first["pid"]).create_time() - first["started"]) > 2
        except psutil.NoSuchProcess:
            first["gone"] = True
    return first


def _refusal(home: Path, first: dict) -> str:
    if not first:
        return f"another UI is just being started on {home}."
    where = "" if first["host"] == socket.gethostname() else f" on {first['host']}"
    return (
        f"a UI has {home} already: process {first['pid']}{where}, since {first['since']}, Dagster {first['dagster']}, "
        f"MLflow {first['mlflow']}. Use that one, or end it first (kill {first['pid']})."
    )


def _variables(home: Path, options: argparse.Namespace) -> dict[str, str]:
    """The environment of every server: what the home was last run with, and over it this process's own."""
    known = instance.recall(home)
    remembered = {name: value for name, value in known.items() if name.startswith("ATELIER_") and value}
    addresses = {
        "ATELIER_DAGSTER_UI": f"http://{HOST}:{options.dagster_port}",
        "ATELIER_MLFLOW_UI": f"http://{HOST}:{options.mlflow_port}",
    }
    ours = {
        "ATELIER_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "ATELIER_STARTED_IN": str(Path.cwd()),
        # The daemon and the webserver load the instance's launcher from here.
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        # In the environment, since an address may hold a password, and everybody can read a command line.
        "MLFLOW_BACKEND_STORE_URI": environment.tracking_uri(home),
        "MLFLOW_ARTIFACTS_DESTINATION": environment.artifact_root(home),
        # Eight processes for what is not used here: evaluating language models.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": os.environ.get("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false"),
    }
    return {**remembered, "ATELIER_PROFILE": known.get("profile", ""), **addresses, **os.environ, **ours}


def _commands(servers: Path, code: str, options: argparse.Namespace) -> dict[str, tuple[list[str], Path]]:
    """By name, each server's command and where it begins."""
    python, here = [sys.executable, "-m"], Path.cwd()
    workspace = servers / "workspace.yaml"
    hosts = ["127.0.0.1", "localhost", "[::1]", *environment.ui_hosts()]
    further = environment.ui_hosts()
    return {
        # What `dagster dev` starts; without --heartbeat, since a leash ends it.
        "code": ([
            *python, "dagster", "code-server", "start", "--module-name", "pipeline.definitions",
            "--working-directory", str(ROOT), "--location-name", "atelier", "--socket", code, "--log-level", "warning",
        ], servers),
        "mlflow": ([
            *python, "mlflow", "server", "--host", HOST, "--port", str(options.mlflow_port), "--workers", "1",
            "--uvicorn-opts", "--log-level warning",
            "--allowed-hosts", ",".join(name for host in hosts for name in _with_ports(host)),
            *(["--cors-allowed-origins", ",".join(
                f"{scheme}://{name}" for scheme in ("http", "https") for host in further for name in _with_ports(host)
            )] if further else []),
        ], here),
        "dagster": ([
            *python, "pipeline.servers.webserver", "--host", HOST, "--port", str(options.dagster_port),
            "--workspace", str(workspace), "--code", code,
        ], here),
        "daemon": ([
            *python, "dagster._daemon", "run", "--workspace", str(workspace), "--log-level", "warning",
        ], servers),
    }  # fmt: skip


def _with_ports(host: str) -> list[str]:
    """A host for MLflow, which compares whole headers with patterns: by itself and with any port."""
    return [host] if host.rpartition("]")[2].count(":") else [host, f"{host.replace('[', '[[]')}:*"]


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Servers:
    """The four servers of a home, started in order, ended together."""

    def __init__(self, home: Path, lock: int, signals: Signals, options: argparse.Namespace, console: Console):
        self.home, self.lock, self.signals, self.options, self.console = home, lock, signals, options, console
        self.folder = home / "dagster" / SERVERS
        self.running: list[Server] = []

    def serve(self) -> int:
        """Start all, wait for a signal or a server's end, end all; the exit code."""
        self.folder.mkdir(exist_ok=True)
        scratch = tempfile.mkdtemp(prefix="atelier-")
        if len(os.fsencode(scratch)) > SOCKET_PATH - len("/code"):
            shutil.rmtree(scratch)
            scratch = tempfile.mkdtemp(prefix="atelier-", dir="/tmp")
        code = f"{scratch}/code"
        (self.folder / "workspace.yaml").write_text(
            json.dumps({"load_from": [{"grpc_server": {"socket": code, "location_name": "atelier"}}]})
        )
        self.variables = _variables(self.home, self.options)
        self.commands = _commands(self.folder, code, self.options)
        reading, self.holding = os.pipe()
        with self.signals.noted():
            try:
                for name in ("code", "mlflow", "dagster"):
                    self._start(name, reading, scratch if name == "code" else "")
                return self._watch(reading)
            finally:
                os.close(self.holding)  # the leashes see it
                for server in self.running:
                    if server.leash.wait() < 0:  # the leash itself was killed
                        leash.end(server.leash.pid, server.mark, 0.0)
                os.close(reading)
                shutil.rmtree(scratch, ignore_errors=True)

    def _start(self, name: str, reading: int, scratch: str = "") -> None:
        command, where = self.commands[name]
        log = self.folder / f"{name}.log"
        mark = uuid.uuid4().hex
        leashed = [
            sys.executable,
            "-m",
            "pipeline.servers.leash",
            str(reading),
            str(GRACE[name]),
            scratch,
            mark,
            *command,
        ]
        with log.open("w") as said:
            process = subprocess.Popen(
                leashed, cwd=where, env=self.variables, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=(reading, self.lock),
            )  # fmt: skip
        self.running.append(Server(name, process, mark, log))

    def _watch(self, reading: int) -> int:
        by = time.monotonic() + STARTED_WITHIN
        waiting = {
            "dagster": ("Dagster", self.options.dagster_port, "/server_info"),
            "mlflow": ("MLflow ", self.options.mlflow_port, "/health"),
        }
        while not self.signals.first:
            for server in self.running:
                if server.leash.poll() is not None:
                    return self._report_failure(server, f"ended by itself, with exit code {server.leash.returncode}")
            for name, (title, port, path) in list(waiting.items()):
                if _answers(port, path):
                    del waiting[name]
                    self._say(f"{title}  http://{HOST}:{port}")
                    if name == "dagster":  # so the code is loaded, and the daemon does not start on a missing one
                        self._start("daemon", reading)
                    if not waiting:
                        self._say("Ctrl-C ends both.")
                elif time.monotonic() > by:
                    late = next(server for server in self.running if server.name == name)
                    return self._report_failure(late, f"does not answer after {STARTED_WITHIN:.0f} s")
            time.sleep(0.2)
        self._say("ending both; runs at work can be started again from where they are")
        return 128 + self.signals.first

    def _report_failure(self, server: Server, what: str) -> int:
        lines = server.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        said = "".join(f"\n  {printable_lines(line)}" for line in lines)
        self._say(f"failed: {server.name} {what}. The end of {server.log}:{said}")
        return FAILED

    def _say(self, what: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            self.console.print(what, highlight=False, markup=False, soft_wrap=True)


def serve(options: argparse.Namespace, console: Console) -> int:
    """Prepare the home, and have its servers until they end; the exit code."""
    signals = Signals()
    try:
        environment.ui_hosts()
        home = chosen_home()
        with only_one(home / "dagster", options, console) as lock, ExitStack() as stack:
            free(options.dagster_port, "--dagster-port")
            free(options.mlflow_port, "--mlflow-port")
            instance.prepare(home)
            (home / "mlflow").mkdir(exist_ok=True)
            _recover(home)
            stack.enter_context(background_sync.in_step(home, print))
            if instance.recall(home).get("profile") == "demo":
                stack.enter_context(sample_source.embedded(home / "catalogue", print))
            console.print(f"home     {home}", highlight=False, markup=False, soft_wrap=True)
            code = Servers(home, lock, signals, options, console).serve()
            with signals.noted():
                _recover(home)  # a run at work that did not write down its end in time
            return code
    except Ended:
        return 128 + signals.first


def _recover(home: Path) -> None:
    """Close what a killed process left open, before the daemon counts it."""
    from pipeline.runtime.tracking import Tracker
    from pipeline.upkeep.recovery import recover

    tracker = Tracker(tracking_uri=environment.tracking_uri(home), artifact_root=environment.artifact_root(home))
    tracker.make_database()  # before MLflow's server and a run that starts meanwhile both make it
    with instance.open_instance(home) as opened:
        if told := str(recover(opened, home, tracker)):
            with contextlib.suppress(OSError):  # the terminal may be gone
                print(f"recovered: {told}")


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    options, console = arguments(argv), Console()
    return ended(lambda: serve(options, console), console)
