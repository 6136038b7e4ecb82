"""`python -m pipeline.ui`: serve Dagster's UI with its daemon, and MLflow's UI, over one home.

It only starts and stops servers. They bind to loopback, because neither UI has a login. Each runs under a supervisor
process (`pipeline/cli/servers/supervisor.py`), so that no server outlives this process, however it ends.
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

from pipeline.cli.servers import supervisor
from pipeline.core.errors import InputError
from pipeline.core.quoting import printable_lines
from pipeline.home import environment, instance
from pipeline.mirror import background_sync
from pipeline.runtime.arguments import command_parser
from pipeline.runtime.exits import FAILED, ended
from pipeline.sample import source as sample_source

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
# Seconds between SIGTERM and SIGKILL. Running steps belong to the code server's group and need the time to record that
# they were interrupted. The other servers have nothing to lose, and Python's shutdown alone can take many seconds.
GRACE = {"code": 20.0, "mlflow": 5.0, "dagster": 5.0, "daemon": 5.0}
STARTUP_TIMEOUT = 600.0  # seconds
LAST_LINES = 15  # of the log of a server that ended by itself, printed
LOCK = "ui.lock"  # in DAGSTER_HOME; holds the pid and addresses that a second UI prints
SERVERS = "servers"  # in DAGSTER_HOME: the servers' logs, and Dagster's working directory, since it holds no `.env`
SOCKET_PATH = 100  # bytes; a Unix socket's path may have 104 on some systems

EPILOG = """\
environment (a .env file works; the shell's own variables win over it, in every server and step too):
  ATELIER_HOME      the home
  ATELIER_UI_HOSTS  host names of the UIs beside localhost: name or name:port, comma-separated. Requests to other names
                    and from pages of other sites are refused. Set it when a proxy is in front.
A program that sends Dagster a mutation must send the header Origin, by default http://127.0.0.1:3000.
python -m pipeline.run --help lists the other variables.

exit codes: 1 a server ended, its last lines say why; 2 the call or the configuration is wrong, or this home has a UI;
130 (Ctrl-C), 143 (TERM), 129 (HUP) stopped
"""


class StopRequested(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP arrived."""


class StopSignals:
    """The signals that stop the UI: raised as StopRequested, or only recorded while servers start and end in order."""

    def __init__(self) -> None:
        self.first, self.raising = 0, True
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup, or a shell that started this in the background, has it ignored on purpose.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._record)

    def _record(self, number: int, _frame: FrameType | None) -> None:
        self.first = self.first or number
        if self.raising:
            raise StopRequested

    @contextmanager
    def deferred(self) -> Generator[None]:
        """Keep signals from interrupting the block, which checks `first` instead."""
        self.raising = False
        try:
            yield
        finally:
            self.raising = True


@dataclass
class Server:
    """A server and the process that supervises it."""

    name: str
    supervisor: subprocess.Popen
    mark: str  # in the environment of the server and its children (supervisor.MARK)
    log: Path


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(
        "pipeline.ui",
        "Open a home in Dagster's UI and MLflow's. The home is ATELIER_HOME; when that is not set, var/, or var/demo\n"
        "if only the demo has run. A Materialize button uses the profile of the home's last run.",
        EPILOG,
    )
    parser.add_argument("--dagster-port", type=int, default=3000)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    return parser.parse_args(argv)


def chosen_home() -> Path:
    """Choose the home to open, and make its folder if it is missing."""
    if not os.environ.get("ATELIER_HOME"):
        demo = Path("var/demo").resolve()
        if not (Path("var") / instance.RECORD).is_file() and (demo / instance.RECORD).is_file():
            os.environ["ATELIER_HOME"] = str(demo)
    return environment.writable_home()


def check_port(port: int, option: str) -> None:
    """Check that a port can be bound.

    Raises:
        InputError: another process listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"port {port} is in use{_listener(port)}: stop that process, or give another port with {option}."
            ) from error


def _listener(port: int) -> str:
    """Name the process that listens on a port, empty if it belongs to another user."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return f" ({process.name()}, process {process.pid}, listens there)"
    return ""


