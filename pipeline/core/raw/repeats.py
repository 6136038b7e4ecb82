"""Find rows with equal keys in many files.

A key is a 64-bit hash of a review's line or a product's asin. Keys are stored on disk, sorted within each block, and
compared one range of keys at a time. A range is a slice of every block, so memory does not grow with the rows.
"""

import contextlib
import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PREFIX_BITS = 10  # ranges are bounded by the first bits of a key
AT_ONCE = 1_000_000  # rows compared at once, 40 bytes each
_PREFIXES = 1 << PREFIX_BITS
_KEYS, _ROWS, _MARKS = "keys.u64", "rows.u32", "marks.u32"


@dataclass(frozen=True)
class Repeated:
    """All rows whose key is repeated, sorted by key, file and row."""

    key: np.ndarray  # [n] uint64
    file: np.ndarray  # [n] int32, position of the file's folder in the list of folders
    row: np.ndarray  # [n] uint32, in the file


@contextlib.contextmanager
def recorded(folder: Path) -> Generator[Callable[[np.ndarray], None]]:
    """Yield a function that records the keys of a file's next rows, uint64 [n], in `folder`."""
    rows = 0
    with contextlib.ExitStack() as files:
        keys, places, marks = (files.enter_context((folder / name).open("wb")) for name in (_KEYS, _ROWS, _MARKS))

        def add(hashes: np.ndarray) -> None:
            nonlocal rows
            order = np.argsort(hashes)  # not stable: `repeated` sorts equal keys by row
            ordered = hashes[order]
            keys.write(ordered.tobytes())
            places.write((order + rows).astype(np.uint32).tobytes())
            first_bits = ordered >> np.uint64(64 - PREFIX_BITS)
            marks.write((np.searchsorted(first_bits, np.arange(_PREFIXES + 1)) + rows).astype(np.uint32).tobytes())
            rows += len(hashes)

        yield add


def ranges(rows: int, at_once: int = AT_ONCE) -> list[tuple[int, int]]:
    """Divide the key space into ranges of about `at_once` of `rows` keys, as far as their first bits allow."""
    pieces = min(max(1, -(-rows // at_once)), _PREFIXES)
    ends = [_PREFIXES * piece // pieces for piece in range(pieces + 1)]
    return list(itertools.pairwise(ends))


def repeated(key_range: tuple[int, int], folders: Sequence[Path]) -> Repeated:
    """Find the rows of the files recorded in `folders` whose keys are in this range and repeated."""
    slices = [_of_range(folder, *key_range) for folder in folders]
    keys = np.concatenate([keys for keys, _ in slices]) if slices else np.empty(0, np.uint64)
    ordered = np.sort(keys)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    at = np.flatnonzero(_among(keys, twice))
    rows = np.concatenate([rows for _, rows in slices]) if slices else np.empty(0, np.uint32)
    ends = np.cumsum([len(keys) for keys, _ in slices])
    file = np.searchsorted(ends, at, side="right").astype(np.int32)
    keys, rows = keys[at], rows[at]
    order = np.lexsort((rows, file, keys))
    return Repeated(keys[order], file[order], rows[order])


def _among(keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mark which of `keys` are among the sorted `values`: bool [n]."""
    if not len(values):
        return np.zeros(len(keys), bool)
    at = np.searchsorted(values, keys)
    at[at == len(values)] = 0
    return values[at] == keys


def starts(folder: Path) -> np.ndarray:
    """Return the first row of every recorded block, followed by the number of rows: int64 [blocks + 1]."""
    marks = _marks(folder)
    return np.append(marks[:, 0], marks[-1:, -1]).astype(np.int64)


def _of_range(folder: Path, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Read (keys, rows) of a file in a range of first bits, a slice of every block."""
    marks = _marks(folder)
    slices = list(zip(marks[:, low].tolist(), marks[:, high].tolist(), strict=True))
    return _read(folder / _KEYS, np.uint64, slices), _read(folder / _ROWS, np.uint32, slices)


def _read(path: Path, kind: type, slices: Sequence[tuple[int, int]]) -> np.ndarray:
    """Read and concatenate the slices (start, end) of an array on disk."""
    size = np.dtype(kind).itemsize
    with path.open("rb") as file:

        def piece(start: int, end: int) -> bytes:
            file.seek(start * size)
            return file.read((end - start) * size)

        return np.frombuffer(b"".join(piece(start, end) for start, end in slices), kind)


def _marks(folder: Path) -> np.ndarray:
    """Read where each prefix begins in every block: uint32 [blocks, prefixes + 1]."""
    return np.fromfile(folder / _MARKS, np.uint32).reshape(-1, _PREFIXES + 1)
