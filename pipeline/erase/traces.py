"""Where a home still holds a name: every file under it is read, whatever its form, and searched for the text.

Parquet, Arrow, gzip and zstd are looked into, databases and everything else are read as bytes. Pictures and arrays hold
no names: for those `erase.py` goes by content and by number.
"""

import gzip
import html
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

BLOCK = 1 << 22
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def find(home: Path, names: Iterable[str]) -> list[Path]:
    """The files under `home`, relative to it, in which one of `names` stands."""
    forms = sorted({form for name in names for form in _forms(name)}, key=len, reverse=True)
    if not forms:
        return []
    # A name ends where letters and digits do: B00X does not stand in B00XYZ.
    either = "|".join(map(re.escape, forms))
    in_text = f"(^|[^0-9A-Za-z])({either})($|[^0-9A-Za-z])"
    in_bytes = re.compile(f"(?<![0-9A-Za-z])(?:{either})(?![0-9A-Za-z])".encode())
    search = _Search(in_text, in_bytes, max(len(form.encode()) for form in forms) + 1)
    files = (path for path in sorted(home.rglob("*")) if path.is_file() and not path.is_symlink())
    return [path.relative_to(home) for path in files if search.holds(path)]


def _forms(name: str) -> set[str]:
    """How a text may stand in a file: as it is, in HTML, in JSON."""
    return {name, html.escape(name), json.dumps(name)[1:-1]}


@dataclass(frozen=True)
class _Search:
    """The names as a pattern for Arrow's texts and one for bytes, which match at most `longest` bytes."""

    in_text: str
    in_bytes: re.Pattern[bytes]
    longest: int

    def holds(self, path: Path) -> bool:
        """Whether a name stands in a file."""
        try:
            with path.open("rb") as file:
                head = file.read(6)
                file.seek(0)
                if head[:4] == b"PAR1" or head == b"ARROW1":
                    return self._in_table(path, arrow=head == b"ARROW1")
                if head[:2] == _GZIP:
                    return self._in_stream(gzip.open(file).read)
                if head[:4] == _ZSTD:
                    return self._in_stream(pa.CompressedInputStream(pa.PythonFile(file), "zstd").read)
                return self._in_stream(file.read)
        except FileNotFoundError:  # gone while we looked
            return False
        except (pa.ArrowInvalid, EOFError, OSError):  # half of a file: then its bytes as they are
            with path.open("rb") as file:
                return self._in_stream(file.read)

    def _in_stream(self, read: Callable[[int], bytes]) -> bool:
        """Also where a name stands across two blocks."""
        tail = b""
        while block := read(BLOCK):
            text = tail + block
            if self.in_bytes.search(text):
                return True
            tail = text[-self.longest :]
        return False

    def _in_table(self, path: Path, arrow: bool) -> bool:
        if arrow:
            with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as rows:
                return any(self._in_rows(rows.get_batch(number)) for number in range(rows.num_record_batches))
        with pq.ParquetFile(path) as file:
            if any(self.in_bytes.search(value) for value in (file.schema_arrow.metadata or {}).values()):
                return True
            columns = [field.name for field in file.schema_arrow if _textual(field.type)]
            return any(self._in_rows(batch) for batch in file.iter_batches(columns=columns))

    def _in_rows(self, rows: pa.RecordBatch) -> bool:
        for column in rows.columns:
            texts = column.flatten() if pa.types.is_list(column.type) else column
            if _textual(texts.type) and pc.any(pc.match_substring_regex(texts, self.in_text)).as_py():
                return True
        return False


def _textual(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type))
