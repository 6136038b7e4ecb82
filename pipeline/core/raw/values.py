"""Read ids, times ratings and prices from text columns, whatever a shop's export made of them.

Every function takes an Arrow column of text (all but ids also of numbers) and works on whole columns; the usual
case, plain numbers, is one cast. Which column is which, and what becomes of a row, is decided elsewhere.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrow import scalar, to_arrow, to_numpy
from pipeline.core.raw.price_text import price_of

TIMES = (0, 4_102_444_800)  # Unix seconds from 1970 to 2100
RATINGS = (0, 100)  # covers stars and every usual scale
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# A number between two units, e.g. 9,999,999,999, is neither seconds before 2100 nor milliseconds after 1973.
FROM_1973 = 10**8
DATES = (1970_01_01, 2099_12_31)  # numbers of eight digits that are a day of the calendar are dates
MISSING = ("", "null", "none", "nan", "nat", "na", "n/a", "\\n")  # in lower case; `\N` is how databases export NULL
MOMENT_CHARACTERS = 64  # no date is longer

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+|[iI]nf(inity)?)([eE][+-]?[0-9]+)?$"
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_LOCAL, _ZONED = f"{_DAY}({_CLOCK})?$", f"{_DAY}{_CLOCK}(Z|[+-][0-9]{{2}}:?[0-9]{{2}})$"
_WRAPPED = r'^\{\s*"\$(?:date|numberLong|numberInt|numberDouble|numberDecimal)"\s*:\s*(.*?)\s*\}$'  # MongoDB's exports
# Other ways to write a moment that can be read in one way only; 03/04/2014 cannot.
FORMATS = (
    "%m %d, %Y",  # Amazon's reviewTime
    "%a %b %d %H:%M:%S %z %Y",  # Goodreads, Twitter
    "%a, %d %b %Y %H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %b %Y",
    "%d %B %Y",
)


@dataclass(frozen=True)
class Times:
    """The times of a column [n]; a value is null where it is missing, unreadable or out of range."""

    seconds: pa.Array  # int64, Unix seconds, rounded down
    unreadable: pa.Array  # bool
    out_of_range: pa.Array  # bool; outside TIMES
    units: Counter[str]  # values read as each of s, ms, us, ns, date, or text


def ids(column: pa.Array | pa.ChunkedArray, width: int | None = None) -> pa.Array | pa.ChunkedArray:
    """Trim ids; null if the text is blank, or the JSON of a list or an object.

    A whole number written as a float, as pandas writes a column with a gap, becomes that integer. `width` pads ids of
    digits alone with zeros on the left.
    """
    text = pc.utf8_trim_whitespace(column)
    blank = pc.invert(pc.binary_length(text).cast(pa.bool_()))
    none = pc.or_(blank, pc.or_(pc.starts_with(text, "["), pc.starts_with(text, "{")))
    if pc.any(none).as_py():
        text = pc.if_else(none, None, text)
    if pc.any(pc.ends_with(text, ".0")).as_py() or pc.any(pc.ends_with(text, ".00")).as_py():
        text = pc.replace_substring_regex(text, r"^([+-]?[0-9]+)\.0+$", r"\1")
    if width:
        text = pc.if_else(pc.match_substring_regex(text, "^[0-9]+$"), pc.utf8_lpad(text, width, "0"), text)
    return text


def times(column: pa.Array | pa.ChunkedArray, unit: str = "auto", zone: str = "UTC") -> Times:
    """Read moments as Unix seconds.

    Args:
        column: texts or numbers.
        unit: "auto" derives the unit of each number from its magnitude, and reads eight digits as a date, ISO 8601 and
            other unambiguous ways to write a moment, and MongoDB's {"$date": ...}. "s", "ms", "us" or "ns" read numbers
            alone, "iso" ISO 8601 alone, and anything else is a format of `datetime.strptime`.
        zone: of moments that name none, as in the IANA database.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_temporal(array.type):
        array = array.cast(pa.timestamp("us", getattr(array.type, "tz", None))).cast(pa.int64())
        unit = "us"
    numeric = unit == "auto" or unit in UNITS
    plain = _plain_numbers(array) if numeric else None
    if plain is not None:
        return _moments_of_numbers(plain, unit)
    text = _present(array)
    count, given = len(text), to_numpy(text.is_valid())
    seconds, known, outside = np.zeros(count, np.int64), np.zeros(count, bool), np.zeros(count, bool)
    units: Counter[str] = Counter()
    numbers = np.zeros(count, bool)
    if numeric:
        numbers = _matching(text, _NUMBER)
        of_numbers = _moments_of_numbers(_numbers(text.filter(to_arrow(numbers))), unit)
        units = of_numbers.units
        known[numbers] = to_numpy(of_numbers.seconds.is_valid())
        seconds[numbers] = to_numpy(of_numbers.seconds.fill_null(scalar(0)))
        outside[numbers] = to_numpy(of_numbers.out_of_range)
    words = np.flatnonzero(given & ~numbers)
    if len(words) and unit not in UNITS:
        distinct = text.take(to_arrow(words)).dictionary_encode()  # a shop has few days
        found, read = _moments_of_texts(distinct.dictionary, unit, ZoneInfo(zone))
        place = to_numpy(distinct.indices)
        within = (found >= TIMES[0]) & (found <= TIMES[1])
        seconds[words], known[words] = found[place], (read & within)[place]
        outside[words] = (read & ~within)[place]
        units["text"] += int(known[words].sum())
    return Times(to_arrow(seconds, known), to_arrow(given & ~known & ~outside), to_arrow(outside), +units)


