"""Lock the home so that one command runs at a time, and pause automation meanwhile.

A command in the terminal is several Dagster runs. Between two of them, its next assets would look out of date to the
automation. A second command waits for the first, or is refused with a message that names its process.
"""

import fcntl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.durable import lock_holder, sign_lock
from pipeline.core.errors import InputError

LOCK = "terminal.lock"


@contextmanager
def hold(home: Path, say: Callable[[str], object] | None = None) -> Generator[None]:
    """Hold the lock of a home until the block ends. The system releases it when the process dies, even by `kill -9`.

    If another command holds it, wait for it and tell `say` so.

    Raises:
        InputError: another command holds it, and there is no `say`.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"{lock_holder(home / LOCK)} is running in {home}"
            if say is None:
                raise InputError(f"{message}: wait until it ends, or stop it, then run this again.") from error
            say(f"{message}: waiting until it ends (Ctrl-C gives up)")
            fcntl.flock(lock, fcntl.LOCK_EX)
        sign_lock(lock)
        yield


def is_held(home: Path) -> bool:
    """Return whether a command is running in a home."""
    path = home / LOCK
    if not path.is_file():
        return False
    with path.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
