"""A table on its way to a store: the addresses in it without signatures, logins and whatever else may be secret.

Which tables hold addresses is `sync.py`'s to know; what a signature is, `core/signatures.py`'s.
"""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import parquet as pq
from pipeline.core.durable import make_private
from pipeline.core.signatures import MAYBE, key

_LOGIN = re.compile(r"(?<=://)[^/?#\s\"'<>]*@")
_HOLDS = MAYBE + "|://[^/?#\\s]*@"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_AT_ONCE = 1 << 16  # rows


def without_signatures(path: Path, copy: Path) -> Path | None:
    """Write the Parquet file at `path` to `copy` with its addresses stripped; None where there is nothing to strip."""
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid:  # damaged, which the home's own checks tell; its bytes are kept as they are
        return None
    with file:
        if not any(_held(column) for batch in file.iter_batches(_AT_ONCE) for column in batch.columns):
            return None
        with pq.ParquetWriter(make_private(copy), file.schema_arrow, compression="zstd") as out:
            for batch in file.iter_batches(_AT_ONCE):
                columns = [_stripped(column) if _held(column) else column for column in batch.columns]
                out.write_batch(pa.record_batch(columns, schema=batch.schema))
    return copy


def stripped(text: str) -> str:
    """A text whose addresses have neither signature nor login."""
    return _ADDRESS.sub(lambda found: key(_LOGIN.sub("", found[0].replace("\\/", "/"))), text)


def _held(column: pa.Array) -> bool:
    values = column.values if pa.types.is_list(column.type) else column
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return False
    return bool(pc.any(pc.match_substring_regex(values, _HOLDS)).as_py())


def _stripped(column: pa.Array) -> pa.Array:
    if not pa.types.is_list(column.type):
        return pa.array([None if text is None else stripped(text) for text in column.to_pylist()], column.type)
    rows = column.to_pylist()
    return pa.array([None if row is None else [text and stripped(text) for text in row] for row in rows], column.type)
