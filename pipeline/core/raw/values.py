"""Read ids, times ratings and prices from text columns, whatever a shop's export made of them.

Every function takes an Arrow column of text (all but ids also of numbers) and works on whole columns; the usual
case, plain numbers, is one cast. Which column is which, and what becomes of a row, is decided elsewhere.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
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
STAMPS = (1970_01_01_00_00_00, 2099_12_31_23_59_59)  # numbers of fourteen digits are a day and a time of it
# A whole column of such numbers is not of seconds in 1970: years, and the days that spreadsheets count.
YEARS, SERIALS = (1_970, 2_100), (30_000, 60_000)
EXCEL, EXCEL_EPOCH = "excel", 25_569  # its day 25,569 is 1970-01-01
MOMENT_CHARACTERS = 64  # no date is longer
RATING_CHARACTERS = 40
# Words that exports write for a missing id; none has more bytes than NO_ID_BYTES.
NO_ID = ("nan", "NaN", "NULL", "null", "None", "none", "\\N", "<NA>", "NaT", "N/A", "n/a")
NO_ID_BYTES = 4

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
    *(f"{day}{clock}" for day in ("%Y-%m-%d", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d.%m.%Y", "%Y.%m.%d")
      for clock in ("", " %H:%M", " %H:%M:%S")),
    *(f"{day} {clock}" for day in ("%b %d, %Y", "%B %d, %Y") for clock in ("%H:%M", "%H:%M:%S", "%I:%M:%S %p")),
)  # fmt: skip
_UTC = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+) ?(UTC|GMT)$"  # BigQuery
_MONGO = r"""^ISODate\(\s*["']?(.*?)["']?\s*\)$"""
_DOT_NET = re.compile(r"\\?/Date\((-?\d{1,17})(?:[+-]\d{4})?\)\\?/")  # milliseconds; the zone is only how to show it
_DAY_AND_MONTH = re.compile(
    r"(?P<first>\d{1,2})(?P<mark>[./-])(?P<second>\d{1,2})(?P=mark)\d{4}"
    r"(?P<clock>[ T]+\d{1,2}:\d{2}(?P<second_hand>:\d{2})?)?"
)
_STARS = re.compile(
    r"(?P<points>\d+(?:[.,]\d+)?)\s*(?:(?:/|out of|of|von|sur)\s*\d+)?\s*(?:stars?|sterne?|points?|[★⭐])?",
    re.IGNORECASE,
)
_MONTH = re.compile("jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec", re.IGNORECASE)
# Formats with names of months, days, zones or halves of the day; texts with letters, and with a year.
_NAMED, _LETTER, _YEAR = re.compile("%[aAbBpzZ]|[A-Z]{3}"), re.compile("[A-Za-z]"), re.compile("[0-9]{4}")
_DRAWN = re.compile(r"(?:★|⭐)+[☆✩]*")


@dataclass(frozen=True)
class Times:
    """The times of a column [n]; a value is null where it is missing, unreadable or out of range."""

    seconds: pa.Array  # int64, Unix seconds, rounded down
    unreadable: pa.Array  # bool
    out_of_range: pa.Array  # bool; outside TIMES
    units: Counter[str]  # values read as each of s, ms, us, ns, date, or text


def ids(column: pa.Array | pa.ChunkedArray, width: int | None = None) -> pa.Array | pa.ChunkedArray:
    """Trim ids; null if the text is blank, a word for a missing value (NO_ID), or the JSON of a list or an object.

    A whole number written as a float, as pandas writes a column with a gap, becomes that integer. `width` pads ids of
    digits alone with zeros on the left.
    """
    text = pc.utf8_trim_whitespace(column)
    length = pc.binary_length(text)
    blank = pc.invert(length.cast(pa.bool_()))
    none = pc.or_(blank, pc.or_(pc.starts_with(text, "["), pc.starts_with(text, "{")))
    nothing = pa.nulls(1, text.type)[0]  # pyarrow would import pandas to convert None
    if pc.any(none).as_py():
        text = pc.if_else(none, nothing, text)
    if (pc.min(length).as_py() or 0) <= NO_ID_BYTES:
        text = pc.if_else(pc.is_in(text, to_arrow(NO_ID).cast(text.type)), nothing, text)
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
            alone, "excel" the days that spreadsheets count, "iso" ISO 8601 alone, and anything else is a format of
            `datetime.strptime`.
        zone: of moments that name none, as in the IANA database.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_temporal(array.type):
        array = array.cast(pa.timestamp("us", getattr(array.type, "tz", None))).cast(pa.int64())
        unit = "us"
    numeric = unit in ("auto", EXCEL) or unit in UNITS
    if not numeric and not pa.types.is_string(array.type) and not pa.types.is_large_string(array.type):
        array = ids(array.cast(pa.string()))  # numbers that are read by a format, as 2014.0 by %Y
    plain = _plain_numbers(array) if numeric else None
    if plain is not None:
        return _moments_of_numbers(plain, unit)
    text = _unwrapped(_present(array)) if unit in ("auto", "iso") else _present(array)
    count, given = len(text), to_numpy(text.is_valid())
    seconds, known, outside = np.zeros(count, np.int64), np.zeros(count, bool), np.zeros(count, bool)
    units: Counter[str] = Counter()
    numbers = np.zeros(count, bool)
    if numeric:
        text = pc.replace_substring_regex(text, r"^([0-9]{8,}),([0-9]+)$", r"\1.\2")
        numbers = _matching(text, _NUMBER)
        of_numbers = _moments_of_numbers(_numbers(text.filter(to_arrow(numbers))), unit)
        units = of_numbers.units
        known[numbers] = to_numpy(of_numbers.seconds.is_valid())
        seconds[numbers] = to_numpy(of_numbers.seconds.fill_null(scalar(0)))
        outside[numbers] = to_numpy(of_numbers.out_of_range)
    words = np.flatnonzero(given & ~numbers)
    if len(words) and unit not in (*UNITS, EXCEL):
        distinct = text.take(to_arrow(words)).dictionary_encode()  # a shop has few days
        found, read = _moments_of_texts(distinct.dictionary, unit, ZoneInfo(zone))
        place = to_numpy(distinct.indices)
        within = (found >= TIMES[0]) & (found <= TIMES[1])
        seconds[words], known[words] = found[place], (read & within)[place]
        outside[words] = (read & ~within)[place]
        units["text"] += int(known[words].sum())
    return Times(to_arrow(seconds, known), to_arrow(given & ~known & ~outside), to_arrow(outside), +units)


def ratings(column: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Read numbers: (float64 with nulls, unreadable, outside RATINGS).

    They may have a decimal comma, name their scale (`4/5`, `4 out of 5 stars`), or be drawn (`★★★★☆`).
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    plain = _plain_numbers(array)
    unreadable = np.zeros(len(array), bool)
    if plain is None:
        text = _present(array)
        text = pc.replace_substring_regex(text, r"^([+-]?[0-9]+),([0-9]+)$", r"\1.\2")
        numbers = _matching(text, _NUMBER)
        values, known = np.zeros(len(text)), numbers
        values[numbers] = to_numpy(_numbers(text.filter(to_arrow(numbers))))
        words = np.flatnonzero(to_numpy(text.is_valid()) & ~numbers)
        if len(words):
            distinct = text.take(to_arrow(words)).dictionary_encode()
            points = np.array([_points(rating) for rating in distinct.dictionary.to_pylist()], float)
            values[words] = points[to_numpy(distinct.indices)]
            known = known | ~np.isnan(values) & to_numpy(text.is_valid())
        values, unreadable = np.nan_to_num(values, copy=False), to_numpy(text.is_valid()) & ~known
    else:
        values, known = _values(plain.cast(pa.float64(), safe=False))
    within = (values >= RATINGS[0]) & (values <= RATINGS[1])
    return to_arrow(values, known & within), to_arrow(unreadable), to_arrow(known & ~within)


def _points(text: str) -> float:
    """Return the points of a rating in words or stars, not brought to another scale; NaN if it has none."""
    text = text.replace("\ufe0f", "").strip()  # it makes an emoji of the character before
    if len(text) > RATING_CHARACTERS:
        return np.nan
    if _DRAWN.fullmatch(text):
        return float(text.count("★") + text.count("⭐"))
    found = _STARS.fullmatch(text)
    return float(found["points"].replace(",", ".")) if found else np.nan


def day_first(texts: Iterable[str | None]) -> str | None:
    """Return the format of dates such as 13.05.2014 if it can be one only; None otherwise.

    Some day beyond the twelfth decides. Where there is none, dots mean that the day is first, as in German.
    """
    found = [match for text in texts if text and (match := _DAY_AND_MONTH.fullmatch(text.strip()))]
    late = {place for match in found for place in ("first", "second") if int(match[place]) > 12}
    marks, clocks = {match["mark"] for match in found}, {(match["clock"], match["second_hand"]) for match in found}
    shapes = {(bool(clock), bool(seconds)) for clock, seconds in clocks}
    if len(late) == 2 or len(marks) != 1 or len(shapes) != 1:
        return None
    mark, (clock, seconds) = marks.pop(), shapes.pop()
    if not late and mark != ".":
        return None
    order = ("%m", "%d", "%Y") if late == {"second"} else ("%d", "%m", "%Y")
    return mark.join(order) + (" %H:%M" if clock else "") + (":%S" if seconds else "")


def is_day_or_month(text: str) -> bool:
    """Return whether a text is a date whose first number may be a day or a month."""
    return _DAY_AND_MONTH.fullmatch(text.strip()) is not None


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
    return pc.if_else(missing, pa.nulls(1, text.type)[0], text)


def _unwrapped(text: pa.Array) -> pa.Array:
    """Take moments out of ISODate("..."), and write `UTC` after them as ISO 8601 does."""
    if pc.any(pc.starts_with(text, "ISODate")).as_py():
        text = pc.replace_substring_regex(text, _MONGO, r"\1")
    if pc.any(pc.ends_with(text, "UTC")).as_py() or pc.any(pc.ends_with(text, "GMT")).as_py():
        text = pc.replace_substring_regex(text, _UTC, r"\1Z")
    return text


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
    unread = np.zeros(len(values), bool)
    if unit == EXCEL:
        read = known & (values >= EXCEL_EPOCH) & (values <= EXCEL_EPOCH + TIMES[1] / 86_400)
        seconds = np.floor((np.where(read, values, EXCEL_EPOCH) - EXCEL_EPOCH) * 86_400 + 0.5).astype(np.int64)
        units[unit] = int(read.sum())
    elif unit == "auto" and _counts_years_or_days(values, known):
        read, unread, seconds = np.zeros(len(values), bool), known, np.zeros(len(values), np.int64)
    elif unit != "auto":
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
            more = known & ~read & (values >= STAMPS[0]) & (values <= STAMPS[1])
            if more.any():
                stamps = values[more].astype(np.int64)
                of_day, is_day = _days(stamps // 10**6)
                hour, minute, second = stamps // 10_000 % 100, stamps // 100 % 100, stamps % 100
                more[more] = is_stamp = is_day & (hour < 24) & (minute < 60) & (second < 60)
                seconds[more] = (of_day + hour * 3_600 + minute * 60 + second)[is_stamp]
                units["date"], read = units["date"] + int(more.sum()), read | more
            for name, size in list(UNITS.items())[1:]:
                more = known & ~read & (values >= FROM_1973 * size) & (values <= TIMES[1] * size)
                seconds = np.where(more, _seconds(values, more, size), seconds)
                units[name], read = int(more.sum()), read | more
    return Times(to_arrow(seconds, read), to_arrow(unread), to_arrow(known & ~read & ~unread), +units)


def _counts_years_or_days(values: np.ndarray, known: np.ndarray) -> bool:
    """Return whether all numbers are years, or the days since 1900 that spreadsheets write for dates."""
    if not known.any():
        return False
    first = values[np.argmax(known)]  # of most columns it suffices
    for least, most in (YEARS, SERIALS):
        if least <= first <= most:
            return bool(((values >= least) & (values <= most) | ~known).all())
    return False


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
    everything = FORMATS if unit == "auto" else () if unit == "iso" else (unit,)
    formats_of = {
        letters: [form for form in everything if unit != "auto" or bool(_NAMED.search(form)) == letters]
        for letters in (True, False)
    }

    def moment(text: str) -> int | None:
        if unit == "auto" and (found := _DOT_NET.fullmatch(text)):
            return int(found[1]) // 1_000
        if unit in ("auto", "iso"):
            try:
                return stamp(datetime.fromisoformat(text))
            except ValueError:
                pass
        if unit == "auto" and (not _YEAR.search(text) or ("." not in text and is_day_or_month(text))):
            return None  # no format can match, and each costs ten microseconds
        has_letters = _LETTER.search(text) is not None
        if unit == "auto" and has_letters and not _MONTH.search(text):
            return None
        formats = formats_of[has_letters]
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
