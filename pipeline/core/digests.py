"""Whether bytes on the disk are those that were written: digests of files, and sums of an array's rows.

A model's files have their SHA-256 in its manifest. An array that is mapped and too large to be read at each opening
(bank, features, garments) has the CRC-32 of each row in a file beside it, of which an opening takes samples. Parquet
carries its own (`parquet.py`). The whole home is looked through by `pipeline/check/scrub.py`.
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

LIST = "digests.json"  # of a folder that has no manifest of its own: file to SHA-256
SAMPLES = 64  # rows that an opening looks at


def of_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each of these files of a folder."""
    return {name: sha256(folder / name) for name in sorted(names)}


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex; more than a gigabyte a second."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wrong(folder: Path, recorded: Mapping[str, str]) -> list[str]:
    """Which of the files are missing or other than recorded; what a process has found whole it takes as such."""
    return [name for name, digest in recorded.items() if not _is(folder / name, digest)]


def write_list(folder: Path) -> None:
    """Keep the digests of all files of a folder in it, but of MLflow's own description, which MLflow may rewrite."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    found = of_files(folder, [name for name in names if name not in (LIST, "MLmodel")])
    write_whole(folder / LIST, lambda temporary: temporary.write_text(json.dumps(found, indent=1) + "\n"))


def expect_list(folder: Path, mend: str) -> None:
    """Check a folder against its list, where it has one.

    Raises:
        DamagedFileError: a file is not what was written; says which.
    """
    path = folder / LIST
    bad = wrong(folder, json.loads(path.read_text())) if path.is_file() else []
    if bad:
        raise DamagedFileError(f"{folder}: {', '.join(bad)}: damaged or missing: {mend}")


def _is(path: Path, digest: str) -> bool:
    if not path.is_file():
        return False
    found = path.stat()
    return _known(path, found.st_size, found.st_mtime_ns) == digest


@functools.lru_cache(maxsize=1024)
def _known(path: Path, _size: int, _changed: int) -> str:
    return sha256(path)


def sums_path(array: Path) -> Path:
    """Where the sums of an array's rows lie."""
    return array.with_name(f"{array.name}.sums")


def write_sums(array: Path, rows: np.ndarray, known: int = 0) -> None:
    """Keep the CRC-32 of each row of an array beside its file.

    Args:
        array: the file.
        rows: what is in it.
        known: so many first rows are as they were: their sums are kept where there are any.
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
    """The sums of an array's rows, [rows or more] uint32; None where none were recorded, or they are damaged."""
    try:
        return np.load(sums_path(array), allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None


def damaged_rows(
    array: Path, rows: np.ndarray, samples: int | None = None, progress: Callable[[int], None] = lambda _: None
) -> list[int] | None:
    """Which rows are not what was written; of some random ones, or (`samples` None) of all. None: no sums recorded."""
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
    """Sum each row from `begin` on; pages of a mapped array are released as soon as they were read."""
    mapped = getattr(rows, "_mmap", None)
    for number in range(begin, len(rows)):
        yield _sum(rows[number])
        if mapped is not None and number % 512 == 511:
            mapped.madvise(mmap.MADV_DONTNEED)


def _sum(row: np.ndarray) -> int:
    return zlib.crc32(row.tobytes())


def expect_rows(array: Path, rows: np.ndarray, mend: str) -> None:
    """Check samples of an array's rows, where their sums are known.

    Raises:
        DamagedFileError: one is not what was written.
    """
    bad = damaged_rows(array, rows, SAMPLES)
    if bad:
        raise DamagedFileError(f"{array}: row {bad[0]} is damaged: {mend}")
