"""The published figures that stand beside ours: Tables 1 to 3 of the re-run on Amazon Fashion 2018 (NAF), and Tables 1
and 2 with our row.

The one home of these figures. Ours come from counts that assets have made; how AUC is measured is `comparison.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DataSet:
    """A row of Table 1; None where there is no figure."""

    name: str
    reviews: int | None
    users: int | None
    items: int | None
    core_users: int | None  # with five reviews or more: repeated reviews are only taken out later
    core_items: int | None  # that they reviewed
    vendor_px: float | None  # height of the pictures
    customer_px: float | None


@dataclass(frozen=True)
class Preprocessed:
    """A row of Table 2: what is left once broken pictures are gone."""

    name: str
    users: int | None
    item_images: int | None  # distinct (item, URL)


# NAF prints 883,636 as users; it is the number of reviews of that file, whose users it does not give.
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
    """The paper's row of Table 2 for an image mode; without figures for a mode that it does not have."""
    return TABLE_2.get(mode, Preprocessed(mode, None, None))


def our_data_set(
    name: str, counts: Mapping[str, int], vendor_px: float | None = None, customer_px: float | None = None
) -> DataSet:
    """Our row of Table 1, from the counts of `core/dataset/kcore.py`."""
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
    """Our row of Table 2, from the counts of `core/dataset/survivors.py`."""
    return Preprocessed(name, counts.get("users"), counts.get("item_images"))


def table_1(ours: DataSet) -> str:
    """Table 1 with our row last, as Markdown."""
    heads = ("data", "reviews", "users", "items", "5-core users", "5-core items", "shop picture", "customer picture")
    rows = [
        [d.name, d.reviews, d.users, d.items, d.core_users, d.core_items, _px(d.vendor_px), _px(d.customer_px)]
        for d in (*TABLE_1, ours)
    ]
    return _markdown(heads, rows)


def table_2(ours: Preprocessed) -> str:
    """Table 2 with our row last, as Markdown."""
    rows = [[row.name, row.users, row.item_images] for row in (*TABLE_2.values(), ours)]
    return _markdown(("data", "users", "item pictures"), rows)


def _px(height: float | None) -> str | None:
    return None if height is None else f"{height:g} px"


def _markdown(heads: tuple[str, ...], rows: list[list[str | int | None]]) -> str:
    """A table whose last row, ours, stands out; a dash where there is no figure."""
    shown = [["–" if v is None else f"{v:,}" if isinstance(v, int) else v for v in row] for row in rows]
    shown[-1] = [value if value == "–" else f"**{value}**" for value in shown[-1]]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *shown]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
