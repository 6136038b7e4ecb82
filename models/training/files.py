"""Write files atomically, and read arrays with errors that name the file and say what to do.

The errors of numpy, zip and zlib for a damaged file do not name it.
"""

import os
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO

import numpy as np


class UnusableFileError(ValueError):
    """A file cannot be used; the message names it and says what to do."""


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically: a reader sees the old file or the new one, never a part. Makes the folder if needed.

    The file is flushed to disk before it gets its name, so that a crash of the machine cannot leave an empty file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def read_array(path: Path, what: str, *, memory_map: bool = False) -> np.ndarray:
    """Read the array in a .npy file; `what` describes its content in errors, e.g. "pictures".

    Raises UnusableFileError, MemoryError or PermissionError.
    """
    found = _load(path, what, memory_map)
    if not isinstance(found, np.ndarray):
        found.close()
        raise UnusableFileError(f"{path}: an archive of arrays; {what} are expected as one array (numpy.save)")
    return found


def read_arrays(path: Path, what: str, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """Read all arrays of a .npz file, which must include `wanted`. Raises like `read_array`."""
    found = _load(path, what, memory_map=False)
    if isinstance(found, np.ndarray):
        raise UnusableFileError(f"{path}: one array; {what} are expected as an archive of arrays (numpy.savez)")
    try:
        with found as file:
            missing = sorted(set(wanted) - set(file.files))
            if missing:
                raise UnusableFileError(f"{path}: {', '.join(missing)} missing; not {what} of ours, write them again")
            return {name: file[name] for name in file.files}
    except (MemoryError, UnusableFileError):
        raise
    except Exception as error:  # a damaged member raises errors of zlib, zipfile or numpy
        raise _damaged(path, what) from error


def _load(path: Path, what: str, memory_map: bool) -> "np.ndarray | np.lib.npyio.NpzFile":
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not there"
        raise UnusableFileError(f"{path}: {kind}; the file of {what} is expected")
    try:
        return np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # a wrong header raises nearly any error
        raise _damaged(path, what) from error


def _damaged(path: Path, what: str) -> UnusableFileError:
    size = path.stat().st_size
    return UnusableFileError(
        f"{path}: {size:,} bytes that are no {what}, or cut off, or damaged; write it again, or restore it"
    )


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a crash. If a folder cannot be opened (Windows), the rename is still atomic."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems refuse to sync a folder; the file itself is on disk already
    finally:
        os.close(handle)
