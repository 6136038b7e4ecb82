"""Whether a command is at work in a home: one at a time, and until it ends the automation asks for nothing there.

A run from the terminal is several Dagster runs with moments between them, in which what it is about to make looks as if
nobody did. A second command waits for the first, or is refused; it says which process that is.
"""

import fcntl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.durable import lock_holder, sign_lock
from pipeline.core.errors import InputError

LOCK = "terminal.lock"


@contextmanager
def at_work(home: Path, say: Callable[[str], object] | None = None) -> Generator[None]:
    """Be the one command at work in a home until the block ends. The lock dies with its process, `kill -9` too.

    Where another one is, tell it to `say` and wait for its end.

    Raises:
        InputError: another one is at work, and there is no `say`.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            told = f"{lock_holder(home / LOCK)} is at work in {home}"
            if say is None:
                raise InputError(f"{told}: let it end, or stop it, and call this again.") from error
            say(f"{told}: waiting for its end (Ctrl-C gives up)")
            fcntl.flock(lock, fcntl.LOCK_EX)
        sign_lock(lock)
        yield


def is_at_work(home: Path) -> bool:
    """Whether any process says so."""
    path = home / LOCK
    if not path.is_file():
        return False
    with path.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
