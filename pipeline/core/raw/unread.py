"""Describe the first value of a column that could not be read: where it is, and the line of shop.toml that mends it."""

from pipeline.core.quoting import printable
from pipeline.core.raw.values import SERIALS, YEARS, is_day_or_month

TIMES, RATINGS = "times", "ratings"
_ALLOWED = "s, ms, us, ns, iso, excel, or a format such as %d.%m.%Y"


def described(what: str, file: str, row: int, column: str, value: object) -> str:
    """Name file, row, column, value and the mend of a value of `what` (TIMES or RATINGS)."""
    text = str(value)
    place = f"{file}: row {row:,}, column {printable(column, 60)}: {printable(text, 60)!r}"
    if what == RATINGS:
        return f'{place} is no rating; write numbers, or say in shop.toml: [interactions] rating = "" (for none)'
    return f"{place} is no time that can be read in one way; say in shop.toml: [interactions] {_time_unit(text)}"


def _time_unit(text: str) -> str:
    """Return the lines of shop.toml by which a time may be meant."""
    if is_day_or_month(text):
        mark = next(letter for letter in text if letter in "./-")
        clock = {0: "", 1: " %H:%M"}.get(text.count(":"), " %H:%M:%S")
        formats = (f"{mark.join(order)}{clock}" for order in (("%d", "%m", "%Y"), ("%m", "%d", "%Y")))
        return " or ".join(f'time_unit = "{form}"' for form in formats)
    try:
        number = float(text)
    except ValueError:
        return f'time_unit = "%d.%m.%Y", for example ({_ALLOWED})'
    if YEARS[0] <= number <= YEARS[1]:
        return 'time_unit = "%Y" for years, or "s" for seconds since 1970'
    if SERIALS[0] <= number <= SERIALS[1]:
        return 'time_unit = "excel" for days as spreadsheets count them, or "s" for seconds since 1970'
    return f'time_unit = "s", for example ({_ALLOWED})'
