"""`python -m pipeline.ui`: Dagster's UI with its daemon, and MLflow's UI, over one home, until Ctrl-C.

Only starts and stops servers. They bind to loopback: neither has a login.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from pipeline import environment, instance, sample_source
from pipeline.core.raw.sources import BadInput
from pipeline.depot import courier

ROOT = Path(__file__).parent.parent
HOST = "127.0.0.1"
GRACE = 10  # seconds between asking a server to stop and killing it


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.ui",
        description="Open a home in Dagster's UI and MLflow's. The home is ATELIER_HOME; when that is not set, var/, "
        "or var/demo where only the demo has run. A Materialize button uses the profile the home was last run with.",
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
        BadInput: something listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BadInput(f"port {port} is in use: stop what listens there, or give another with {option}.") from error


def _commands(home: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    folder = Path(sys.executable).parent
    return {
        "dagster": [
            str(folder / "dagster"), "dev", "-w", str(ROOT / "workspace.yaml"),
            "-h", HOST, "-p", str(options.dagster_port),
        ],
        "mlflow": [
            str(folder / "mlflow"), "server",
            "--artifacts-destination", environment.artifact_root(home),
            "--host", HOST, "--port", str(options.mlflow_port), "--workers", "1",
        ],
    }  # fmt: skip


def serve(options: argparse.Namespace) -> int:
    """Start both, wait, stop both; returns the exit code."""
    home = chosen_home()
    free(options.dagster_port, "--dagster-port")
    free(options.mlflow_port, "--mlflow-port")
    folder = instance.prepare(home)
    known = instance.recall(home)
    variables = {k: v for k, v in known.items() if k.startswith("ATELIER_") and v}
    variables |= {
        "ATELIER_PROFILE": known.get("profile", ""),
        "ATELIER_DAGSTER_UI": f"http://{HOST}:{options.dagster_port}",
        "ATELIER_MLFLOW_UI": f"http://{HOST}:{options.mlflow_port}",
    }
    child_environment = {**variables, **os.environ, "ATELIER_HOME": str(home), "DAGSTER_HOME": str(folder)}
    # The daemon and the webserver load the instance's launcher from here.
    child_environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    # By the environment: everybody on the machine may read the words of a command.
    child_environment["MLFLOW_BACKEND_STORE_URI"] = environment.tracking_uri(home)
    _recover(home)
    (home / "mlflow").mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(courier.in_step(home, print))
        if known.get("profile") == "demo":
            stack.enter_context(sample_source.embedded(home / "catalogue", print))
        servers = {
            name: stack.enter_context(subprocess.Popen(command, env=child_environment, cwd=ROOT))
            for name, command in _commands(home, options).items()
        }
        print(
            f"home     {home}\nDagster  http://{HOST}:{options.dagster_port}\nMLflow   http://{HOST}:{options.mlflow_port}"
        )
        print("Ctrl-C stops both.", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            while all(server.poll() is None for server in servers.values()):
                time.sleep(0.5)
            stopped = next(name for name, server in servers.items() if server.poll() is not None)
            print(f"{stopped} stopped with exit code {servers[stopped].returncode}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):  # a second one must not leave the servers behind
                signal.signal(number, signal.SIG_IGN)
            for server in servers.values():
                server.send_signal(signal.SIGINT)
            for server in servers.values():
                try:
                    server.wait(GRACE)
                except subprocess.TimeoutExpired:
                    server.kill()


def _recover(home: Path) -> None:
    """Close what a killed process left open, before the daemon counts it."""
    from pipeline.tracking import Tracker
    from pipeline.upkeep.recovery import recover

    tracker = Tracker(tracking_uri=environment.tracking_uri(home), artifact_root=environment.artifact_root(home))
    with instance.open_instance(home) as opened:
        if told := str(recover(opened, home, tracker)):
            print(f"recovered: {told}")


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    try:
        return serve(arguments(argv))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
