"""Find the files of a home that still hold a name, by searching the content of every file.

Parquet, Arrow, SQLite, gzip, zstd and zip files (such as numpy archives and PyTorch models) are unpacked; all others
are read as bytes. Pictures and arrays of numbers hold no names: `erase.py` finds those by digest and by number.
"""

import contextlib
import io
import math
import sqlite3
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.raw.framing import DAMAGED, codec_of, inflated
from pipeline.erase.spelling import NameMatcher

BLOCK = 1 << 22
_SQLITE, _ZIP, _ARRAY = b"SQLite format 3\0", b"PK\3\4", b"\x93NUMPY"


def find(home: Path, names: Iterable[str]) -> list[Path]:
    """List the files under `home`, relative to it, that contain one of the names or cannot be read."""
    matcher = NameMatcher(names)
    if not matcher.names:
        return []
    files = (path for path in sorted(home.rglob("*")) if path.is_file() and not path.is_symlink())
    return [path.relative_to(home) for path in files if _holds(path, matcher)]


def holds(path: Path, names: Iterable[str]) -> bool:
    """Return whether a file contains one of the names; True if it cannot be read, to be safe."""
    return _holds(path, NameMatcher(names))


def _holds(path: Path, matcher: NameMatcher) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(16)
        if head[:4] == b"PAR1" or head[:6] == b"ARROW1":
            with contextlib.suppress(pa.ArrowInvalid, OSError):  # a truncated file is searched as bytes
                return _in_table(path, matcher, arrow=head[:6] == b"ARROW1")
        if head == _SQLITE and any(map(matcher.matches, _values(path))):
            return True
        return any(_in_stream(read, matcher) for read in _streams(path, head))
    except FileNotFoundError:  # removed during the search
        return False
    except OSError:
        return True


def _streams(path: Path, head: bytes) -> Iterator[Callable[[int], bytes]]:
    """Yield a read function for the file's bytes, and one for each compressed content in it."""
    with path.open("rb") as file:
        yield file.read
        file.seek(0)
        if codec := codec_of(head[:4]):
            with contextlib.suppress(*DAMAGED, pa.ArrowInvalid), inflated(file, codec) as stream:
                yield stream.read
        if head[:4] == _ZIP:
            yield from _members(path)
        if head[:6] == _ARRAY:
            file.seek(0)
            yield _array(file).read


def _in_stream(read: Callable[[int], bytes], matcher: NameMatcher) -> bool:
    """Search a stream, also across two blocks; a damaged stream is searched up to the damage."""
    tail = b""
    with contextlib.suppress(*DAMAGED, pa.ArrowInvalid, zipfile.BadZipFile):
        while block := read(BLOCK):
            text = tail + block
            if matcher.matches(text):
                return True
            tail = text[-matcher.longest :]
    return False


def _members(path: Path) -> Iterator[Callable[[int], bytes]]:
    """Yield a read function for each compressed member and each array of a zip; its bytes include the other members."""
    with contextlib.suppress(zipfile.BadZipFile, NotImplementedError, RuntimeError), zipfile.ZipFile(path) as members:
        for member in members.infolist():
            if member.filename.endswith(".npy"):
                with members.open(member) as opened:
                    yield _array(opened).read
            if member.compress_type != zipfile.ZIP_STORED:
                with members.open(member) as opened:
                    yield opened.read


def _array(file: IO[bytes]) -> io.BytesIO:
    """Read the texts of a numpy array, one per line, because its file has nothing between them."""
    with contextlib.suppress(ValueError):
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = header(file)
        if kind.kind in "US":
            texts = np.frombuffer(file.read(), kind, count=math.prod(shape)).tolist()
            return io.BytesIO(b"\n".join(t if isinstance(t, bytes) else t.encode("utf-8", "replace") for t in texts))
    return io.BytesIO()


def _values(path: Path) -> Iterator[bytes]:
    """Yield every text of a SQLite database, whose file splits long texts over pages."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(
        sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    ) as database:  # fmt: skip
        database.text_factory = bytes
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            quoted = '"' + table.decode().replace('"', '""') + '"'
            for row in database.execute(f"SELECT * FROM {quoted}"):
                yield from (value for value in row if isinstance(value, bytes) and value)


def _in_table(path: Path, matcher: NameMatcher, arrow: bool) -> bool:
    if arrow:
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as rows:
            return any(_in_rows(rows.get_batch(number), matcher) for number in range(rows.num_record_batches))
    with pq.ParquetFile(path) as file:
        if any(matcher.matches(value) for value in (file.schema_arrow.metadata or {}).values()):
            return True
        columns = [field.name for field in file.schema_arrow if _textual(field.type)]
        return bool(columns) and any(_in_rows(batch, matcher) for batch in file.iter_batches(columns=columns))


def _in_rows(rows: pa.RecordBatch, matcher: NameMatcher) -> bool:
    # Each value is written as `field=value|`, so that an ambiguous name matches only in an id field.
    return any(
        matcher.matches("".join(f"{name}={text}|\n" for text in dict.fromkeys(texts)).encode("utf-8", "replace"))
        for name, column in zip(rows.schema.names, rows.columns, strict=True)
        for texts in _texts(column)
    )


def _texts(column: pa.Array) -> Iterator[list[str]]:
    """Yield the texts in a column of any nesting."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield from _texts(column.dictionary)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield column.drop_null().to_pylist()
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        yield [value.decode("utf-8", "replace") for value in column.drop_null().to_pylist()]
    elif pa.types.is_struct(kind):
        for part in column.flatten():
            yield from _texts(part)
    elif pa.types.is_map(kind):
        yield from _texts(column.keys)
        yield from _texts(column.items)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _texts(column.flatten())


def _textual(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _textual(kind.value_type)
    nested = [kind.field(n).type for n in range(kind.num_fields)] if pa.types.is_nested(kind) else []
    flat = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(is_flat(kind) for is_flat in flat) or any(map(_textual, nested))
