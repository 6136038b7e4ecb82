"""Detect how a CSV file is written from its beginning: the delimiter, whether there is a header, the columns' names."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw.copies import origin_name
from pipeline.core.raw.forms import HEAD_BYTES, Form
from pipeline.core.shop.mapping import TableForm

DELIMITERS = ("\t", ",", ";", "|", "\x01", "~", " ")
SNIFFED_ROWS = 200
NAMES_AT_MOST = 5_000
NAME_CHARACTERS = 200
TYPED = re.compile(r"^(.+):(token|token_seq|float|float_seq)$")  # RecBole's typed headers
_NUMBER_OR_DATE = re.compile(r"^\s*[-+]?\d[\d.,:/ TZeE+-]*\s*$")
_OPENING = re.compile(r"(?:[ \t]*(?:\r\n|\n|\r))*(?:sep=(?P<sep>[^\r\n])(?:\r\n|\n|\r))?(?:[ \t]*(?:\r\n|\n|\r))*")
_DOUBLE = re.compile(r"^[^:\r\n]+::[^:\r\n]+::", re.MULTILINE)
_DIGIT = re.compile(r"\d")
_PLAIN = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written."""

    delimiter: str
    quote: str
    header: bool
    names: tuple[str, ...]  # one per column, each once
    sample: tuple[tuple[str, ...], ...] = ()  # the values of some rows
    skipped: int = 0  # lines before the first row: blank ones, and Excel's `sep=;`


def dialect_of(path: Path, form: Form, table_form: TableForm, known: Iterable[str] = ()) -> Dialect:
    """Detect what `table_form` leaves open of a CSV file's dialect.

    Args:
        path: the file.
        form: its form, with the beginning of its text.
        table_form: what is known.
        known: names of columns, in the form of `plain`, by which a header is recognised.

    Raises:
        InputError: no delimiter splits the lines into columns.
    """
    text = form.head.lstrip("\ufeff")
    if len(form.head) >= HEAD_BYTES // 4:  # the last line may be cut
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    opening = _OPENING.match(text)
    skipped = opening[0].count("\n") or opening[0].count("\r") if opening else 0
    text = text[opening.end() :] if opening else text
    said = table_form.delimiter or (opening["sep"] if opening else None)
    tried = [said] if said else DELIMITERS
    found = [
        (_score(rows), delimiter, rows) for delimiter in tried if (rows := _rows(text, delimiter, table_form.quote))
    ]
    if not found:
        raise InputError(f"{origin_name(path)}: the file holds no lines; fetch it again or take it out of the input")
    (share, columns), delimiter, rows = max(found, key=lambda entry: entry[0])
    prose = delimiter == " " and (columns < 3 or share < 1)
    if not said and (columns < 2 or share < 0.5 or prose):
        if _DOUBLE.search(text[:1_000]):
            raise InputError(
                f'{origin_name(path)}: its values are separated by "::", and only one character is read; replace it'
                " by a tab, for example with: sed 's/::/\\t/g'"
            )
        raise InputError(
            f"{origin_name(path)}: is text, and neither JSON nor a table: no one delimiter splits its lines into"
            " columns. It begins"
            f' with\n  {printable(text.lstrip()[:200], 120)}\nName the delimiter in shop.toml (delimiter = ";"), or'
            " save it as CSV or JSON lines"
        )
    header = _has_header(rows, set(known)) if table_form.header is None else table_form.header
    width = max(Counter(map(len, rows[header:] or rows)).most_common(1)[0][0], len(rows[0]) if header else 0)
    if width > NAMES_AT_MOST:
        raise InputError(
            f"{origin_name(path)}: has {width:,} columns; at most {NAMES_AT_MOST:,} are read. Check the delimiter"
        )
    names = distinct(rows[0] if header else (), width)
    sample = tuple(tuple(row) for row in rows[header:] if len(row) == width)
    quote = "" if header and all(map(TYPED.match, rows[0])) else table_form.quote  # RecBole quotes nothing
    return Dialect(delimiter, quote, header, names, sample, skipped)


def distinct(names: Sequence[str], width: int) -> tuple[str, ...]:
    """Give every column a name of its own: a second `price` is `price#2`, one without a name its position."""
    typed = [TYPED.match(name.strip()) for name in names]
    if names and all(typed):
        names = [found[1] for found in typed if found]
    given: dict[str, None] = {}
    for place in range(width):
        name = names[place].strip()[:NAME_CHARACTERS] if place < len(names) else ""
        wanted, again = name or str(place + 1), 1
        while wanted in given:
            again += 1
            wanted = f"{name or place + 1}#{again}"
        given[wanted] = None
    return tuple(given)


def plain(name: str) -> str:
    """Reduce a column's name to what matters: `Customer ID` and `customer_id` are the same."""
    return _PLAIN.sub("", name.lower())


def _rows(text: str, delimiter: str, quote: str) -> list[list[str]]:
    """Split the beginning of the text into its first rows; empty if it cannot be split so."""
    quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    rows: list[list[str]] = []
    try:
        for row in csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote or '"', quoting=quoting
        ):
            if row:
                rows.append(row)
            if len(rows) >= SNIFFED_ROWS:
                break
    except csv.Error:  # a value longer than the sample: an unclosed quote
        pass
    return rows


def _score(rows: list[list[str]]) -> tuple[float, int]:
    """Return how many rows have the usual number of columns, and that number; one column is the worst."""
    columns, times = Counter(map(len, rows)).most_common(1)[0]
    return (round(times / len(rows), 1), columns) if columns > 1 else (0.0, 1)


def _has_header(rows: list[list[str]], known: set[str]) -> bool:
    """Return whether the first row has names: known ones, or texts where the other rows have numbers."""
    first = [cell.strip() for cell in rows[0]]
    if any(plain(cell) in known for cell in first) or all(TYPED.match(cell) for cell in first):
        return True
    return not any(_NUMBER_OR_DATE.match(cell) for cell in first) and not all(map(_DIGIT.search, first))