@contextmanager
def ui_lock(folder: Path, options: argparse.Namespace, console: Console) -> Generator[int]:
    """Hold the lock of the home's UI; yield its file descriptor, which supervisors keep open until their servers end.

    Raises:
        InputError: the home has another UI.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as lock:
        deadline, announced = time.monotonic() + 2 * max(GRACE.values()), False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                lock.seek(0)
                holder = _lock_holder(lock.read())
                if not holder.get("gone") or time.monotonic() > deadline:
                    raise InputError(_refusal(folder.parent, holder)) from error
                if not announced:
                    announced = True
                    console.print("The last UI of this home was killed; waiting for its servers to end.")
                time.sleep(0.2)
        lock.truncate(0)
        process = psutil.Process()
        record = {
            "pid": process.pid, "started": process.create_time(), "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "dagster": f"http://{HOST}:{options.dagster_port}", "mlflow": f"http://{HOST}:{options.mlflow_port}",
        }  # fmt: skip
        lock.write(json.dumps(record))
        lock.flush()
        yield lock.fileno()


def _lock_holder(text: str) -> dict:
    """Parse the record in the lock file; set `gone` if its process is known to have ended."""
    try:
        holder = json.loads(text)
    except ValueError:  # it has the lock, but has not written its record yet
        return {}
    if holder["host"] == socket.gethostname():
        try:
            holder["gone"] = abs(psutil.Process(holder["pid"]).create_time() - holder["started"]) > 2
        except psutil.NoSuchProcess:
            holder["gone"] = True
    return holder


def _refusal(home: Path, holder: dict) -> str:
    if not holder:
        return f"another UI is starting on {home}: use that one."
    host = "" if holder["host"] == socket.gethostname() else f" on {holder['host']}"
    return (
        f"{home} has a UI already: process {holder['pid']}{host}, since {holder['since']}, Dagster "
        f"{holder['dagster']}, MLflow {holder['mlflow']}. Use that one, or end it first (kill {holder['pid']})."
    )


def _variables(home: Path, options: argparse.Namespace) -> dict[str, str]:
    """Make the environment of every server: the variables of the home's last run, overridden by this process's own."""
    last_run = instance.recall(home)
    remembered = {name: value for name, value in last_run.items() if name.startswith("ATELIER_") and value}
    addresses = {
        "ATELIER_DAGSTER_UI": f"http://{HOST}:{options.dagster_port}",
        "ATELIER_MLFLOW_UI": f"http://{HOST}:{options.mlflow_port}",
    }
    required = {
        "ATELIER_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "ATELIER_STARTED_IN": str(Path.cwd()),
        # The daemon and the webserver load the instance's launcher from here.
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        # Not as arguments: an address may hold a password, and every user can read a command line.
        "MLFLOW_BACKEND_STORE_URI": environment.tracking_uri(home),
        "MLFLOW_ARTIFACTS_DESTINATION": environment.artifact_root(home),
        # It would start eight processes to evaluate language models, which nothing here uses.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": os.environ.get("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false"),
    }
    return {**remembered, "ATELIER_PROFILE": last_run.get("profile", ""), **addresses, **os.environ, **required}


def _commands(servers: Path, code: str, options: argparse.Namespace) -> dict[str, tuple[list[str], Path]]:
    """Return each server's command line and working directory, by name."""
    python, here = [sys.executable, "-m"], Path.cwd()
    workspace = servers / "workspace.yaml"
    named = environment.ui_hosts()
    hosts = ["127.0.0.1", "localhost", "[::1]", *named]
    return {
        # The command that `dagster dev` runs, without --heartbeat: the supervisor ends the server.
        "code": ([
            *python, "dagster", "code-server", "start", "--module-name", "pipeline.definitions",
            "--working-directory", str(ROOT), "--location-name", "atelier", "--socket", code, "--log-level", "warning",
        ], servers),
        "mlflow": ([
            *python, "mlflow", "server", "--host", HOST, "--port", str(options.mlflow_port), "--workers", "1",
            "--uvicorn-opts", "--log-level warning",
            "--allowed-hosts", ",".join(name for host in hosts for name in _with_ports(host)),
            *(["--cors-allowed-origins", ",".join(
                f"{scheme}://{name}" for scheme in ("http", "https") for host in named for name in _with_ports(host)
            )] if named else []),
        ], here),
        "dagster": ([
            *python, "pipeline.cli.servers.webserver", "--host", HOST, "--port", str(options.dagster_port),
            "--workspace", str(workspace), "--code", code,
        ], here),
        "daemon": ([
            *python, "dagster._daemon", "run", "--workspace", str(workspace), "--log-level", "warning",
        ], servers),
    }  # fmt: skip


