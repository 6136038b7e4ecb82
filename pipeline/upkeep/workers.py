"""Which process executes a Dagster run, and whether it still lives.

Process ids are used again, so a process is known by its host, its id and when it started. Nothing here changes a run;
that is `recovery.py`'s, and for runs that the daemon started `launcher.py`'s.
"""

import re
import socket
from enum import Enum

import dagster as dg
import psutil

PROCESS_TAG = "atelier/process"  # host, process id and start of the process that a command executes its runs in
HOST_TAG = "atelier/host"  # where a launched run's worker is
# What Dagster's worker says of itself (dagster/_grpc/impl.py, dagster/_cli/api.py).
_WORKER = re.compile(r"Started process for run \(pid: (\d+)\)")
_CLOCKS = 2.0  # seconds by which a process's start and the first word of it may disagree


class Life(Enum):
    """What is known of the process behind a run."""

    LIVES = "lives"
    GONE = "gone"
    UNKNOWN = "unknown"  # of another host, or not started yet


def this_process() -> dict[str, str]:
    """The tag of a run that this process executes itself."""
    me = psutil.Process()
    return {PROCESS_TAG: f"{socket.gethostname()} {me.pid} {me.create_time():.2f}"}


def this_host() -> dict[str, str]:
    """The tag of a run whose worker is started on this host."""
    return {HOST_TAG: socket.gethostname()}


def life(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Life:
    """Whether the process behind an unfinished run lives."""
    if PROCESS_TAG in run.tags:
        host, pid, started = run.tags[PROCESS_TAG].rsplit(" ", 2)
        return _life(host, int(pid), float(started))
    host = run.tags.get(HOST_TAG)
    if host is None:
        return Life.UNKNOWN
    for event in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        found = _WORKER.search(event.user_message or "") or _WORKER.search(event.message or "")
        if found:
            return _life(host, int(found[1]), event.timestamp)
    return Life.UNKNOWN


def _life(host: str, pid: int, by: float) -> Life:
    """Whether the process that had this id, and was there at this moment, lives."""
    if host != socket.gethostname():
        return Life.UNKNOWN
    try:
        process = psutil.Process(pid)
        same = process.create_time() <= by + _CLOCKS
        return Life.LIVES if same and process.status() != psutil.STATUS_ZOMBIE else Life.GONE
    except psutil.NoSuchProcess:
        return Life.GONE
