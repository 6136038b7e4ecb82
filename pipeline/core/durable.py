"""Files that appear whole or not at all, and one writer to a folder at a time.

The picture store and the bank stand on these; what the files hold is theirs to know.
"""

import contextlib
import fcntl
import json
import os
import secrets
import socket
import sys
from collections.abc import Callable, Generator
from datetime import datetime
from pathlib import Path
from typing import IO

TEMPORARY_SUFFIX = ".tmp"  # a name a reader never looks at; a killed writer may leave one behind


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then rename it: after a power cut `path` is the old or the new."""
    with whole(path) as temporary:
        write(temporary)


def own(path: Path) -> Path:
    """Make an empty file at `path` that its owner alone may read; whoever fills it keeps it so."""
    path.touch(0o600)
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def whole(path: Path) -> Generator[Path]:
    """A temporary name to write to, which becomes `path` at the end of the block, and goes if the block fails.

    Every writer has a name of its own, held by a lock while the block lasts: see `is_abandoned`.
    """
    temporary = own_name(path)
    with temporary.open("xb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    _sync(path.parent)  # a rename itself is only durable with its folder


def own_name(path: Path) -> Path:
    """A temporary name beside `path` that no other writer has."""
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")


def is_abandoned(temporary: Path) -> bool:
    """Whether no living writer holds a temporary file of `whole`; one that is gone counts as held."""
    try:
        with temporary.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return False
    return True


def move(path: Path, to: Path) -> None:
    """Rename a file that is whole and on the disk, on the same file system; afterwards it is there for good."""
    path.replace(to)
    _sync(to.parent)


def settle(folder: Path) -> None:
    """Have the files of `folder` on the disk, so that it can be moved into place as a whole."""
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextlib.contextmanager
def sole_writer(folder: Path) -> Generator[Path]:
    """Hold `folder` for writing and clear what a killed writer left. The lock dies with its process, `kill -9` too.

    Raises BlockingIOError if another store or process is writing there; it names that process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"{folder}: {holder(folder / 'lock')} is writing here; wait until it ends, or set another folder"
            ) from error
        sign(lock)
        for leftover in folder.glob(f"*{TEMPORARY_SUFFIX}"):
            if leftover.is_file() and is_abandoned(leftover):
                leftover.unlink(missing_ok=True)
        yield folder


@contextlib.contextmanager
def held(path: Path) -> Generator[None]:
    """Hold the lock file at `path` while the block lasts; wait for whoever holds it. It dies with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sign(lock: IO[str]) -> None:
    """Write into a lock file, which this process holds, who holds it."""
    since = datetime.now().astimezone().strftime("%F %T %Z")
    told = {"pid": os.getpid(), "host": socket.gethostname(), "command": _command(), "since": since}
    lock.truncate(0)
    lock.write(json.dumps(told))
    lock.flush()


def holder(path: Path) -> str:
    """Who signed the lock file at `path`: process, command and since when, in words."""
    try:
        told = json.loads(path.read_text())
        return f"process {told['pid']} on {told['host']} ({told['command']}, since {told['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _command() -> str:
    """What this process was started as; without its arguments, of which one may be a secret."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
