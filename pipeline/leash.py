"""`python -m pipeline.leash PIPE GRACE FOLDER MARK COMMAND...`: runs a server, and ends with it all that it started.

The server ends when whoever holds the pipe's other end does, `kill -9` included. The leash leads a session of its own,
so that what a terminal sends does not reach the server. What becomes of the home is `ui.py`'s. Nothing of Dagster or
MLflow is imported here: there is one such process for each server.
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

MARK = "ATELIER_LEASH"  # in the environment of what a server starts, by which a process that left its group is found
ABANDON = 10.0  # seconds that a process may outlive SIGKILL, held by its kernel, before the leash gives up on it
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: list[str]) -> int:
    """Run the command until it ends or must; returns its exit code, 128 and the signal's number where one ended it."""
    pipe, grace, folder, mark, command = int(argv[0]), float(argv[1]), argv[2], argv[3], argv[4:]
    asked: list[int] = []
    wake, bell = os.pipe()
    os.set_blocking(bell, False)
    signal.set_wakeup_fd(bell)
    for number in _ENDING:  # handlers, not SIG_IGN: what ignores a signal hands that on to what it starts
        signal.signal(number, lambda got, _frame: asked.append(got))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    server = subprocess.Popen(command, env={**os.environ, MARK: mark}, stdin=subprocess.DEVNULL)
    while server.poll() is None and not asked:
        readable, _, _ = select.select([pipe, wake], [], [])
        if pipe in readable:  # nobody writes: its end is all that can be read
            break
        os.read(wake, 512)
    end(os.getpgrp(), mark, grace, server.poll)
    server.wait()
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def end(group: int, mark: str, grace: float, reap: Callable[[], object] = lambda: None) -> None:
    """Ask every process of a group, or with this mark, to end; kill those that have not within `grace` seconds."""
    kill_at, asked = time.monotonic() + grace, set()
    while left := list(_started(group, mark)):
        if time.monotonic() > kill_at + ABANDON:
            break
        for process in left:
            try:
                if time.monotonic() > kill_at:
                    process.kill()
                elif process not in asked:
                    asked.add(process)
                    process.terminate()
            except psutil.NoSuchProcess:
                continue
        reap()
        time.sleep(0.05)


def _started(group: int, mark: str) -> Iterator[psutil.Process]:
    """What runs in the group, and what left it but carries the mark."""
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if os.getpgid(process.pid) == group or process.environ().get(MARK) == mark:
                yield process
        except (psutil.Error, OSError):  # it has ended, or is somebody else's
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
