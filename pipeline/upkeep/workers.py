"""Find the process that executes a Dagster run, and whether it is alive.

Process ids are reused, so a process is identified by its host, its id and its start time. Nothing here changes a run.
"""

import re
import socket
from enum import Enum

import dagster as dg
import psutil

PROCESS_TAG = "atelier/process"  # host, process id and start time of the process that executes a command's runs
HOST_TAG = "atelier/host"  # host of a launched run's worker
# The engine event of Dagster's run worker (dagster/_grpc/impl.py, dagster/_cli/api.py).
_WORKER = re.compile(r"Started process for run \(pid: (\d+)\)")
_CLOCK_TOLERANCE = 2.0  # seconds between a process's start time and its first event


class Liveness(Enum):
    """What is known of the process that executes a run."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"  # it runs on another host, or has not started yet


def this_process() -> dict[str, str]:
    """Return the tag of a run that this process executes itself."""
    me = psutil.Process()
    return {PROCESS_TAG: f"{socket.gethostname()} {me.pid} {me.create_time():.2f}"}


def this_host() -> dict[str, str]:
    """Return the tag of a run whose worker is started on this host."""
    return {HOST_TAG: socket.gethostname()}


def liveness(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Liveness:
    """Find out whether the process of an unfinished run is alive."""
    if PROCESS_TAG in run.tags:
        host, pid, started = run.tags[PROCESS_TAG].rsplit(" ", 2)
        return _process_liveness(host, int(pid), float(started))
    host = run.tags.get(HOST_TAG)
    if host is None:
        return Liveness.UNKNOWN
    for event in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        found = _WORKER.search(event.user_message or "") or _WORKER.search(event.message or "")
        if found:
            return _process_liveness(host, int(found[1]), event.timestamp)
    return Liveness.UNKNOWN


def _process_liveness(host: str, pid: int, seen_at: float) -> Liveness:
    """Find out whether the process that had this id at `seen_at` (unix seconds) is alive."""
    if host != socket.gethostname():
        return Liveness.UNKNOWN
    try:
        process = psutil.Process(pid)
        same = process.create_time() <= seen_at + _CLOCK_TOLERANCE
        return Liveness.ALIVE if same and process.status() != psutil.STATUS_ZOMBIE else Liveness.GONE
    except psutil.NoSuchProcess:
        return Liveness.GONE
