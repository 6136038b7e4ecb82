"""Reads arrays that others wrote, whole or not at all: a file that is missing, cut off or of another kind is named.

numpy, zip and zlib have words of their own for such files, which tell a person neither which file nor what to do.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np


class UnusableFileError(ValueError):
    """A file cannot be used; the message names it and the mend."""


def read_array(path: Path, what: str, *, memory_map: bool = False) -> np.ndarray:
    """The array in a .npy file; `what` it holds, in a word. Raises UnusableFileError, MemoryError, PermissionError."""
    found = _load(path, what, memory_map)
    if not isinstance(found, np.ndarray):
        found.close()
        raise UnusableFileError(f"{path}: an archive of arrays; {what} are expected as one array (numpy.save)")
    return found


def read_arrays(path: Path, what: str, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """All arrays of a .npz file, `wanted` among them. Raises as `read_array`."""
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
    except Exception as error:  # zlib's, zipfile's, numpy's: whatever a damaged member brings
        raise _damaged(path, what) from error


def _load(path: Path, what: str, memory_map: bool) -> "np.ndarray | np.lib.npyio.NpzFile":
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not there"
        raise UnusableFileError(f"{path}: {kind}; the file of {what} is expected")
    try:
        return np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # a header that is none raises nearly anything
        raise _damaged(path, what) from error


def _damaged(path: Path, what: str) -> UnusableFileError:
    size = path.stat().st_size
    return UnusableFileError(
        f"{path}: {size:,} bytes that are no {what}, or cut off, or damaged; write it again, or restore it"
    )
