"""`python -m pipeline.cli.servers.webserver`: serve Dagster's UI behind the request guard of `same_origin.py`.

It replaces the command `dagster-webserver` (dagster_webserver/cli.py), which accepts no middleware and lets a `.env` in
its working directory override the environment. `serve` imports the names that Dagster does not promise to keep.
"""

import argparse
import socket
import sys
import time
from pathlib import Path

from pipeline.home import environment

CODE_SERVER_TIMEOUT = 300.0  # seconds
SHUTDOWN_TIMEOUT = 3  # seconds for open connections to close


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.cli.servers.webserver", description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workspace", type=Path, required=True, help="a workspace.yaml that names the code server")
    parser.add_argument("--code", required=True, help="the code server's socket; the command waits for it")
    return parser.parse_args(argv)


def serve(options: argparse.Namespace) -> None:
    """Serve the UI until a signal ends it."""
    import dagster as dg
    import uvicorn
    from dagster._core.workspace.load import load_workspace_process_context_from_yaml_paths
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.cli import DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_MAX_OVERFLOW, DEFAULT_POOL_RECYCLE
    from dagster_webserver.version import __version__

    from pipeline.cli.servers.same_origin import guarded

    hosts = environment.ui_hosts()
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW)
        wait_for(options.code)
        with load_workspace_process_context_from_yaml_paths(instance, [str(options.workspace)], __version__) as context:
            app = guarded(create_app_from_workspace_process_context(context, live_data_poll_rate=2000), hosts)
            # h11 does not rewrite the request's target, and refuses a request without a Host header or with two.
            uvicorn.run(
                app, host=options.host, port=options.port, http="h11", log_level="warning",
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
            )  # fmt: skip


def wait_for(path: str) -> None:
    """Wait until a process listens on a Unix socket.

    Raises:
        TimeoutError: none does within CODE_SERVER_TIMEOUT.
    """
    deadline = time.monotonic() + CODE_SERVER_TIMEOUT
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the code server does not answer on {path}") from error
        time.sleep(0.1)


if __name__ == "__main__":
    serve(arguments())
    sys.exit(0)
