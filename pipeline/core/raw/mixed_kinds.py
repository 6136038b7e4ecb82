"""Refuse tables of products among those of reviews, or the other way round, as where a folder with both is named."""

from collections.abc import Collection, Sequence
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw.copies import origin_name
from pipeline.core.raw.dialects import plain
from pipeline.core.raw.forms import TABLES, form_of
from pipeline.core.raw.tables import TableFile
from pipeline.core.shop import layouts
from pipeline.core.shop.mapping import Shop

FILES_AT_MOST = 20  # more files are the parts of one table
VARIABLES = {"reviews": "ATELIER_REVIEWS", "products": "ATELIER_PRODUCTS"}


def refuse_mixed(kind: str, paths: Sequence[Path], shop: Shop | None = None) -> None:
    """Raise InputError if one of the tables named as `kind` has the columns of the other kind; list which is which.

    A table with the columns of both is of either kind. A form that cannot be read is left to its reader.
    """
    if not 1 < len(paths) <= FILES_AT_MOST:
        return
    kinds = dict.fromkeys(paths, "neither")
    for path in paths:
        try:
            form = form_of(path)
            if form.kind in TABLES:
                given = shop or Shop()
                columns = given.interactions if kind == "reviews" else given.products
                kinds[path] = kind_of(TableFile(path, form, columns, layouts.KNOWN).names)
        except InputError:
            continue
    other = next(each for each in VARIABLES if each != kind)
    if not {kind, other} <= set(kinds.values()):
        return
    listed = "; ".join(
        f"{each}: {printable(', '.join(origin_name(path) for path in paths if kinds[path] == each), 500)}"
        for each in (kind, other, "neither")
        if each in kinds.values()
    )
    raise InputError(
        f"products and reviews are mixed in what is named as the {kind} ({listed}). Name the files of each:"
        f" {' and '.join(f'--{each} ({variable})' for each, variable in VARIABLES.items())}"
    )


def kind_of(names: Collection[str]) -> str:
    """Return whether columns are those of `reviews` or of `products`, and not of both; else `either`, or `neither`."""
    there = {plain(name) for name in names}

    def has(*known: str) -> bool:
        return any(plain(name) in there for name in known)

    described = has(*layouts.TITLE, *layouts.PICTURES, *layouts.CATEGORIES)
    acted = has(*layouts.USER) and has(*layouts.ITEM) and has(*layouts.TIME, *layouts.RATING)
    if acted:
        return "either" if described else "reviews"
    is_product = has(*layouts.PRODUCT) and described and not has(*layouts.USER, *layouts.TIME, *layouts.RATING)
    return "products" if is_product else "neither"
