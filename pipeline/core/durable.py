"""Files that appear whole or not at all, and one writer to a folder at a time.

The picture store and the bank stand on these; what the files hold is theirs to know.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Generator
from pathlib import Path

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
    """A temporary name to write to, which becomes `path` at the end of the block, and goes if the block fails."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)  # a rename itself is only durable with its folder


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

    Raises BlockingIOError if another store or process is writing there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"{folder}: another process is writing here; wait until it ends, or set another folder"
            ) from error
        for leftover in folder.glob(f"*{TEMPORARY_SUFFIX}"):
            leftover.unlink()
        yield folder
