"""Detect how a CSV file is written from its beginning: the delimiter, whether there is a header, the columns' names."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw.copies import origin_name
from pipeline.core.raw.forms import HEAD_BYTES, Form
from pipeline.core.shop.mapping import TableForm

DELIMITERS = ("\t", ",", ";", "|", "\x01", "~", " ")
NAMING = ("user", "item", "time", "rating", "pictures", "kind", "id", "variant", "title", "categories", "price")
UNSHAPED_COLUMNS = 5  # a line of a table without any column of a kind is known by so many values
SHAPED_ROWS = 5
SHAPED = 0.95  # share of a column's values by which its shape is known
SNIFFED_ROWS = 200
NAMES_AT_MOST = 5_000
NAME_CHARACTERS = 200
TYPED = re.compile(r"^(.+):(token|token_seq|float|float_seq)$")  # RecBole's typed headers
_NUMBER_OR_DATE = re.compile(r"^\s*[-+]?\d[\d.,:/ TZeE+-]*\s*$")
_OPENING = re.compile(r"(?:[ \t]*(?:\r\n|\n|\r))*(?:sep=(?P<sep>[^\r\n])(?:\r\n|\n|\r))?(?:[ \t]*(?:\r\n|\n|\r))*")
_DOUBLE = re.compile(r"^[^:\r\n]+::[^:\r\n]+::", re.MULTILINE)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)")
_NAMES_APART = re.compile("[\t,;|\x01~]")
_BLANK = re.compile(r"\s")
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
    skipped: int = 0  # lines before the first row: blank ones, comments, and Excel's `sep=;`
    cells: tuple[str, ...] = ()  # the header as it is written
    shapes: tuple[str, ...] = ()  # of each column: "number" or "word" if almost all its values are, else ""


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
    given = [name for name in _given_names(table_form) if not name.isdigit()]
    known = {*known, *map(plain, given), *(name.strip().casefold() for name in given)} - {""}
    text = form.head.lstrip("\ufeff").rstrip("\0")
    if len(form.head) >= HEAD_BYTES // 4:  # the last line may be cut
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    said, start = _opening(text, known)
    skipped = text.count("\n", 0, start) or text.count("\r", 0, start)
    text, said = text[start:], table_form.delimiter or said
    tried = [said] if said else DELIMITERS
    names = known if table_form.header is not False else set()
    found = [
        (_score(rows, delimiter, names), delimiter, rows)
        for delimiter in tried
        if (rows := _rows(text, delimiter, table_form.quote))
    ]
    if not found:
        raise InputError(f"{origin_name(path)}: the file holds no lines; fetch it again or take it out of the input")
    score, delimiter, rows = max(found, key=lambda entry: entry[0])
    prose = delimiter == " " and not score.names and (score.columns < 3 or score.share < 1)
    if not said and (score.columns < 2 or score.share < 0.5 or prose):
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
    header = _has_header(rows, known) if table_form.header is None else table_form.header
    cells = tuple(rows[0]) if header else ()
    width = max(Counter(map(len, rows[header:] or rows)).most_common(1)[0][0], len(cells))
    if width > NAMES_AT_MOST:
        raise InputError(
            f"{origin_name(path)}: has {width:,} columns; at most {NAMES_AT_MOST:,} are read. Check the delimiter"
        )
    sample = tuple(tuple(row) for row in rows[header:] if len(row) == width)
    if len(cells) == width - 1 and any(row[-1].strip() for row in sample):
        raise InputError(
            f"{origin_name(path)}: the first row has {len(cells):,} names ({printable(', '.join(cells), 200)}) for"
            f" {width:,} values in each row, as R's write.table writes row names, so it is unclear which column has"
            " none. Write a name for every column (in R: write.csv(..., row.names = FALSE))"
        )
    quote = "" if header and all(map(TYPED.match, cells)) else table_form.quote  # RecBole quotes nothing
    shown: Sequence[Sequence[str]] = sample
    if len(sample) < SHAPED_ROWS:  # perhaps an open quote swallowed the others
        shown = [row for row in _rows(text, delimiter, "")[header:] if len(row) == width] or sample
    shapes = tuple(map(_shape, zip(*shown, strict=True))) if shown else ("",) * width
    return Dialect(delimiter, quote, header, distinct(cells, width), sample, skipped, cells, shapes)


def reads_as_row(line: str, dialect: Dialect) -> bool:
    """Return whether a line, read without quotes, has as many values as there are columns, each of its column's kind.

    A column is of a kind if almost all its values are numbers, or have no blanks.
    """
    values = line.rstrip("\r").split(dialect.delimiter)
    if len(values) != len(dialect.shapes):
        return False
    if not any(dialect.shapes):
        return len(values) >= UNSHAPED_COLUMNS
    return all(
        not wanted or _shape([value]) in (wanted, "number")
        for wanted, value in zip(dialect.shapes, values, strict=True)
    )


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


class _Score(NamedTuple):
    """How well a delimiter splits the rows; the greatest is the best."""

    several: bool  # whether there is more than one column
    names: int  # known names in the first row, if the other rows are as wide
    wide: bool  # whether the first row is as wide as the others
    share: float  # of the rows with the usual number of columns
    columns: int  # that number


def _score(rows: list[list[str]], delimiter: str, known: Set[str]) -> _Score:
    """Judge rows by how alike they are, and by their first row: a wrong delimiter hardly splits a header into names."""
    columns, times = Counter(map(len, rows)).most_common(1)[0]
    first = rows[0]
    if columns == 1:
        return _Score(False, 0, False, 0.0, 1)
    others = set(DELIMITERS) - {delimiter, " "}
    mixed = [bool(others & set(cell)) for cell in first]
    names = _known_of((cell for cell, of_other in zip(first, mixed, strict=True) if not of_other), known)
    if columns - len(first) not in (0, 1) or (delimiter == " " and any(mixed)):
        names = 0
    return _Score(True, names, len(first) == columns, round(times / len(rows), 1), columns)


def _shape(values: Iterable[str]) -> str:
    """Return what almost all values of a column are: "number", "word" (no blanks), or "" if neither."""
    values = [value.strip().strip('"') for value in values]
    enough = SHAPED * len(values)
    if sum(map(bool, map(_NUMBER_OR_DATE.match, values))) >= enough:
        return "number"
    return "word" if sum(bool(value) and not _BLANK.search(value) for value in values) >= enough else ""


def _opening(text: str, known: Set[str]) -> tuple[str | None, int]:
    """Find the first row, behind blank lines and Excel's `sep=;`, whose delimiter comes first in the result.

    Lines with `#` are passed too, if a line with known names follows.
    """
    found = _OPENING.match(text)
    said, start = (found["sep"], found.end()) if found else (None, 0)
    at = start
    while (line := _LINE.match(text, at)) and (names := _known_of(_NAMES_APART.split(line[0]), known)) < 2:
        if line[0].strip() and not line[0].startswith("#"):
            return said, at if names else start
        at = line.end()
    return said, at if line else start


def _known_of(cells: Iterable[str], known: Set[str]) -> int:
    """Count the cells that are known names."""
    return sum(plain(cell) in known or cell.strip().casefold() in known for cell in cells)


def _given_names(table_form: TableForm) -> Iterator[str]:
    """Yield the names of columns in a shop.toml."""
    for role in NAMING:
        named = getattr(table_form, role, None)
        yield from [named] if isinstance(named, str) else named or ()
    yield from (column for _, column in getattr(table_form, "attributes", None) or ())


def _has_header(rows: list[list[str]], known: Set[str]) -> bool:
    """Return whether the first row has names: known ones, or texts where the other rows have numbers."""
    first = [cell.strip() for cell in rows[0]]
    if _known_of(first, known) or all(TYPED.match(cell) for cell in first):
        return True
    return not any(_NUMBER_OR_DATE.match(cell) for cell in first) and not all(map(_DIGIT.search, first))
