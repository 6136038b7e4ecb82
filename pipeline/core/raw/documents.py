"""Read JSON that is not one object a line, as rows of one line each: arrays, envelopes, objects over several lines.

Memory holds a chunk and one object. `json` parses the objects, because a streaming parser (ijson) refuses NaN and
integers over 64 bits, which JSON lines may hold, and its memory is quadratic in an object's depth.
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.core.raw.shapes import BETWEEN, BLANKS, after, has_ids, is_cut, list_in
from pipeline.core.raw.spans import object_end

_DECODER = json.JSONDecoder()


class Row(NamedTuple):
    """An object (or, if damaged, whatever is there) as one line with its newline, and its number."""

    text: str
    number: int


class DamagedDocumentError(Exception):
    """The text does not parse as the layout that it begins as."""


class Source:
    """The part of a text that has been read but not taken: `text` from `at` on."""

    def __init__(self, pieces: Iterator[str], limit: int, line: int = 1) -> None:
        self._pieces, self.limit = pieces, limit
        self.text, self.at, self.ended = "", 0, False
        self.line = line  # number of the line at `at`
        self.line_end = ""  # a carriage return only where the first piece has no newline

    def more(self) -> bool:
        """Read on; return False at the end or if more than `limit` characters wait. Positions become invalid."""
        if self.ended or len(self.text) - self.at > self.limit:
            return False
        piece = next(self._pieces, None)
        self.ended = piece is None
        self.text, self.at = self.text[self.at :] + (piece or ""), 0
        self.line_end = self.line_end or ("\n" if "\n" in self.text or "\r" not in self.text else "\r")
        return not self.ended

    def take(self, end: int) -> str:
        """Take the text up to the position `end`, and count its lines."""
        taken = self.text[self.at : end]
        self.line += taken.count(self.line_end) if taken else 0
        self.at = end
        return taken

    def pass_over(self, blanks: re.Pattern[str] = BLANKS) -> str:
        """Take all that `blanks` matches; return the next character, or "" at the end."""
        while True:
            self.take(after(blanks, self.text, self.at))
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]


def array_rows(source: Source) -> Iterator[Row]:
    """Yield the elements of the array at the source's position, by their place in it; a last comma is ignored.

    Raises:
        DamagedDocumentError: an element is damaged or too long, or the array does not end.
    """
    source.take(source.at + 1)
    count = 0
    while source.pass_over() != "]":
        try:
            line, end = _element(source.text, source.at, source.limit)
        except (ValueError, RecursionError) as error:  # damage, or the element continues in the next piece
            if source.more():
                continue
            problem = str(getattr(error, "msg", error))
            if source.text[source.at : source.at + 2] == "{'":
                problem = "it is a Python list, which `json.dump` writes as JSON"
            raise DamagedDocumentError(
                f"begins as a JSON array but does not parse at element {count + 1:,} ({problem}); save it as JSON lines"
            ) from error
        count += 1
        comma = source.text[end] == ","
        source.take(end + 1 if comma else end)
        yield Row(line, count)
    source.take(source.at + 1)


def whole_array(source: Source) -> Iterator[Row]:
    """Yield the elements of a file that is one array.

    Raises:
        DamagedDocumentError: as for `array_rows`, or something follows the array.
    """
    source.pass_over()
    count = 0
    for row in array_rows(source):
        count = row.number
        yield row
    if source.pass_over():
        raise DamagedDocumentError(
            f"begins as a JSON array but does not parse at element {count + 1:,} (something follows its closing"
            f" bracket: {source.text[source.at :].strip()[:20]!r}); save it as JSON lines"
        )


def envelopes(source: Source) -> Iterator[Row]:
    """Yield the elements of the list in each of consecutive objects, numbered through.

    Raises:
        DamagedDocumentError: an object is damaged, has several lists of rows, or too much besides the list.
    """
    number = 0
    while source.pass_over(BETWEEN):
        start = list_in(source.text, source.at)
        if start is None:
            if source.more():
                continue
            start = list_in(source.text, source.at)
        if start is None:
            raise DamagedDocumentError(
                f"is wrapped in an object, but after row {number:,} follows one without a list of rows:"
                f" {source.text[source.at :].strip()[:40]!r}; save it as JSON lines"
            )
        before = source.take(start)
        for row in array_rows(source):
            number += 1
            yield Row(row.text, number)
        seen = 1 << 12  # usually little follows the list
        while True:
            try:
                value, end = _DECODER.raw_decode(before + "[]" + source.text[source.at : source.at + seen])
                break
            except (ValueError, RecursionError) as error:
                seen *= 8
                if source.at + seen // 8 >= len(source.text) and not source.more():
                    raise DamagedDocumentError(
                        f"is wrapped in an object that does not parse after the last of its {number:,} rows"
                        f" ({getattr(error, 'msg', error)}); save it as JSON lines"
                    ) from error
        if other := _lists(value):
            raise DamagedDocumentError(
                f"is wrapped in an object with several lists of rows (also {', '.join(map(repr, other))}); save the"
                " list that is meant as JSON lines in a file of its own"
            )
        source.take(source.at + end - len(before) - 2)


def _lists(value: dict, depth: int = 0) -> list[str]:
    """Name the lists of rows in an object and in objects within it."""
    found = [key for key, each in value.items() if isinstance(each, list) and any(map(has_ids, each))]
    inner = [each for each in value.values() if isinstance(each, dict)] if not depth else []
    return [key[:40] for key in found] + [key for each in inner for key in _lists(each, 1)]


def documents(source: Source) -> Iterator[Row]:
    """Yield objects however they follow each other, by the number of the line on which each begins.

    What is no object becomes a row up to the next line that begins with a brace, so that damage costs one row.
    """
    while source.pass_over(BETWEEN):
        number = source.line
        if source.text[source.at] == "{":
            end, is_cut = _object(source.text, source.at)
            if end:
                yield Row(_one_line(source.take(end)), number)
                continue
            if is_cut and source.more():
                continue
        while not (end := _next_object(source)) and source.more():
            pass
        yield Row(_blanked(source.take(end or len(source.text))), number)


def _next_object(source: Source) -> int:
    """Find the next line that begins with a brace, after the position; 0 if there is none in the text."""
    return source.text.find(source.line_end + "{", source.at) + 1


def _object(text: str, at: int) -> tuple[int, bool]:
    """Return where the object at `at` ends, 0 if it is damaged or incomplete, and whether it may be incomplete."""
    size = 1 << 12  # an error takes time in proportion to the text before it, so look at little
    while True:
        seen = text[at : at + size]
        try:
            return at + _DECODER.raw_decode(seen)[1], False
        except json.JSONDecodeError as error:
            if at + size >= len(text) or not is_cut(error, seen):
                return 0, is_cut(error, seen)
        except (
            ValueError,
            RecursionError,
        ):  # too deep, or a number of thousands of digits; the parser of lines decides
            end = _end_of_deep(text, at)
            return end, not end
        size *= 8


def _end_of_deep(text: str, at: int) -> int:
    """Return where an object or list ends by its brackets; 0 if it does not."""
    size = 1 << 14
    while True:
        data = text[at : at + size].encode()
        end = object_end(data, 0)
        if end is not None:
            return at + len(data[:end].decode())
        if at + size >= len(text):
            return 0
        size *= 4


def _one_line(text: str) -> str:
    if "\n" not in text and "\r" not in text:
        return text + "\n"
    try:
        return json.dumps(json.loads(text)) + "\n"
    except (ValueError, RecursionError):
        return _blanked(text)


def _blanked(text: str) -> str:
    return text.strip().replace("\n", " ").replace("\r", " ") + "\n"


def _element(text: str, at: int, limit: int) -> tuple[str, int]:
    """Return the array element at `at` as a line as `json` writes it, and the position of the comma or bracket behind.

    Raises ValueError or RecursionError if it is damaged, too long, or incomplete in `text`.
    """
    try:
        element, end = _DECODER.raw_decode(text, at)
        line = json.dumps(element)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError):  # too deep, or a number of thousands of digits; the parser of lines decides
        end = _end_of_deep(text, at)
        if not end:
            raise
        line = text[at:end].replace("\n", " ").replace("\r", " ")
    behind = after(BLANKS, text, end)
    if text[behind : behind + 1] not in (",", "]"):  # also at the end of the text, where `12` may continue as `1234`
        raise ValueError("a comma or the closing bracket is missing")
    if end - at > limit:
        raise ValueError(f"the next is longer than {limit:,} characters")
    return line + "\n", behind
