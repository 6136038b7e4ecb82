"""Read a file with a table (CSV, Parquet, Arrow) in blocks of rows, in the file's order, with the number of every row.

The columns come as they are; `table_rows.py` makes reviews and products of them. CSV is read by pyarrow: one
thread of it is faster than two of DuckDB here, and it gives the number of every malformed row.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.arrow import to_arrow
from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw.copies import origin_name
from pipeline.core.raw.dialects import Dialect, dialect_of, distinct
from pipeline.core.raw.forms import ARROW, CSV, PARQUET, UNREADABLE, Form, damaged, form_of, opened
from pipeline.core.raw.framing import Meter
from pipeline.core.raw.stray_rows import OPEN_QUOTE, StrayRow, StrayRows
from pipeline.core.shop.mapping import TableForm

BLOCK_BYTES = 4 << 20  # of CSV read and parsed at once; a row may be no longer
ROWS_AT_ONCE = 65_536  # of Parquet and Arrow
PAGE_BYTES = 1 << 20  # of a column of Parquet read at once, instead of all of a row group
LINES_IN_A_ROW = 50  # a malformed row of more lines is a quote that was never closed
TEXT_CHARACTERS = 500  # kept of a malformed row
PADDING = "padding"  # NULs that a crashed writer left; no reason of a reject
_PARTITION = re.compile(r"^([^=/]+)=([^/]*)$")


@dataclass(frozen=True)
class Malformed:
    """A row that has not as many values as there are columns."""

    row: int
    reason: str  # too_many_values, too_few_values, or one of `stray_rows.py`
    text: str


@dataclass(frozen=True)
class RowBlock:
    """Some rows of a table, one after the other."""

    table: pa.Table  # one column per name of the table, in order; texts of CSV are binary
    numbers: np.ndarray  # [rows] int64: of each row in the file, from 1, with the header
    malformed: list[Malformed]


class TableFile:
    """A file with a table.

    Raises:
        InputError: when it is made or read: the file is no table, is damaged, or a quote in it is never closed.
    """

    def __init__(
        self, path: Path, form: Form | None = None, table_form: TableForm | None = None, known: Iterable[str] = ()
    ) -> None:
        table_form = table_form or TableForm()
        self.path = path
        self.form = form or form_of(path, table_form.encoding)
        self.dialect: Dialect | None = None
        self._known = known
        self.partitions = dict(_partitions(path))  # Hive's key=value folders
        if self.form.kind == CSV:
            self.dialect = dialect_of(path, self.form, table_form, known)
            self.names = self.dialect.names
        else:
            own = distinct(self._binary_names(), len(self._binary_names()))
            self.partitions = {name: value for name, value in self.partitions.items() if name not in own}
            self.names = (*own, *self.partitions)

    def blocks(self, meter: Meter | None = None) -> Iterator[RowBlock]:
        """Yield all rows."""
        meter = meter or Meter()
        yield from self._csv(meter) if self.dialect else self._binary(meter)

    def _csv(self, meter: Meter) -> Iterator[RowBlock]:
        from pyarrow import csv

        assert self.dialect is not None
        malformed: list[Malformed] = []
        never_closed: list[int] = []
        stray = StrayRows(self.dialect, self._known)

        def skip(row: Any) -> str:
            if row.text.count("\n") > LINES_IN_A_ROW:
                never_closed.append(row.number)
                return "error"
            if not row.text.strip("\0"):
                malformed.append(Malformed(row.number, PADDING, ""))
                return "skip"
            if lines := stray.lines_of(row.text):
                malformed.extend(Malformed(row.number, OPEN_QUOTE, line[:TEXT_CHARACTERS]) for line in lines)
                return "skip"
            reason = "too_many_values" if row.actual_columns > row.expected_columns else "too_few_values"
            malformed.append(Malformed(row.number, reason, row.text[:TEXT_CHARACTERS]))
            return "skip"

        utf8 = self.form.encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "ascii")
        columns = [str(place) for place in range(len(self.names))]
        read = csv.ReadOptions(
            use_threads=False,  # otherwise malformed rows come without their number
            block_size=BLOCK_BYTES,
            skip_rows=self.dialect.skipped,
            column_names=columns,
            skip_rows_after_names=int(self.dialect.header),
            encoding="utf8" if utf8 else self.form.encoding,
        )
        parse = csv.ParseOptions(
            delimiter=self.dialect.delimiter,
            quote_char=self.dialect.quote or False,
            newlines_in_values=bool(self.dialect.quote),
            invalid_row_handler=skip,
        )
        kind = pa.binary() if utf8 else pa.string()  # table_rows.py counts and repairs values that are not UTF-8
        convert = csv.ConvertOptions(
            column_types=dict.fromkeys(columns, kind), check_utf8=False, strings_can_be_null=False
        )
        row = 1 + self.dialect.skipped + self.dialect.header
        try:
            with opened(self.path, self.form) as (stream, raw), csv.open_csv(stream, read, parse, convert) as batches:
                for batch in batches:
                    numbers, waiting = _numbered(row, batch.num_rows, malformed)
                    row = (int(numbers[-1]) if len(numbers) else row - 1) + 1
                    row = max(row, *(bad.row + 1 for bad in malformed[:waiting]), 0)
                    table = pa.Table.from_batches([batch]).rename_columns(self.names)
                    yield self._without(list(stray.among(batch)), RowBlock(table, numbers, malformed[:waiting]))
                    del malformed[:waiting]
                    meter.bytes = raw.tell()
                if malformed:
                    nothing = pa.table([pa.array([], kind) for _ in self.names], names=self.names)
                    yield self._without([], RowBlock(nothing, np.empty(0, np.int64), malformed))
        except InputError:
            raise
        except pa.ArrowInvalid as error:
            if never_closed:
                raise self._open_quote(never_closed[0]) from error
            if "straddl" in str(error) or "quot" in str(error).lower():
                raise self._open_quote(row) from error
            if "Empty CSV" in str(error):
                return
            raise InputError(f"{origin_name(self.path)}: row {row:,} or after it: {printable(error, 300)}") from error
        except UNREADABLE as error:
            raise damaged(self.path, error) from error
        except UnicodeError as error:
            raise InputError(
                f"{origin_name(self.path)}: is not in the encoding {self.form.encoding} after row {row:,}; name the"
                ' right one in shop.toml, for example encoding = "cp1252"'
            ) from error

    def _without(self, stray: list[StrayRow], block: RowBlock) -> RowBlock:
        """Turn stray rows into malformed ones, and leave out padding."""
        malformed = [bad for bad in block.malformed if bad.reason != PADDING]
        if not stray:
            return RowBlock(block.table, block.numbers, malformed)
        kept = np.ones(len(block.table), bool)
        for one in stray:
            number = int(block.numbers[one.at])
            if one.names:
                raise InputError(
                    f"{origin_name(self.path)}: row {number:,} has names of columns again, and others or in another"
                    f" order: {printable(', '.join(one.names), 300)}; the first row has"
                    f" {printable(', '.join(self.names), 300)}. Two files were joined: split the file before that"
                    " row, and name both"
                )
            if len(one.lines) > LINES_IN_A_ROW:
                raise self._open_quote(number)
            kept[one.at] = False
            malformed += [Malformed(number, one.reason, line[:TEXT_CHARACTERS]) for line in one.lines]
        return RowBlock(block.table.filter(to_arrow(kept)), block.numbers[kept], malformed)

    def _open_quote(self, row: int | None) -> InputError:
        quote = self.dialect.quote if self.dialect else ""
        where = f"row {row:,} or after it" if row else "a row"
        return InputError(
            f"{origin_name(self.path)}: {where}: a value opens with {quote or 'a quote'} and never closes, or only"
            f" after more than {LINES_IN_A_ROW} rows, or is longer than"
            f' {BLOCK_BYTES >> 20} MB. If the file quotes nothing, say so in shop.toml: quote = ""; otherwise mend the'
            " row"
        )

    def _binary_names(self) -> list[str]:
        with self._opened_binary() as (schema, _):
            return [str(name) for name in schema.names]

    def _binary(self, meter: Meter) -> Iterator[RowBlock]:
        row, size = 1, self.path.stat().st_size
        with self._opened_binary() as (_, batches):
            try:
                for rows, total, batch in batches():
                    table = pa.Table.from_batches([batch]).rename_columns(self.names[: batch.num_columns])
                    for name, value in self.partitions.items():
                        table = table.append_column(name, pa.array([value] * len(table), pa.string()))
                    yield RowBlock(table, np.arange(row, row + len(table)), [])
                    row += len(table)
                    meter.bytes = size * rows // max(total, 1)
            except (pa.ArrowException, OSError, EOFError) as error:
                raise self._broken(error) from error

    def _opened_binary(self) -> "_Binary":
        return _Binary(self)

    def _broken(self, error: Exception) -> InputError:
        return InputError(
            f"{origin_name(self.path)}: the {self.form.kind} file is cut short or damaged ({printable(error, 200)}),"
            " and nothing of it was kept. Write or fetch it again"
        )


class _Binary:
    """Opens a Parquet or Arrow file for a block: its schema, and a function that yields (rows so far, total, batch)."""

    def __init__(self, file: TableFile) -> None:
        self._file, self._opened = file, list[Any]()

    def __enter__(self) -> tuple[pa.Schema, Any]:
        path, kind = self._file.path, self._file.form.kind
        try:
            if kind == PARQUET:
                import pyarrow.parquet as pq

                parquet = pq.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=PAGE_BYTES)
                self._opened.append(parquet)
                return parquet.schema_arrow, lambda: _parquet(parquet)
            source = pa.OSFile(str(path))
            self._opened.append(source)
            arrow = pa.ipc.open_file(source) if kind == ARROW else pa.ipc.open_stream(source)
            return arrow.schema, lambda: _pieces(arrow, kind)
        except (pa.ArrowException, OSError, EOFError) as error:
            self.__exit__()
            raise self._file._broken(error) from error

    def __exit__(self, *_: object) -> None:
        for opened_file in self._opened:
            opened_file.close()


def _parquet(parquet: Any) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    rows, total = 0, parquet.metadata.num_rows
    for batch in parquet.iter_batches(ROWS_AT_ONCE, use_threads=True):
        rows += batch.num_rows
        yield rows, total, batch


def _pieces(arrow: Any, kind: str) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """Cut the batches of an Arrow file or stream into pieces of a bounded number of rows."""
    count = arrow.num_record_batches if kind == ARROW else 1
    batches = map(arrow.get_batch, range(count)) if kind == ARROW else arrow
    for number, batch in enumerate(batches, 1):
        for start in range(0, batch.num_rows, ROWS_AT_ONCE):
            yield min(number, count), count, batch.slice(start, ROWS_AT_ONCE)


def _numbered(row: int, rows: int, malformed: list[Malformed]) -> tuple[np.ndarray, int]:
    """Number the next rows from `row` on, without the malformed ones; also return how many of those are passed."""
    numbers = np.arange(row, row + rows)
    passed = 0
    for bad in malformed:
        if rows and bad.row > numbers[-1]:
            break
        if rows and (not passed or bad.row != malformed[passed - 1].row):  # a row may be malformed for several lines
            numbers[numbers >= bad.row] += 1
        passed += 1
    return numbers, passed


def _partitions(path: Path) -> Iterator[tuple[str, str]]:
    """Read the key=value folders directly above a file, the outermost first."""
    from urllib.parse import unquote

    found = []
    for folder in path.parents:
        match = _PARTITION.match(folder.name)
        if not match:
            break
        found.append((match[1], unquote(match[2])))
    yield from reversed(found)
