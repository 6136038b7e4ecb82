"""Read JSON lines whose keys are a shop's own as a table."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.raw.addresses import encodable
from pipeline.core.raw.dialects import plain
from pipeline.core.raw.forms import JSON, Form
from pipeline.core.raw.framing import MAX_LINE_BYTES, Block, Meter, blocks
from pipeline.core.raw.parsing import parsers_database
from pipeline.core.raw.tables import TEXT_CHARACTERS, Malformed, RowBlock

SNIFFED_BYTES = 1 << 18  # at once
SNIFFED_LINES = 1_000  # whose keys are the columns


class JsonTable:
    """A file of JSON objects as a table: a column per key, values as text; what is nested stays JSON.

    The columns are the keys of the first lines, and those of `wanted` that any line has.

    Raises:
        InputError: as `framing.blocks` does.
    """

    dialect = None

    def __init__(self, path: Path, form: Form | None = None, wanted: Sequence[str] = ()) -> None:
        self.path, self.form = path, form or Form(JSON)
        keys: dict[str, None] = {}
        left = SNIFFED_LINES
        for block in blocks(path, SNIFFED_BYTES):
            for start, end in zip(block.starts[:left], block.starts[1:], strict=False):
                keys |= dict.fromkeys(_object(block.data[start:end].tobytes()) or ())
            left -= len(block.starts) - 1
            if left <= 0:
                break
        alike = {plain(key) for key in keys}
        keys |= dict.fromkeys(_keys_in(path, [name for name in wanted if plain(name) not in alike]) if keys else ())
        self.names = tuple(keys)
        self._by_case = len({name.lower() for name in keys}) < len(keys)  # DuckDB takes such keys for the same

    def blocks(self, meter: Meter | None = None) -> Iterator[RowBlock]:
        """Yield all rows; a line that is no JSON object is malformed."""
        database = parsers_database()
        for block in blocks(self.path, meter=meter):
            yield self._rows(block, database)
            block.release()

    def _transformed(self, texts: list[str], database: duckdb.DuckDBPyConnection) -> tuple[pa.Table, np.ndarray]:
        """Return the values of all lines as columns, and which lines DuckDB cannot read: bool [lines]."""
        if self._by_case:
            nothing = [pa.nulls(len(texts), pa.string()) for _ in self.names]
            return pa.table(nothing, self.names), np.ones(len(texts), bool)
        framed = pa.table({"text": to_arrow(texts)})
        structure = json.dumps(dict.fromkeys(self.names, "VARCHAR")).replace("'", "''")
        columns = ", ".join(f's."{name.replace(chr(34), chr(34) * 2)}" AS c{n}' for n, name in enumerate(self.names))
        found = database.sql(
            f"SELECT {columns}, s IS NULL OR NOT starts_with(text, '{{') AS unread"
            f" FROM (SELECT text, try(json_transform(text, '{structure}')) AS s FROM framed)"
        ).to_arrow_table()
        del framed
        return found.drop_columns(["unread"]).rename_columns(list(self.names)), to_numpy(found["unread"]).copy()

    def _read_again(self, table: pa.Table, unread: np.ndarray, texts: list[str]) -> tuple[pa.Table, np.ndarray]:
        """Read with Python what DuckDB cannot, as half an emoji (`\\ud83d`); return the rows, and what is unread."""
        again = np.flatnonzero(unread)
        found = [_values(texts[row], self.names) for row in again.tolist()]
        unread[again] = [values is None for values in found]
        columns = zip(*filter(None, found), strict=True) if not unread[again].all() else ((),) * len(self.names)
        mended = pa.table([pa.array(column, pa.string()) for column in columns], self.names)
        kept = np.setdiff1d(np.arange(len(table)), again)
        order = np.argsort(np.concatenate([kept, again[~unread[again]]]))
        return pa.concat_tables([table.take(to_arrow(kept)), mended]).take(to_arrow(order)), unread

    def _rows(self, block: Block, database: duckdb.DuckDBPyConnection) -> RowBlock:
        data = block.data.tobytes()
        lines = [data[a:b].strip() for a, b in zip(block.starts[:-1], block.starts[1:], strict=True)]
        long = [block.too_long or len(line) > MAX_LINE_BYTES for line in lines]
        texts = ["" if cut else line.decode("utf-8", "replace") for line, cut in zip(lines, long, strict=True)]
        table, unread = self._transformed(texts, database)
        if unread.any():
            table, unread = self._read_again(table, unread, texts)
        numbers = block.first_line + np.arange(len(lines))
        malformed = [
            Malformed(
                int(numbers[row]),
                "too_long" if long[row] else "not_an_object" if _is_json(lines[row]) else "not_json",
                lines[row][: 4 * TEXT_CHARACTERS].decode("utf-8", "replace")[:TEXT_CHARACTERS],
            )
            for row in np.flatnonzero(unread).tolist()
            if lines[row]
        ]
        return RowBlock(table, numbers[~unread], malformed)


def _keys_in(path: Path, names: Sequence[str]) -> list[str]:
    """Return those of `names` that are keys of some line."""
    patterns = {
        name: re.compile("|".join(re.escape(json.dumps(name, ensure_ascii=ascii)) for ascii in (True, False)).encode())
        for name in names
    }
    found: list[str] = []
    for block in blocks(path) if names else ():
        data = block.data.tobytes()
        found += [name for name, key in patterns.items() if name not in found and _is_key(key, data)]
        if len(found) == len(names):
            break
    return found


def _is_key(pattern: re.Pattern[bytes], data: bytes) -> bool:
    return any(data[match.end() : match.end() + 20].lstrip().startswith(b":") for match in pattern.finditer(data))


def _values(text: str, names: Sequence[str]) -> list[str | None] | None:
    """Read an object's values of these keys as text, numbers as they are written; None if it is no object."""
    try:
        value = json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return None
    return [_text(value.get(name)) for name in names] if isinstance(value, dict) else None


def _text(value: object) -> str | None:
    if value is None:
        return None
    return encodable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _object(line: bytes) -> dict | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
