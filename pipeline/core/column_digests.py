"""Digest the columns of a table into the footer of its Parquet file, and compare them when the file is read.

Page checksums cover a page's bytes but not the headers around it. A digest of the values also notices a flipped bit
in a header. It lies in the file itself, so that a file and its digests are always replaced together.
"""

import hashlib
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import DamagedFileError

KEY = b"atelier.columns"  # in the schema's metadata: JSON, column to digest


def with_digests(table: pa.Table) -> pa.Table:
    """Return the table with the digests of its columns in its metadata; a Parquet file keeps them in its footer."""
    found = {name: _digest(table[name]) for name in table.column_names}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: json.dumps(found).encode()})


def expect_digests(path: Path, table: pa.Table, mend: str) -> None:
    """Compare the columns that were read from `path` with the digests in its footer, where it has any.

    Raises:
        DamagedFileError: a column's values are not those that were written.
    """
    try:
        recorded = json.loads((table.schema.metadata or {}).get(KEY, b"{}"))
        wrong = [name for name in table.column_names if recorded and recorded.get(name) != _digest(table[name])]
    except (ValueError, AttributeError) as error:
        raise DamagedFileError(f"{path}: damaged (its digests cannot be read): {mend}") from error
    if wrong:
        raise DamagedFileError(f"{path}: damaged ({', '.join(wrong)}): {mend}")


def _digest(column: pa.ChunkedArray) -> str:
    """Hash the values, and which of them are null, to sixteen hex digits; how they are chunked does not matter."""
    whole = column.combine_chunks()
    valid = pc.is_valid(whole)
    empty = pa.scalar("" if pa.types.is_string(whole.type) else 0).cast(whole.type)
    sink = io.BytesIO()
    plain = pa.table([pc.fill_null(whole, empty), valid], names=["value", "valid"])  # bytes under a null are arbitrary
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_table(plain)
    return hashlib.sha256(sink.getbuffer()).hexdigest()[:16]
