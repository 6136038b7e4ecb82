"""Which files of a home are damaged, where a library only says that one is: looked for when a command has failed."""

import time
from collections.abc import Iterator
from pathlib import Path

from pipeline import environment

PATIENCE = 2.0  # seconds that looking into whole tables may take; footers and headers are always looked at
_SQLITE = b"SQLite format 3\0"


def databases() -> list[Path]:
    """The SQLite files of the home that do not begin as one."""
    return [path for path in _files("*.db") if not _begins_as_sqlite(path)]


def tables() -> list[Path]:
    """The tables of the home that cannot be read, relative to it: without a footer, else the first with a bad page."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found, home = [], environment.home()
    there = sorted((home / TABLES).rglob("*.parquet"))
    for path in there:
        try:
            pq.read_metadata(path)
        except (pa.ArrowException, OSError):
            found.append(path.relative_to(home))
    until = time.monotonic() + PATIENCE
    for path in [] if found else sorted(there, key=lambda path: path.stat().st_size):
        if time.monotonic() > until:
            break
        try:
            for _ in pq.ParquetFile(path, page_checksum_verification=True).iter_batches():
                if time.monotonic() > until:
                    break
        except (pa.ArrowException, OSError):
            return [path.relative_to(home)]
    return found


TABLES = "tables"


def _files(pattern: str) -> Iterator[Path]:
    home = environment.home()
    for folder in ("dagster", "mlflow", "tuning"):
        yield from sorted((home / folder).rglob(pattern))


def _begins_as_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            begins = file.read(len(_SQLITE))
    except OSError:
        return False
    return begins in (b"", _SQLITE)
