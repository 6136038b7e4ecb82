"""Understand the values of a table of interactions before it is read: how its dates read, which kinds count."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.raw.tables import RowBlock
from pipeline.core.raw.values import day_first, is_day_or_month
from pipeline.core.shop.kinds import VALUES_AT_MOST, sorted_kinds
from pipeline.core.shop.mapping import InteractionColumns

FIRST_ROWS = 1_000  # by which a column is found to have dates whose day and month may be exchanged


class Table(Protocol):
    """A file with a table."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name the columns."""
        ...

    def blocks(self) -> Iterator[RowBlock]:
        """Yield the rows."""
        ...


def of_values(
    columns: InteractionColumns, table: Table, others: Iterable[Table] = ()
) -> tuple[InteractionColumns, tuple[str, ...]]:
    """Complete what a shop.toml leaves open by a table's values; also return what was understood.

    `others` are tables of the same interactions, whose kinds are sorted together with the table's.
    """
    notes = []
    if columns.time and columns.time_unit == "auto" and (form := _date_format(table, columns.time)):
        columns = dataclasses.replace(columns, time_unit=form)
        notes.append(f'times read as time_unit = "{form}"')
    if columns.kind and not (columns.positive or columns.negative or columns.ignored):
        counted: Counter[str] = Counter()
        for each in (table, *others):
            if columns.kind in each.names:
                _count(each, columns.kind, counted)
        if len(counted) > VALUES_AT_MOST:
            notes.append(f"{columns.kind} has too many values to be a kind of interaction, and is not used")
            return dataclasses.replace(columns, kind=None), tuple(notes)
        kinds = sorted_kinds(counted)
        columns = dataclasses.replace(columns, positive=kinds.positive, negative=kinds.negative, ignored=kinds.ignored)
        notes += [kinds.said] if counted else []
    return columns, tuple(notes)


def _count(table: Table, name: str, counted: Counter[str]) -> None:
    """Count the values of a column, as long as there are few."""
    for block in table.blocks():
        for value, count in _values(block.table[name]).items():
            counted[value] += count
        if len(counted) > VALUES_AT_MOST:
            return


def _date_format(table: Table, name: str) -> str | None:
    """Find the format of a column of dates such as 13/05/2014; rows are read until some day decides it."""
    seen: dict[str, None] = {}
    for number, block in enumerate(table.blocks()):
        column = block.table[name]
        if not number and not any(map(is_day_or_month, _values(column.slice(0, FIRST_ROWS)))):
            return None
        seen |= dict.fromkeys(_values(column))
        dates = [text for text in seen if is_day_or_month(text)]
        if any(int(part) > 12 for text in dates for part in text.replace("-", "/").replace(".", "/").split("/")[:2]):
            return day_first(dates)
        seen = dict.fromkeys(dates[:FIRST_ROWS])  # one of each day at most decides nothing more
    return day_first(seen)


def _values(column: pa.ChunkedArray) -> dict[str, int]:
    """Count the distinct texts of a column; empty if it has none."""
    try:
        texts = column.cast(pa.binary()).cast(pa.string()) if pa.types.is_binary(column.type) else column
        texts = pc.utf8_trim_whitespace(texts.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return {}
    counted = pc.value_counts(texts.filter(pc.binary_length(texts).cast(pa.bool_())))
    return dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True))
