"""Describe the rows of a database's table, which SQLite and PostgreSQL give alike, and choose a table by its name."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw.database_urls import shown

ROWS_AT_ONCE = 10_000  # fetched, held and written at once
VALUE_BYTES = 64 << 20  # of SQLite's longest value
_NAMED_AT_MOST = 20  # tables in a message


@dataclass(frozen=True)
class Rows:
    """A table at one moment."""

    table: str
    names: tuple[str, ...]  # of its columns
    kind: pa.DataType  # of all its columns: binary or string
    version: str  # two equal ones mean equal rows; empty if the database cannot say
    batches: Callable[[], Iterator[Sequence[Sequence[bytes | str | None]]]]  # values by column


def chosen(url: str, wanted: str, tables: Sequence[str], all_names: Sequence[str]) -> str:
    """Choose the table that is wanted; without a name the only table, or else the only view.

    Raises:
        InputError: there is none, or several; the message lists them.
    """
    if wanted in all_names:
        return wanted
    only = tables or all_names
    if not wanted and len(only) == 1:
        return only[0]
    listed = ", ".join(printable(name, 60) for name in all_names[:_NAMED_AT_MOST]) or "none"
    more = f" and {len(all_names) - _NAMED_AT_MOST:,} more" if len(all_names) > _NAMED_AT_MOST else ""
    what = f"there is no table {printable(wanted, 60)!r} that can be read" if wanted else "names no table"
    example = f"{shown(url).partition('?')[0]}?table={all_names[0] if all_names else 'NAME'}"
    raise InputError(
        f"{shown(url)}: {what}; name one with ?table=NAME, for example {printable(example, 300)}. Its tables and views"
        f" are: {listed}{more}"
    )
