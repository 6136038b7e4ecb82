"""Write and read Parquet files with page checksums, with the functions of `pyarrow.parquet`.

Use this module instead of `pyarrow.parquet`; only the search for traces imports that directly. Files of earlier
versions have no checksums and are read without verification. DuckDB only reads, and verifies nothing.
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
    """Write a table with page checksums; options as in pyarrow."""
    pq.write_table(table, path, **{"write_page_checksum": True, **options})


def ParquetWriter(path: str | Path, schema: pa.Schema, **options: Any) -> pq.ParquetWriter:  # noqa: N802  as pyarrow
    """Open a writer of pages with checksums; options as in pyarrow."""
    return pq.ParquetWriter(path, schema, write_page_checksum=True, **options)


def ParquetFile(path: str | Path, **options: Any) -> pq.ParquetFile:  # noqa: N802  as pyarrow
    """Open a file whose pages are verified when they are read; options as in pyarrow."""
    return pq.ParquetFile(path, **{"page_checksum_verification": True, **options})


def read_table(path: str | Path, **options: Any) -> pa.Table:
    """Read a table and verify its pages; options as in pyarrow.

    Raises:
        DamagedFileError: a page is damaged; the message names the file.
    """
    with named(path):
        return pq.read_table(path, page_checksum_verification=True, **options)


@contextmanager
def named(path: str | Path) -> Generator[None]:
    """Turn pyarrow's errors about damaged bytes into a DamagedFileError with the file's name and the remedy."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        # System errors have an errno or a subclass. Wrong calls raise ArrowInvalid without mentioning a schema.
        if type(error) not in (OSError, pa.ArrowInvalid) or getattr(error, "errno", None) is not None:
            raise
        if isinstance(error, pa.ArrowInvalid) and "schema" not in str(error) and "base64" not in str(error):
            raise
        raise DamagedFileError(
            f"{path}: damaged ({error}): python -m pipeline.check says what to make again"
        ) from error
