"""Parse requests to the served recommender: each row is accepted, or refused with its number, field and reason.

MLflow parses JSON, CSV or Parquet to a table without checks. Unknown columns are refused, because a row with a misspelt
`user_id` would otherwise be answered as if it named no user.
"""

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.core.quoting import printable

DEFAULT_K, MOST_K = 10, 10_000
EXACT = 2**53  # from here on, different whole numbers may be equal as floats, and two users would become one
COLUMNS = ("user_id", "k", "exclude_seen", "class", "picture", "title", "categories")
FORM = 'send {"dataframe_records": [{"user_id": "..."}, ...]} (docs/serving.md)'


class RefusedRequestError(ValueError):
    """The request is invalid; the message names the row, the field and the reason."""


@dataclass(frozen=True)
class Request:
    """A request for a user, for a new item, or for both."""

    user_id: str | None  # None: the picture is scored with the mean user's factors
    k: int
    exclude_seen: bool
    garment_class: str | None
    picture: bytes | None
    title: str | None  # of the new item
    categories: tuple[str, ...] | None  # its category path, broad to narrow


def read(asked: Any) -> list[Request]:
    """Parse the rows of a request, in order.

    Args:
        asked: a frame with some of COLUMNS, or a list of mappings; a null cell counts as missing.

    Raises:
        RefusedRequestError: the request has another form, or a row is invalid.
    """
    if isinstance(asked, list) and all(isinstance(row, dict) for row in asked):
        columns = {name: [_bare(row.get(name)) for row in asked] for name in dict.fromkeys(k for r in asked for k in r)}
    elif isinstance(asked, pd.DataFrame):
        if not asked.columns.is_unique:
            raise RefusedRequestError(
                f"{_names(asked.columns[asked.columns.duplicated()])}: each column may occur once"
            )
        columns = {name: asked[name].tolist() for name in asked.columns}
    else:
        raise RefusedRequestError(f"rows with named columns were expected, not {type(asked).__name__}: {FORM}")
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise RefusedRequestError(f"{_names(unknown)}: no column of a request; there are: {', '.join(COLUMNS)}")
    if not len(asked):
        raise RefusedRequestError(f"the request has no row: {FORM}")
    return [_row(number, {name: columns[name][number] for name in columns}) for number in range(len(asked))]


def _row(number: int, cells: dict[str, Any]) -> Request:
    def read_by(reader: Callable[[Any], Any], name: str, otherwise: Any) -> Any:
        value = cells.get(name)
        try:
            return otherwise if _missing(value) else reader(value)
        except ValueError as error:
            shown = name if name == "picture" else f"{name}={printable(repr(_plain(value)), 60)}"
            raise RefusedRequestError(f"row {number}: {shown}: {error}") from error

    request = Request(
        user_id=read_by(_user_id, "user_id", None),
        k=read_by(_k, "k", DEFAULT_K),
        exclude_seen=read_by(_flag, "exclude_seen", True),
        garment_class=read_by(_class, "class", None),
        picture=read_by(_picture, "picture", None),
        title=read_by(_title, "title", None),
        categories=read_by(_categories, "categories", None),
    )
    for name in ("title", "categories"):
        if getattr(request, name) is not None and request.picture is None:
            raise RefusedRequestError(f"row {number}: {name}: it describes a new item, and there is no picture of one")
    if request.user_id is None and request.picture is None:
        raise RefusedRequestError(
            f"row {number}: user_id: missing or null, and there is no picture: name one of them at least"
        )
    return request


def _user_id(value: Any) -> str:
    """Parse an id; a whole number is one too, which pandas turns into a float if another row lacks it."""
    if isinstance(value, float) and value.is_integer():
        if abs(value) >= EXACT:
            raise ValueError("came as a float, which cannot represent every id exactly: send it as text")
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("text or a whole number was expected")
    return _text(str(value))


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not Unicode: it has half of a surrogate pair") from None
    return text


def _title(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text was expected")
    return _text(value)


def _categories(value: Any) -> tuple[str, ...]:
    """Parse a category path: a list, or a numpy array where MLflow made one of it."""
    steps = _plain(value)
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) for step in steps):
        raise ValueError("a list of category names was expected, broad to narrow")
    return tuple(_text(step) for step in steps)


def _k(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise ValueError("a whole number was expected")
    if not 1 <= value <= MOST_K:
        raise ValueError(f"a number from 1 to {MOST_K:,} was expected")
    return int(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false was expected")
    return value


def _class(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a garment class's name was expected")
    return value


def _picture(value: Any) -> bytes:
    """Decode a picture from base64 text; return bytes as they are."""
    if isinstance(value, bytes) and value:
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("base64 text was expected")
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except ValueError as error:
        raise ValueError(f"not base64 ({error})") from error


def _bare(value: Any) -> Any:
    """Unwrap a value from the numpy array or scalar in which MLflow puts each of `inputs`."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def _plain(value: Any) -> Any:
    """Convert a numpy array, in which MLflow puts a list, to a list."""
    return value.tolist() if hasattr(value, "tolist") else value


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _names(names: Any) -> str:
    return printable(", ".join(repr(name) for name in names))
