"""Parquet files whose pages carry checksums: written with them, verified wherever they are read.

Drop-in for the functions of `pyarrow.parquet` that we use; none other imports those but the search for traces. A file
of an earlier version has none and is read as it is. DuckDB, which only ever reads here, verifies nothing.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import DamagedFileError

read_metadata, read_schema = pq.read_metadata, pq.read_schema


def write_table(table: pa.Table, path: str | Path, **options: Any) -> None:
    """Write a table, with a checksum in every page; options as pyarrow's."""
    pq.write_table(table, path, **{"write_page_checksum": True, **options})


def ParquetWriter(path: str | Path, schema: pa.Schema, **options: Any) -> pq.ParquetWriter:  # noqa: N802  as pyarrow
    """A writer of pages with checksums; options as pyarrow's."""
    return pq.ParquetWriter(path, schema, write_page_checksum=True, **options)


def ParquetFile(path: str | Path, **options: Any) -> pq.ParquetFile:  # noqa: N802  as pyarrow
    """A file whose pages are verified as they are read; options as pyarrow's."""
    return pq.ParquetFile(path, **{"page_checksum_verification": True, **options})


def read_table(path: str | Path, **options: Any) -> pa.Table:
    """Read a table, its pages verified; options as pyarrow's.

    Raises:
        DamagedFileError: a page is not what was written.
    """
    with named(path):
        return pq.read_table(path, page_checksum_verification=True, **options)


@contextmanager
def named(path: str | Path) -> Generator[None]:
    """Have what pyarrow says of damaged bytes name the file and the mend."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        # The machine's own trouble has an errno or a class; a wrong call is ArrowInvalid, and speaks of no schema.
        if type(error) not in (OSError, pa.ArrowInvalid) or getattr(error, "errno", None) is not None:
            raise
        if isinstance(error, pa.ArrowInvalid) and "schema" not in str(error) and "base64" not in str(error):
            raise
        raise DamagedFileError(
            f"{path}: damaged ({error}): python -m pipeline.check says what to make again"
        ) from error
