"""Recognise what else a table knows of its products or customers: price, colour, season, age.

An attribute is a column that is kept under a name of its own. shop.toml names them; otherwise those of known layouts
and of common column names are kept. Columns with a role (title, category, picture) belong in `layouts.py`.
"""

from collections.abc import Mapping, Sequence

from pipeline.core.raw.dialects import plain
from pipeline.core.shop.mapping import Attributes

HM_PRODUCTS = {
    "colour": ("colour_group_name",),
    "colour_value": ("perceived_colour_value_name",),
    "colour_master": ("perceived_colour_master_name",),
    "pattern": ("graphical_appearance_name",),
    "product_type": ("product_type_name",),
    "product_group": ("product_group_name",),
    "garment_group": ("garment_group_name",),
    "department": ("department_name",),
    "section": ("section_name",),
    "index": ("index_name",),
    "index_group": ("index_group_name",),
}
MYNTRA_PRODUCTS = {
    "colour": ("base_colour",), "season": ("season",), "year": ("year",), "usage": ("usage",), "gender": ("gender",),
}  # fmt: skip
# Of any other table of products; the first column that is there counts.
PRODUCTS = {
    "brand": ("brand", "brand_name"), "colour": ("colour", "color", "colour_name", "color_name"),
    "material": ("material",), "season": ("season",), "size": ("size",),
}  # fmt: skip
# Without the postal code, which together with the age may identify a person.
HM_CUSTOMERS = {
    "fashion_news": ("FN",), "active": ("active",), "club_member_status": ("club_member_status",),
    "fashion_news_frequency": ("fashion_news_frequency",), "age": ("age",),
}  # fmt: skip
PRICE = (
    *("current_price", "sale_price", "selling_price", "list_price", "retail_price", "unit_price", "price_eur"),
    *("price_usd", "price_gbp", "preis", "prix", "precio"),
)


def named(wanted: Mapping[str, Sequence[str]], by_name: Mapping[str, str]) -> Attributes:
    """Return those attributes whose column a table has; `by_name` has its columns by their `plain` names."""
    found = {name: [by_name[plain(c)] for c in columns if plain(c) in by_name] for name, columns in wanted.items()}
    return tuple((name, columns[0]) for name, columns in found.items() if columns)


def price_of(by_name: Mapping[str, str]) -> str | None:
    """Return the column of the price: `price`, or else the only other one that is known as it."""
    if "price" in by_name:
        return by_name["price"]
    found = [by_name[plain(name)] for name in PRICE if plain(name) in by_name]
    return found[0] if len(found) == 1 else None
