"""Find in the rows of a CSV file those that are none: lines that an open quote swallowed, and headers of joined files.

A CSV reader takes all up to the next quote as one value, so an unclosed one loses rows without any error.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.raw.dialects import Dialect, plain, reads_as_row

OPEN_QUOTE, HEADER_AGAIN = "quote_not_closed", "header_again"  # reasons of rejects
REPEATED_AT_MOST = 1_000  # RE2's limit
_BREAK = re.compile(rb"\n")


@dataclass(frozen=True)
class StrayRow:
    """A row that is none."""

    at: int  # its place among the rows that were searched, from 0
    reason: str
    lines: tuple[str, ...]  # of the file; each is a reject
    names: tuple[str, ...] = ()  # of a header with other names, or in another order


class StrayRows:
    """Searches blocks of rows of one file.

    `known` are names of columns in the form of `plain`, by which the header of another file is recognised.
    """

    def __init__(self, dialect: Dialect, known: Iterable[str] = ()) -> None:
        self._dialect = dialect
        self._header = tuple(_cell(cell) for cell in dialect.cells)
        self._known = {*known, *map(plain, self._header)} - {""}
        first = {*self._known, *self._header, *dialect.cells, *(f"\ufeff{cell}" for cell in self._header)}
        self._first = to_arrow(sorted(first))

    def among(self, batch: pa.RecordBatch) -> Iterator[StrayRow]:
        """Yield the stray rows among those of a block, in no order."""
        if self._header and batch.num_rows:
            yield from self._headers(batch)
        if self._dialect.quote and len(self._header or batch.schema.names) > 1:
            yield from self._swallowed(batch)

    def lines_of(self, text: str) -> tuple[str, ...]:
        """Return the lines of a row with too many or too few values if a quote was not closed in it; else nothing."""
        lines = tuple(line.rstrip("\r") for line in text.split("\n") if line.strip())
        stray = self._dialect.quote and self._dialect.quote in text and _most(lines, self._dialect)
        return lines if stray else ()

    def _headers(self, batch: pa.RecordBatch) -> Iterator[StrayRow]:
        first = batch.column(0)
        for row in np.flatnonzero(to_numpy(pc.is_in(first, self._first.cast(first.type)))).tolist():
            cells = tuple(map(_cell, _values(batch, row)))
            if cells == self._header:
                yield StrayRow(row, HEADER_AGAIN, (self._dialect.delimiter.join(cells),))
            elif (known := sum(plain(cell) in self._known for cell in cells)) > 1 and known * 2 >= len(cells):
                yield StrayRow(row, HEADER_AGAIN, (), cells)

    def _swallowed(self, batch: pa.RecordBatch) -> Iterator[StrayRow]:
        delimiter, found = self._dialect.delimiter, set[int]()
        apart = re.escape(delimiter)
        value = rf"[^{apart}\n]*"
        for place, column in enumerate(batch.columns):
            data = column.buffers()[2]
            if data is None or not _BREAK.search(memoryview(data)):
                continue
            # A value that ends in a later row has, after its last line break, the values before its column.
            ending = rf"\n{value}(?:{apart}{value}){{{min(place, REPEATED_AT_MOST)}}}\n?$"
            mask = pc.match_substring_regex(column, ending)
            found.update(np.flatnonzero(to_numpy(mask)).tolist())
        for row in sorted(found):
            text = delimiter.join(_values(batch, row))
            lines = tuple(line.rstrip("\r") for line in text.split("\n") if line.strip())
            if _most(lines[1:], self._dialect):
                yield StrayRow(row, OPEN_QUOTE, lines)


def _most(lines: tuple[str, ...], dialect: Dialect) -> bool:
    """Return whether most of some lines are rows."""
    return bool(lines) and 2 * sum(reads_as_row(line, dialect) for line in lines) >= len(lines)


def _values(batch: pa.RecordBatch, row: int) -> list[str]:
    values = [column[row].as_py() for column in batch.columns]
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]


def _cell(text: str) -> str:
    return text.strip("\ufeff \t\r\n")
