"""`python -m pipeline.webserver`: Dagster's own webserver behind `same_origin.py`; a server of `ui.py`'s.

Hosts what `dagster-webserver` hosts (dagster_webserver/cli.py), which has no place for a middleware, and lets a `.env`
of its working directory win over the environment. Stands on three names that Dagster does not promise to keep; they
are imported in `serve` alone.
"""

import argparse
import socket
import sys
import time
from pathlib import Path

from pipeline import environment

CODE_WITHIN = 300.0  # seconds in which the code server must answer
CLOSING = 3  # seconds that open connections have when the server is asked to end


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.webserver", description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workspace", type=Path, required=True, help="a workspace.yaml that names the code server")
    parser.add_argument("--code", required=True, help="the code server's socket; it is waited for")
    return parser.parse_args(argv)


def serve(options: argparse.Namespace) -> None:
    """Host the UI until a signal ends it."""
    import dagster as dg
    import uvicorn
    from dagster._core.workspace.load import load_workspace_process_context_from_yaml_paths
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.cli import DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_MAX_OVERFLOW, DEFAULT_POOL_RECYCLE
    from dagster_webserver.version import __version__

    from pipeline.same_origin import guarded

    hosts = environment.ui_hosts()
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW)
        wait_for(options.code)
        with load_workspace_process_context_from_yaml_paths(instance, [str(options.workspace)], __version__) as context:
            app = guarded(create_app_from_workspace_process_context(context, live_data_poll_rate=2000), hosts)
            # h11 keeps the request's target as it was sent, and refuses a request without Host or with two.
            uvicorn.run(
                app, host=options.host, port=options.port, http="h11", log_level="warning",
                timeout_graceful_shutdown=CLOSING,
            )  # fmt: skip


def wait_for(path: str) -> None:
    """Return when somebody listens on a Unix socket.

    Raises:
        TimeoutError: nobody does.
    """
    by = time.monotonic() + CODE_WITHIN
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
                return
            except OSError as error:
                if time.monotonic() > by:
                    raise TimeoutError(f"the code server does not answer on {path}") from error
        time.sleep(0.1)


if __name__ == "__main__":
    serve(arguments())
    sys.exit(0)
