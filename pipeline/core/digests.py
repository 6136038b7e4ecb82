"""Detect damaged files by SHA-256 of whole files and by CRC-32 of an array's rows.

A model's manifest has the SHA-256 of its files. Memory-mapped arrays (bank, features, garments) are too large to read
at each opening, so a file beside them has the CRC-32 of each row, and opening them checks a sample of rows. Parquet has
its own checksums (`parquet.py`). `pipeline/upkeep/scrub.py` checks a whole home.
"""

import functools
import hashlib
import json
import mmap
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from pipeline.core.durable import write_whole
from pipeline.core.errors import DamagedFileError

LIST = "digests.json"  # file -> SHA-256, for a folder without a manifest
SAMPLES = 64  # rows checked when an array is opened


def file_digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Hash these files of a folder: name -> SHA-256."""
    return {name: sha256(folder / name) for name in sorted(names)}


def sha256(path: Path) -> str:
    """Hash a file to hex SHA-256, at more than a gigabyte per second."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mismatched(folder: Path, recorded: Mapping[str, str]) -> list[str]:
    """List the files that are missing or differ from `recorded`; a process hashes an unchanged file only once."""
    return [name for name, digest in recorded.items() if not _is(folder / name, digest)]


def write_list(folder: Path) -> None:
    """Write the digests of a folder's files into it, except for MLmodel, which MLflow may rewrite."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    found = file_digests(folder, [name for name in names if name not in (LIST, "MLmodel")])
    write_whole(folder / LIST, lambda temporary: temporary.write_text(json.dumps(found, indent=1) + "\n"))


def expect_list(folder: Path, remedy: str) -> None:
    """Check a folder against its list of digests, if it has one.

    Raises:
        DamagedFileError: files are damaged or missing; the message names them, followed by `remedy`.
    """
    path = folder / LIST
    bad = mismatched(folder, json.loads(path.read_text())) if path.is_file() else []
    if bad:
        raise DamagedFileError(f"{folder}: {', '.join(bad)}: damaged or missing: {remedy}")


def _is(path: Path, digest: str) -> bool:
    if not path.is_file():
        return False
    found = path.stat()
    return _known(path, found.st_size, found.st_mtime_ns) == digest


@functools.lru_cache(maxsize=1024)
def _known(path: Path, _size: int, _changed: int) -> str:
    return sha256(path)


def sums_path(array: Path) -> Path:
    """Return the path of the file with the sums of an array's rows."""
    return array.with_name(f"{array.name}.sums")


def write_sums(array: Path, rows: np.ndarray, known: int = 0) -> None:
    """Write the CRC-32 of each row of an array to a file beside it.

    Args:
        array: the array's file.
        rows: its content.
        known: number of leading rows that did not change; their recorded sums are kept.
    """
    before = read_sums(array)
    kept = before[:known] if before is not None and len(before) >= known else np.zeros(0, np.uint32)
    new = np.fromiter(_sums(rows, len(kept)), np.uint32)
    sums = np.concatenate([kept, new])

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, sums)

    write_whole(sums_path(array), write)


def read_sums(array: Path) -> np.ndarray | None:
    """Read the sums of an array's rows, uint32 [rows or more]; None if they are missing or damaged."""
    try:
        return np.load(sums_path(array), allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None


def damaged_rows(
    array: Path, rows: np.ndarray, samples: int | None = None, progress: Callable[[int], None] = lambda _: None
) -> list[int] | None:
    """List the damaged rows among `samples` random rows, or among all (None); None if there are no sums."""
    sums = read_sums(array)
    if sums is None or len(sums) < len(rows):
        return None
    chosen: Iterable[int] = range(len(rows))
    if samples is not None and samples < len(rows):
        chosen = np.random.default_rng().choice(len(rows), samples, replace=False).tolist()
    bad = []
    for number in chosen:
        if _sum(rows[number]) != sums[number]:
            bad.append(number)
        progress(rows[number].nbytes)
    return bad


def _sums(rows: np.ndarray, begin: int) -> Iterator[int]:
    """Sum each row from `begin` on, and release the pages of a mapped array once they are read."""
    mapped = getattr(rows, "_mmap", None)
    for number in range(begin, len(rows)):
        yield _sum(rows[number])
        if mapped is not None and number % 512 == 511:
            mapped.madvise(mmap.MADV_DONTNEED)


def _sum(row: np.ndarray) -> int:
    return zlib.crc32(row.tobytes())


def expect_rows(array: Path, rows: np.ndarray, remedy: str) -> None:
    """Check a sample of an array's rows, if their sums are recorded.

    Raises:
        DamagedFileError: a row is damaged; the message names it, followed by `remedy`.
    """
    bad = damaged_rows(array, rows, SAMPLES)
    if bad:
        raise DamagedFileError(f"{array}: row {bad[0]} is damaged: {remedy}")
