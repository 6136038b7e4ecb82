"""Recognise from a file's beginning how its JSON is laid out: a line each, an array, documents, or in an envelope.

Layouts that cannot be read as rows are refused by name, with the mend. `documents.py` reads all but lines.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from pipeline.core.quoting import printable

LINES, ARRAY, DOCUMENTS, ENVELOPE = "lines", "array", "documents", "envelope"
AS_LINES = 'write it again with `orient="records", lines=True`'
# What may lie between documents; NULs are of crashed writers, 1E of RFC 7464.
BETWEEN = re.compile("[ \t\r\n\f\v,\ufeff\0\x1e]*")
BLANKS = re.compile("[ \t\r\n\f\v\ufeff\0\x1e]*")
ID_KEYS = ("reviewerID", "user_id", "asin", "parent_asin")
# Names of the list in an envelope whose elements have keys of their own.
LIST_KEYS = frozenset(
    [
        *("reviews", "products", "items", "data", "results", "records", "rows", "docs", "documents", "entries"),
        *("events", "interactions", "ratings", "response", "payload", "content", "values", "list"),
    ]
)
_SCRIPT = re.compile(r"export\s+default\s*[\[{]|(?:(?:var|let|const|window\.)\s*)?[A-Za-z_$][\w$.]*\s*(?:\(|=)\s*[\[{]")
_QUOTED = re.compile(r'"\[?\{(?:""|\\")[^"\\]+(?:""|\\")\s*:')
_MORE = re.compile(r'[}\]]"[ ]*[\t,;|][ ]*\S')  # another column behind it
WRAPPED_CHARACTERS = 1 << 18  # characters in which JSON inside of something else is looked for
WRAPPED_LINES = 50  # and lines
_NUMBERED = re.compile(r'\{\s*"0"\s*:')
_DECODER = json.JSONDecoder()


class RefusedLayoutError(Exception):
    """The layout cannot be read; the text names it and says how to mend it."""


def layout_of(text: str, *, whole: bool) -> str | None:
    """Return the layout of a file that begins with `text`; None if more of it must be seen.

    Whatever is not recognised is LINES, whose bad ones become rejects.

    Args:
        text: the beginning of the file.
        whole: whether that is all of it, or as much as may be looked at.

    Raises:
        RefusedLayoutError: it is a layout that cannot be read.
    """
    at = after(BLANKS, text, 0)
    first = text[at : at + 1]
    if first == "[":
        return _array(text, after(BLANKS, text, at + 1))
    if first == "{":
        return _objects(text, at) or (LINES if whole else None)
    if _SCRIPT.match(text, at):
        raise RefusedLayoutError(
            "it is a script (JavaScript, JSONP), not JSON; take away what stands before the first bracket and after"
            " the last"
        )
    return LINES if first or whole else None


def wrapping_of(text: str) -> str | None:
    """Name what surrounds the JSON in each line of a text that does not begin with it, with the mend; None if nothing.

    A table may have JSON in a column. It has none in its first row, where the names are.
    """
    lines = [
        line.strip(" \t\r\ufeff\0") for line in text[:WRAPPED_CHARACTERS].split("\n")[:WRAPPED_LINES] if line.strip()
    ]
    quoted = [line for line in lines[:2] if _QUOTED.match(line) and not _MORE.search(line)]
    if quoted:
        return (
            f"each line is JSON as a text in quotes ({printable(quoted[0], 60)}), not JSON itself; take the quotes"
            " away, for example with jq: jq -c fromjson, or if quotes are doubled, read it as CSV and write the"
            " values of that column"
        )
    prefix = lines[0].partition("{")[0] if lines else ""
    ending = [line for line in lines if _has_object_at_end(line)]
    if prefix and lines[0] in ending[:1] and len(ending) * 2 > len(lines):
        return (
            f"each line has a text before its JSON ({printable(prefix, 60)!r} in the first), so it is neither JSON nor"
            " a table; take that text away, for example with: sed 's/^[^{]*//'"
        )
    return None


def _has_object_at_end(line: str) -> bool:
    """Return whether a line ends with a JSON object of several keys."""
    at = line.find("{")
    try:
        return at >= 0 and len(dict(json.loads(line[at:]))) > 1
    except (ValueError, TypeError, RecursionError):
        return False


def _objects(text: str, at: int) -> str | None:
    """Recognise the layout of a text that begins with an object at `at`."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        is_wrapped = list_in(text, at) is not None  # in an envelope that continues, or is damaged
        if is_cut(error, text) and not is_wrapped:
            return _unfinished(text, at)
        return ENVELOPE if is_wrapped else LINES
    if not value:
        return LINES
    refuse_columns(value)
    newline = text.find("\n", end)
    rest = text[end : newline if newline >= 0 else None].strip(" \t\f\v,\ufeff\0\x1e").lstrip("\r")
    followed = rest.startswith("{")
    is_row = any(key in value for key in ID_KEYS)
    found = None if is_row or (rest and not followed) else list_in(text, at)
    # A shop's rows may hold lists too; they must not be taken for an envelope.
    if found is not None and (_is_row(text, after(BLANKS, text, found + 1), "") or not text[end:].strip()):
        return ENVELOPE
    if "\n" in text[at:end] or "\r" in text[at:end] or followed:
        return DOCUMENTS
    return LINES if newline >= 0 or rest else None


