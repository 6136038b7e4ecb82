"""Published figures to compare with ours: Tables 1 to 3 of the re-run on Amazon Fashion 2018 (NAF).

Also makes Tables 1 and 2 with our row, from counts of assets. Published figures must not be repeated elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DataSet:
    """A row of Table 1; None if there is no figure."""

    name: str
    reviews: int | None
    users: int | None
    items: int | None
    core_users: int | None  # users with at least five reviews; repeated reviews are removed only later
    core_items: int | None  # items that they reviewed
    vendor_px: float | None  # height of the pictures
    customer_px: float | None


@dataclass(frozen=True)
class Preprocessed:
    """A row of Table 2: what is left after removing broken pictures."""

    name: str
    users: int | None
    item_images: int | None  # distinct (item, URL) pairs


# NAF prints 883,636 as the number of users, but it is the number of reviews; NAF does not give the number of users.
TABLE_1 = (
    DataSet("Original Amazon Fashion (2014)", None, 64_583, 234_892, 45_184, 166_270, 444, None),
    DataSet("New Amazon Fashion (2018)", 883_636, None, 186_627, 2_632, 17_173, 50, 88),
)
ORIGINAL = "original"
TABLE_2 = {
    "vendor_single": Preprocessed("vendor_single", 2_326, 8_579),
    "vendor_all": Preprocessed("vendor_all", 2_323, 33_587),
    "vendor_customer": Preprocessed("vendor_customer", 2_377, 38_053),
    ORIGINAL: Preprocessed("Original Amazon Fashion", 45_184, 166_270),
}
# Validation AUC of DVBPR; `original` is Kang et al. 2017 on the data of 2014.
TABLE_3 = {"vendor_single": 0.6501, "vendor_all": 0.6853, "vendor_customer": 0.6875, ORIGINAL: 0.7964}


def published(mode: str) -> Preprocessed:
    """Return the paper's row of Table 2 for an image mode, without figures if the paper does not have the mode."""
    return TABLE_2.get(mode, Preprocessed(mode, None, None))


def our_data_set(
    name: str, counts: Mapping[str, int], vendor_px: float | None = None, customer_px: float | None = None
) -> DataSet:
    """Make our row of Table 1 from the counts of the 5-core."""
    return DataSet(
        name,
        counts.get("reviews"),
        counts.get("users"),
        counts.get("items"),
        counts.get("users_with_k_reviews"),
        counts.get("items_of_users_with_k_reviews"),
        vendor_px,
        customer_px,
    )


def our_preprocessed(name: str, counts: Mapping[str, int]) -> Preprocessed:
    """Make our row of Table 2 from the counts of pruning."""
    return Preprocessed(name, counts.get("users"), counts.get("item_images"))


def table_1(ours: DataSet) -> str:
    """Make Table 1 as Markdown, with our row last."""
    heads = ("data", "reviews", "users", "items", "5-core users", "5-core items", "shop picture", "customer picture")
    rows = [
        [d.name, d.reviews, d.users, d.items, d.core_users, d.core_items, _px(d.vendor_px), _px(d.customer_px)]
        for d in (*TABLE_1, ours)
    ]
    return _markdown(heads, rows)


def table_2(ours: Preprocessed) -> str:
    """Make Table 2 as Markdown, with our row last."""
    rows = [[row.name, row.users, row.item_images] for row in (*TABLE_2.values(), ours)]
    return _markdown(("data", "users", "item pictures"), rows)


def _px(height: float | None) -> str | None:
    return None if height is None else f"{height:g} px"


def _markdown(heads: tuple[str, ...], rows: list[list[str | int | None]]) -> str:
    """Format a table with the last row, ours, in bold; a missing figure is a dash."""
    shown = [["–" if v is None else f"{v:,}" if isinstance(v, int) else v for v in row] for row in rows]
    shown[-1] = [value if value == "–" else f"**{value}**" for value in shown[-1]]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *shown]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
