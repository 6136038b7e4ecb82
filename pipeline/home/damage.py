"""Find the damaged files of a home after a command has failed, when a library says only that some file is damaged."""

import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.home import environment

TIME_LIMIT = 2.0  # seconds for reading whole tables; footers and headers are always read
TABLES = "tables"
_SQLITE = b"SQLite format 3\0"


def databases() -> list[Path]:
    """Find the `.db` files of the home that do not begin with SQLite's header."""
    return [path for path in _files("*.db") if not _begins_as_sqlite(path)]


def tables() -> list[Path]:
    """Find unreadable tables, relative to the home: all without a footer, or else the first with a bad page."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    bad, home = [], environment.home()
    paths = sorted((home / TABLES).rglob("*.parquet"))
    for path in paths:
        try:
            pq.read_metadata(path)
        except (pa.ArrowException, OSError):
            bad.append(path.relative_to(home))
    deadline = time.monotonic() + TIME_LIMIT
    for path in [] if bad else sorted(paths, key=lambda path: path.stat().st_size):
        if time.monotonic() > deadline:
            break
        try:
            for _ in pq.ParquetFile(path, page_checksum_verification=True).iter_batches():
                if time.monotonic() > deadline:
                    break
        except (pa.ArrowException, OSError):
            return [path.relative_to(home)]
    return bad


def _files(pattern: str) -> Iterator[Path]:
    home = environment.home()
    for folder in ("dagster", "mlflow", "tuning"):
        yield from sorted((home / folder).rglob(pattern))


def _begins_as_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            header = file.read(len(_SQLITE))
    except OSError:
        return False
    return header in (b"", _SQLITE)
