"""`python -m pipeline.cli.servers.supervisor PIPE GRACE FOLDER MARK COMMAND...`: run a server, and end all it started.

The server ends when the process at the other end of the pipe ends, even by `kill -9`. The supervisor leads its own
session, so that signals from a terminal do not reach the server. Never import Dagster or MLflow here: one supervisor
runs for each server.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil

MARK = "ATELIER_LEASH"  # environment variable of the server and its children, to find those that left the process group
ABANDON = 10.0  # seconds after SIGKILL before the supervisor gives up on a process that is stuck in the kernel
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: list[str]) -> int:
    """Run the command until it ends or must end; return its exit code, or 128 plus the signal that ended it."""
    pipe, grace, folder, mark, command = int(argv[0]), float(argv[1]), argv[2], argv[3], argv[4:]
    received: list[int] = []
    wakeup_read, wakeup_write = os.pipe()
    os.set_blocking(wakeup_write, False)
    signal.set_wakeup_fd(wakeup_write)
    for number in _STOP_SIGNALS:  # handlers, not SIG_IGN, which the server would inherit
        signal.signal(number, lambda got, _frame: received.append(got))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    server = subprocess.Popen(command, env={**os.environ, MARK: mark}, stdin=subprocess.DEVNULL)
    while server.poll() is None and not received:
        readable, _, _ = select.select([pipe, wakeup_read], [], [])
        if pipe in readable:  # nothing is ever written to it: it is readable only once its other end is closed
            break
        os.read(wakeup_read, 512)
    end(os.getpgrp(), mark, grace, server.poll)
    server.wait()
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def end(group: int, mark: str, grace: float, reap: Callable[[], object] = lambda: None) -> None:
    """Terminate every process of the group or with the mark; kill those that still run after `grace` seconds."""
    kill_at, terminated = time.monotonic() + grace, set()
    while running := list(_started(group, mark)):
        if time.monotonic() > kill_at + ABANDON:
            break
        for process in running:
            try:
                if time.monotonic() > kill_at:
                    process.kill()
                elif process not in terminated:
                    terminated.add(process)
                    process.terminate()
            except psutil.NoSuchProcess:
                continue
        reap()
        time.sleep(0.05)


def _started(group: int, mark: str) -> Iterator[psutil.Process]:
    """Yield the running processes in the group, and those that left it but have the mark."""
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if os.getpgid(process.pid) == group or process.environ().get(MARK) == mark:
                yield process
        except (psutil.Error, OSError):  # it has ended, or belongs to another user
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
