"""Remove signatures and logins from the URLs in a table before it is copied to a store."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import parquet as pq
from pipeline.core.durable import make_private
from pipeline.core.signatures import MAYBE, key

_LOGIN = re.compile(r"(?<=://)[^/?#\s\"'<>]*@")
_SECRET = MAYBE + "|://[^/?#\\s]*@"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_BATCH = 1 << 16  # rows


def without_signatures(path: Path, copy: Path) -> Path | None:
    """Write the Parquet file at `path` to `copy` with its URLs stripped; return None if there is nothing to strip."""
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid:  # a damaged file is copied as it is; the home's own checks report it
        return None
    with file:
        if not any(_has_secrets(column) for batch in file.iter_batches(_BATCH) for column in batch.columns):
            return None
        with pq.ParquetWriter(make_private(copy), file.schema_arrow, compression="zstd") as out:
            for batch in file.iter_batches(_BATCH):
                columns = [_strip_column(column) if _has_secrets(column) else column for column in batch.columns]
                out.write_batch(pa.record_batch(columns, schema=batch.schema))
    return copy


def strip(text: str) -> str:
    """Remove signatures and logins from the URLs in a text."""
    return _URL.sub(lambda found: key(_LOGIN.sub("", found[0].replace("\\/", "/"))), text)


def _has_secrets(column: pa.Array) -> bool:
    values = column.values if pa.types.is_list(column.type) else column
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return False
    return bool(pc.any(pc.match_substring_regex(values, _SECRET)).as_py())


def _strip_column(column: pa.Array) -> pa.Array:
    if not pa.types.is_list(column.type):
        return pa.array([None if text is None else strip(text) for text in column.to_pylist()], column.type)
    rows = column.to_pylist()
    return pa.array([None if row is None else [text and strip(text) for text in row] for row in rows], column.type)