def is_cut(error: Exception, text: str) -> bool:
    """Return whether JSON that does not parse may be cut by the end of `text`."""
    # Except for a string, no incomplete token is longer than `-Infinity`.
    return isinstance(error, json.JSONDecodeError) and (
        error.msg.startswith("Unterminated") or error.pos > len(text) - 10
    )


def _array(text: str, at: int) -> str:
    opening = text[at : at + 1]
    if opening == "[" and text[after(BLANKS, text, at + 1) :][:1] not in ("[", "]"):
        raise RefusedLayoutError(
            f"it is an array of arrays, whose fields have no names (pandas: orient='values'); {AS_LINES}"
        )
    return ARRAY if opening in ("{", "", "]") else LINES


def _unfinished(text: str, at: int) -> None:
    """Refuse an object that does not end in `text` if its first value shows that it is one of columns."""
    try:
        key, value = next(_fields(text, at))
    except (ValueError, RecursionError):
        return
    if text[value : value + 1] == "{" and (key in ID_KEYS or _NUMBERED.match(text, value)):
        refuse_columns({key: {"0": None}})
    if text[value : value + 1] == "[" and key in ID_KEYS:
        refuse_columns({key: [None]})


def refuse_columns(value: dict[str, Any]) -> None:
    """Refuse an object that holds columns or rows by their number, as `DataFrame.to_json` writes by default."""
    if set(value) <= {"columns", "index", "data"} and isinstance(value.get("data"), list) and "columns" in value:
        raise RefusedLayoutError(f"it is one table in pandas' orient='split', which is not read; {AS_LINES}")
    if all(isinstance(column, dict) for column in value.values()):
        inner = [set(column) for column in value.values()]
        numbered = all(name.isdecimal() for names in inner for name in names) and all(inner)
        if numbered or any(key in value for key in ID_KEYS):
            raise RefusedLayoutError(
                "it is one object of columns (the default of DataFrame.to_json), so nothing of it could be read as"
                f" rows; {AS_LINES}"
            )
        if all(key.isdecimal() for key in value) or all(map(has_ids, value.values())):
            raise RefusedLayoutError(
                f"it is one object of rows by their number or id (pandas: orient='index'); {AS_LINES}"
            )
    if all(isinstance(column, list) for column in value.values()) and any(key in value for key in ID_KEYS):
        raise RefusedLayoutError(f"it is one object of columns, each a list, which is not read; {AS_LINES}")


def list_in(text: str, at: int, depth: int = 0) -> int | None:
    """Find where the list of an envelope begins; None if the object at `at`, which `text` may cut, is no envelope.

    It is the first list, of the object or of an object in it, whose first element has the ids of a review or product,
    or whose name tells it.
    """
    try:
        for key, value in _fields(text, at):
            if depth == 0 and key in ID_KEYS:
                break  # it is a review or a product itself
            if text[value : value + 1] == "[":
                inner = after(BLANKS, text, value + 1)
                if text[inner : inner + 1] == "{" and _is_row(text, inner, key):
                    return value
            elif text[value : value + 1] == "{" and not depth and (found := list_in(text, value, 1)) is not None:
                return found
    except (ValueError, RecursionError):  # damaged, or incomplete in the text
        pass
    return None


def _fields(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Yield the keys of the object at `at`, each with where its value begins; ValueError where it does not parse."""
    mark = "{"
    while text[at : at + 1] == mark:
        key, at = _DECODER.raw_decode(text, after(BLANKS, text, at + 1))
        at = after(BLANKS, text, at)
        if not isinstance(key, str) or text[at : at + 1] != ":":
            raise ValueError("no key")
        at = after(BLANKS, text, at + 1)
        yield key, at
        at = after(BLANKS, text, _DECODER.raw_decode(text, at)[1])
        mark = ","


def _is_row(text: str, at: int, name: str) -> bool:
    try:
        element, _ = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return name in LIST_KEYS
    return name in LIST_KEYS or has_ids(element)


def has_ids(element: object) -> bool:
    """Return whether an object has a product's id, as reviews and products have."""
    return isinstance(element, dict) and ("asin" in element or "parent_asin" in element)


def after(blanks: re.Pattern[str], text: str, at: int) -> int:
    """Return the first position from `at` on that `blanks` does not match."""
    found = blanks.match(text, at)
    return found.end() if found else at
