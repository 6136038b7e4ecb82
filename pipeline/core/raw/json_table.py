"""Read JSON lines whose keys are a shop's own as a table, if shop.toml says what the keys mean."""

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.raw.forms import JSON, Form
from pipeline.core.raw.framing import MAX_LINE_BYTES, Block, Meter, blocks
from pipeline.core.raw.parsing import parsers_database
from pipeline.core.raw.tables import TEXT_CHARACTERS, Malformed, RowBlock

SNIFFED_LINES = 1_000  # whose keys are the columns


class JsonTable:
    """A file of JSON objects as a table: a column per key, values as text; what is nested stays JSON.

    Raises:
        InputError: as `framing.blocks` does.
    """

    dialect = None

    def __init__(self, path: Path, form: Form | None = None) -> None:
        self.path, self.form = path, form or Form(JSON)
        keys: dict[str, None] = {}
        block = next(blocks(path), None)
        for start, end in zip(block.starts[:SNIFFED_LINES], block.starts[1:], strict=False) if block else ():
            value = _object(block.data[start:end].tobytes()) if block else None
            keys |= dict.fromkeys(value or ())
        self.names = tuple(keys)

    def blocks(self, meter: Meter | None = None) -> Iterator[RowBlock]:
        """Yield all rows; a line that is no JSON object is malformed."""
        database = parsers_database()
        for block in blocks(self.path, meter=meter):
            yield self._rows(block, database)
            block.release()

    def _rows(self, block: Block, database: duckdb.DuckDBPyConnection) -> RowBlock:
        data = block.data.tobytes()
        lines = [data[a:b].strip() for a, b in zip(block.starts[:-1], block.starts[1:], strict=True)]
        long = [block.too_long or len(line) > MAX_LINE_BYTES for line in lines]
        texts = ["" if cut else line.decode("utf-8", "replace") for line, cut in zip(lines, long, strict=True)]
        framed = pa.table({"text": to_arrow(texts)})
        structure = json.dumps(dict.fromkeys(self.names, "VARCHAR")).replace("'", "''")
        columns = ", ".join(f's."{name.replace(chr(34), chr(34) * 2)}" AS c{n}' for n, name in enumerate(self.names))
        found = database.sql(
            f"SELECT {columns}, s IS NULL OR NOT starts_with(text, '{{') AS unread"
            f" FROM (SELECT text, try(json_transform(text, '{structure}')) AS s FROM framed)"
        ).to_arrow_table()
        del framed
        unread = to_numpy(found["unread"])
        table = found.drop_columns(["unread"]).rename_columns(list(self.names))
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
        return RowBlock(table.filter(to_arrow(~unread)), numbers[~unread], malformed)


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
