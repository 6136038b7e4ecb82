"""Extract the addresses of pictures from the fields of a table's rows, which may be texts, lists, objects or bytes."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.raw.addresses import HIGH_SIZES, LOW_SIZES, REVIEW_SIZES, clean_addresses, picture_urls
from pipeline.core.raw.parsing import PICTURES_AT_MOST

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")  # the beginning of every picture has one, and no address has


def is_picture(value: bytes) -> bool:
    """Return whether these bytes are a picture or other binary data, and no address."""
    return _CONTROL.search(value[:64]) is not None


def of_review(field: object, counts: Counter[str], base: Path | None) -> list[str] | None:
    """Extract the addresses of a review's pictures; None if there are too many."""
    return _extracted([field], REVIEW_SIZES, counts, base, None)


def of_product(
    fields: Sequence[object], counts: Counter[str], base: Path | None, refused: list[str]
) -> tuple[list[str] | None, list[str] | None]:
    """Extract a product's addresses of (low, high) resolution, as from JSON; None if there are too many."""
    low = _extracted(fields, LOW_SIZES, counts, base, refused)
    if low is None or all(field is None or (isinstance(field, str) and "{" not in field) for field in fields):
        return low, low
    # What is dropped is counted already.
    return low, _extracted(fields, HIGH_SIZES, Counter(), base, None)


def _extracted(
    fields: Sequence[object], sizes: Sequence[str], counts: Counter[str], base: Path | None, refused: list[str] | None
) -> list[str] | None:
    found = [url for field in fields for url in picture_urls(field, sizes) if url not in (None, "")]
    return clean_addresses(found, counts, base, refused) if len(found) <= PICTURES_AT_MOST else None
