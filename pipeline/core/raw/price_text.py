"""Read one price as shops write it: with a currency on either side, and with a decimal point or a decimal comma.

`values.py` reads whole columns.
"""

import re
import unicodedata

CHARACTERS = 64  # no price is longer
# A price: a currency, a number, a dash in place of the cents, a currency.
_PRICE = re.compile(r"([^0-9]*?)\s*([.,]?[0-9][0-9.,'’\s]*?)\s*(?:[.,]\s*[-–—]+|/-)?\s*([^0-9\s][^0-9]*)?")
# In groups of three digits, or as in India: 1,29,999.00.
_IN_GROUPS = re.compile(r"[1-9][0-9]{0,2}([.,'’\s])(?:[0-9]{2,3}\1)*[0-9]{3}(?:(?!\1)[.,]([0-9]+))?")
_IN_ONE = re.compile(r"[0-9]*[.,]?[0-9]+")
_CURRENCIES = {
    *("eur", "euro", "euros", "usd", "kr", "zł", "kč", "ft", "lei", "лв", "руб"),
    *("rs", "fr", "sfr", "tl", "r", "dh", "rm"),
}


def price_of(text: str) -> float | None:
    """Read one price; None if it is none.

    A comma is the decimal point unless three digits follow it (`1,299`); a dot is, unless another mark follows it
    (`1.299,00`), or three digits and a currency (`1.299 €`).
    """
    found = _PRICE.fullmatch(text) if len(text) <= CHARACTERS else None
    if found is None:
        return float(text) if re.fullmatch(r"\+?[0-9]+\.?[0-9]*[eE][+-]?[0-9]{1,2}", text) else None
    currencies = [part.strip() for part in (found[1], found[3] or "") if part.strip()]
    number = found[2]
    if not all(map(_is_currency, currencies)):
        return None
    grouped = _IN_GROUPS.fullmatch(number)
    if grouped and (currencies or grouped[2] or grouped[1] != "." or number.count(".") > 1):
        whole = number[: grouped.start(2) - 1] if grouped[2] else number
        return float(f"{re.sub(r'[^0-9]', '', whole)}.{grouped[2] or 0}")
    return float(number.replace(",", ".")) if _IN_ONE.fullmatch(number) else None


def _is_currency(text: str) -> bool:
    """Return whether a text is a currency: a sign such as € or US$, a code such as EUR, or a word such as kr."""
    signs = [character for character in text if unicodedata.category(character) == "Sc"]
    if signs:
        return len(text) <= 4 and all(one in signs or one.isalpha() for one in text)
    return bool(re.fullmatch("[A-Z]{3}", text)) or text.rstrip(".").lower() in _CURRENCIES
