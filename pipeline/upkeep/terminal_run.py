"""Whether a run from the terminal is at work in a home: until it ends, the automation asks for nothing there.

Such a run is several Dagster runs with moments between them, in which what it is about to make looks as if nobody did.
"""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

LOCK = "terminal.lock"


@contextmanager
def at_work(home: Path) -> Generator[None]:
    """Say so until the block ends. The lock dies with its process, `kill -9` too; several may hold it."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def is_at_work(home: Path) -> bool:
    """Whether any process says so."""
    path = home / LOCK
    if not path.is_file():
        return False
    with path.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
