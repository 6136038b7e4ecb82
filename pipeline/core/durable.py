"""Write files atomically, and lock folders so that only one process writes to each at a time."""

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

TEMPORARY_SUFFIX = ".tmp"  # readers ignore such names; a killed writer may leave one behind


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then rename it, so that after a power cut `path` is either old or new."""
    with whole(path) as temporary:
        write(temporary)


def make_private(path: Path) -> Path:
    """Create an empty file at `path` that only its owner may read, or restrict an existing one; return `path`."""
    path.touch(0o600)
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def whole(path: Path) -> Generator[Path]:
    """Yield a temporary file to write; rename it to `path` after the block, or delete it if the block fails.

    Every writer has its own temporary file and holds a lock on it during the block (see `is_abandoned`).
    """
    temporary = temporary_name(path)
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
    _sync(path.parent)  # a rename is durable only once its folder is synced


def temporary_name(path: Path) -> Path:
    """Return a unique temporary name beside `path`."""
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")


def is_abandoned(temporary: Path) -> bool:
    """Return whether a temporary file of `whole` has no living writer; False if the file is gone."""
    try:
        with temporary.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return False
    return True


def move(path: Path, to: Path) -> None:
    """Rename a complete, synced file durably, within one file system."""
    path.replace(to)
    _sync(to.parent)


def sync_files(folder: Path) -> None:
    """Sync the files of `folder` to disk, so that the folder can be renamed into place."""
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
    """Lock `folder` for writing, and delete what killed writers left. The lock ends with its process, even if killed.

    Raises:
        BlockingIOError: another process is writing there; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"{folder}: {lock_holder(folder / 'lock')} is writing here; wait until it ends, or set another folder"
            ) from error
        sign_lock(lock)
        for leftover in folder.glob(f"*{TEMPORARY_SUFFIX}"):
            if leftover.is_file() and is_abandoned(leftover):
                leftover.unlink(missing_ok=True)
        yield folder


@contextlib.contextmanager
def held(path: Path) -> Generator[None]:
    """Hold the lock file at `path` during the block, after waiting for its holder. The lock ends with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sign_lock(lock: IO[str]) -> None:
    """Record this process as the holder of a lock file; it must hold the lock."""
    since = datetime.now().astimezone().strftime("%F %T %Z")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": _command(), "since": since}
    lock.truncate(0)
    lock.write(json.dumps(holder))
    lock.flush()


def lock_holder(path: Path) -> str:
    """Describe the holder recorded in the lock file at `path`: process, host, command and start."""
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} on {holder['host']} ({holder['command']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _command() -> str:
    """Return the command that started this process, without its arguments, which may hold secrets."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