def _with_ports(host: str) -> list[str]:
    """Return MLflow's patterns for a host, which match the whole header: without a port and with any port."""
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
    """The four servers of a home, started in order and ended together."""

    def __init__(self, home: Path, lock: int, signals: StopSignals, options: argparse.Namespace, console: Console):
        self.home, self.lock, self.signals, self.options, self.console = home, lock, signals, options, console
        self.folder = home / "dagster" / SERVERS
        self.running: list[Server] = []

    def serve(self) -> int:
        """Start all servers, wait for a signal or the end of one, end all; return the exit code."""
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
        with self.signals.deferred():
            try:
                for name in ("code", "mlflow", "dagster"):
                    self._start(name, reading, scratch if name == "code" else "")
                return self._watch(reading)
            finally:
                os.close(self.holding)  # the supervisors read the end of the pipe, and end their servers
                for server in self.running:
                    if server.supervisor.wait() < 0:  # the supervisor itself was killed
                        supervisor.end(server.supervisor.pid, server.mark, 0.0)
                os.close(reading)
                shutil.rmtree(scratch, ignore_errors=True)

    def _start(self, name: str, reading: int, scratch: str = "") -> None:
        command, working_directory = self.commands[name]
        log = self.folder / f"{name}.log"
        mark = uuid.uuid4().hex
        supervised = [
            sys.executable,
            "-m",
            "pipeline.cli.servers.supervisor",
            str(reading),
            str(GRACE[name]),
            scratch,
            mark,
            *command,
        ]
        with log.open("w") as output:
            process = subprocess.Popen(
                supervised, cwd=working_directory, env=self.variables, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True, pass_fds=(reading, self.lock),
            )  # fmt: skip
        self.running.append(Server(name, process, mark, log))

    def _watch(self, reading: int) -> int:
        deadline = time.monotonic() + STARTUP_TIMEOUT
        waiting = {
            "dagster": ("Dagster", self.options.dagster_port, "/server_info"),
            "mlflow": ("MLflow ", self.options.mlflow_port, "/health"),
        }
        while not self.signals.first:
            for server in self.running:
                if server.supervisor.poll() is not None:
                    return self._report_failure(
                        server, f"ended by itself, with exit code {server.supervisor.returncode}"
                    )
            for name, (title, port, path) in list(waiting.items()):
                if _answers(port, path):
                    del waiting[name]
                    self._say(f"{title}  http://{HOST}:{port}")
                    if name == "dagster":  # it answers once the code is loaded, which the daemon needs
                        self._start("daemon", reading)
                    if not waiting:
                        self._say("Ctrl-C ends both.")
                elif time.monotonic() > deadline:
                    late = next(server for server in self.running if server.name == name)
                    return self._report_failure(late, f"does not answer after {STARTUP_TIMEOUT:.0f} s")
            time.sleep(0.2)
        self._say("ending both; unfinished runs can be continued from the Dagster UI")
        return 128 + self.signals.first

    def _report_failure(self, server: Server, what: str) -> int:
        lines = server.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        tail = "".join(f"\n  {printable_lines(line)}" for line in lines)
        self._say(f"failed: {server.name} {what}. The end of {server.log}:{tail}")
        return FAILED

    def _say(self, what: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            self.console.print(what, highlight=False, markup=False, soft_wrap=True)


def serve(options: argparse.Namespace, console: Console) -> int:
    """Prepare the home and run its servers until they end; return the exit code."""
    signals = StopSignals()
    try:
        environment.ui_hosts()
        home = chosen_home()
        with ui_lock(home / "dagster", options, console) as lock, ExitStack() as stack:
            check_port(options.dagster_port, "--dagster-port")
            check_port(options.mlflow_port, "--mlflow-port")
            instance.prepare(home)
            (home / "mlflow").mkdir(exist_ok=True)
            _recover(home)
            stack.enter_context(background_sync.synchronised(home, print))
            if instance.recall(home).get("profile") == "demo":
                stack.enter_context(sample_source.embedded(home / "catalogue", print))
            console.print(f"home     {home}", highlight=False, markup=False, soft_wrap=True)
            code = Servers(home, lock, signals, options, console).serve()
            with signals.deferred():
                _recover(home)  # for a run that could not record its end in time
            return code
    except StopRequested:
        return 128 + signals.first


def _recover(home: Path) -> None:
    """Close the runs that a killed process left open, before the daemon counts them."""
    from pipeline.runtime.tracking import Tracker
    from pipeline.upkeep.recovery import recover

    tracker = Tracker(tracking_uri=environment.tracking_uri(home), artifact_root=environment.artifact_root(home))
    tracker.make_database()  # now, lest MLflow's server and a first run make it at the same time
    with instance.open_instance(home) as opened:
        if closed := str(recover(opened, home, tracker)):
            with contextlib.suppress(OSError):  # the terminal may be gone
                print(f"recovered: {closed}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options, console = arguments(argv), Console()
    return ended(lambda: serve(options, console), console)