def ratings(column: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Read numbers, also with a decimal comma: (float64 with nulls, unreadable, outside RATINGS)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    plain = _plain_numbers(array)
    unreadable = np.zeros(len(array), bool)
    if plain is None:
        text = _present(array)
        text = pc.replace_substring_regex(text, r"^([+-]?[0-9]+),([0-9]+)$", r"\1.\2")
        numbers = _matching(text, _NUMBER)
        unreadable = to_numpy(text.is_valid()) & ~numbers
        values, known = np.zeros(len(text)), numbers
        values[numbers] = to_numpy(_numbers(text.filter(to_arrow(numbers))))
    else:
        values, known = _values(plain.cast(pa.float64(), safe=False))
    within = (values >= RATINGS[0]) & (values <= RATINGS[1])
    return to_arrow(values, known & within), to_arrow(unreadable), to_arrow(known & ~within)


def prices(column: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Read prices: (float64 with nulls, unreadable).

    A price may have a currency and a decimal comma (`price_text.py`); it is not negative.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    plain = _plain_numbers(array)
    if plain is None:
        array = _present(array)
        plain = _plain_numbers(pc.replace_substring_regex(array, r"^\p{Sc}([0-9]+\.[0-9]{1,2})$", r"\1"))
    if plain is not None:
        numbers, known = _values(plain.cast(pa.float64(), safe=False))
        read = known & (numbers >= 0) & np.isfinite(numbers)
        return to_arrow(numbers, read), to_arrow(known & ~read)
    distinct = array.dictionary_encode()  # many products have the same price
    of_text = pa.array([price_of(text) for text in distinct.dictionary.to_pylist()], pa.float64())
    found = of_text.take(distinct.indices)
    return found, pc.and_not(distinct.is_valid(), found.is_valid())


def _plain_numbers(array: pa.Array) -> pa.Array | None:
    """Cast a column to int64 or float64; None if any of its values is not a plain number."""
    if pa.types.is_floating(array.type) or array.type == pa.int64():
        return array
    for kind in (pa.int64(), pa.float64()):
        try:
            return array.cast(kind)
        except pa.ArrowInvalid:
            continue
    return None


def _present(array: pa.Array) -> pa.Array:
    """Trim texts, unwrap MongoDB's values, and replace words for a missing value (MISSING) by null."""
    text = pc.utf8_trim_whitespace(array)
    if pc.any(pc.starts_with(text, "{")).as_py():
        for _ in range(2):  # {"$date": {"$numberLong": "..."}}
            text = pc.replace_substring_regex(text, _WRAPPED, r"\1")
        text = pc.utf8_trim(text, '"')
    missing = pc.is_in(pc.utf8_lower(text), to_arrow(MISSING).cast(text.type))
    return pc.if_else(missing, None, text)


def _matching(text: pa.Array, pattern: str) -> np.ndarray:
    return to_numpy(pc.match_substring_regex(text, pattern).fill_null(scalar(False)))


def _numbers(text: pa.Array) -> pa.Array:
    """Convert texts that match _NUMBER."""
    plain = _plain_numbers(text)
    # Arrow refuses `+5` and numbers beyond a double; no number of use has so many characters.
    return to_arrow(np.array([float(t[:400]) for t in text.to_pylist()])) if plain is None else plain


def _values(numbers: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers as numpy, and which are known: neither null nor NaN."""
    known = np.ones(len(numbers), bool)
    if numbers.null_count:
        known = to_numpy(numbers.is_valid())
        numbers = pc.fill_null(numbers, to_arrow(np.zeros(1)).cast(numbers.type)[0])
    values = to_numpy(numbers)
    return values, (known & ~np.isnan(values) if values.dtype.kind == "f" else known)


def _moments_of_numbers(numbers: pa.Array, unit: str) -> Times:
    values, known = _values(numbers)
    units: Counter[str] = Counter()
    if unit != "auto":
        read = known & (values >= TIMES[0]) & (values <= TIMES[1] * UNITS[unit])
        seconds = _seconds(values, read, UNITS[unit])
        units[unit] = int(read.sum())
    else:
        read = known & (values >= TIMES[0]) & (values <= TIMES[1])
        days = read & (values >= DATES[0]) & (values <= DATES[1])
        seconds = _seconds(values, read, 1)
        if days.any():
            of_day, is_day = _days(seconds[days])
            days[days] = is_day
            seconds[days] = of_day[is_day]
        units["s"], units["date"] = int(read.sum() - days.sum()), int(days.sum())
        if not read.all():
            for name, size in list(UNITS.items())[1:]:
                more = known & ~read & (values >= FROM_1973 * size) & (values <= TIMES[1] * size)
                seconds = np.where(more, _seconds(values, more, size), seconds)
                units[name], read = int(more.sum()), read | more
    return Times(to_arrow(seconds, read), to_arrow(np.zeros(len(values), bool)), to_arrow(known & ~read), +units)


def _seconds(values: np.ndarray, read: np.ndarray, size: int) -> np.ndarray:
    """Divide values of a unit by its size, rounding down; the others become 0."""
    values = values if read.all() else np.where(read, values, 0)
    return np.floor_divide(values, size).astype(np.int64) if size > 1 else np.floor(values).astype(np.int64)


def _days(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read 20180920 as the Unix second at which that day begins; also return which are days of the calendar."""
    year, month, day = numbers // 10_000, numbers // 100 % 100, numbers % 100
    named = (month >= 1) & (month <= 12) & (day >= 1)
    months = ((year - 1970) * 12 + np.where(named, month - 1, 0)).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1).astype("timedelta64[D]")
    named &= days.astype("datetime64[M]") == months
    return days.astype("datetime64[s]").astype(np.int64), named


def _moments_of_texts(texts: pa.Array, unit: str, zone: tzinfo) -> tuple[np.ndarray, np.ndarray]:
    """Read distinct texts as Unix seconds [n]; also return which could be read."""
    seconds, read = np.zeros(len(texts), np.int64), np.zeros(len(texts), bool)
    if unit in ("auto", "iso"):
        # Arrow converts from other zones wrongly after 2037.
        for pattern, of_zone in ((_ZONED, "UTC"), (_LOCAL, None))[: 2 if zone == ZoneInfo("UTC") else 1]:
            rows = np.flatnonzero(_matching(texts, pattern))
            try:
                found = texts.take(to_arrow(rows)).cast(pa.timestamp("us", of_zone))
            except pa.ArrowInvalid:  # some is no day of the calendar
                continue
            seconds[rows] = np.floor_divide(to_numpy(found.cast(pa.int64())), UNITS["us"])
            read[rows] = True
    moment = _reader(unit, zone)
    for row, text in zip(np.flatnonzero(~read).tolist(), texts.filter(to_arrow(~read)).to_pylist(), strict=True):
        found = moment(text) if len(text) <= MOMENT_CHARACTERS else None
        if found is not None:
            seconds[row], read[row] = found, True
    return seconds, read


def _reader(unit: str, zone: tzinfo) -> Callable[[str], int | None]:
    """Return a function that reads one text as Unix seconds, or as None if it cannot be read."""
    formats = list(FORMATS) if unit == "auto" else [] if unit == "iso" else [unit]

    def moment(text: str) -> int | None:
        if unit in ("auto", "iso"):
            try:
                return stamp(datetime.fromisoformat(text))
            except ValueError:
                pass
        for place, form in enumerate(formats):
            try:
                found = datetime.strptime(text, form)
            except ValueError:
                continue
            formats.insert(0, formats.pop(place))  # the next text is probably written alike
            return stamp(found.replace(tzinfo=UTC) if form.endswith("GMT") else found)
        return None

    def stamp(found: datetime) -> int | None:
        try:
            return int((found if found.tzinfo else found.replace(tzinfo=zone)).timestamp() // 1)
        except (OverflowError, ValueError):
            return None

    return moment
