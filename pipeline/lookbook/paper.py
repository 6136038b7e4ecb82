"""The published figures that stand beside ours: Tables 1 to 3 of the re-run on Amazon Fashion 2018 (NAF).

Figures only; what they are compared with is made in `data.py` and `recommender.py`.
"""

from dataclasses import dataclass

from pipeline.plots import PAPER_AUC


@dataclass(frozen=True)
class DataSet:
    """A row of Table 1; None where the paper has no figure."""

    name: str
    reviews: int | None
    users: int | None
    items: int | None
    core_users: int | None
    core_items: int | None
    vendor_px: float | None
    customer_px: float | None


@dataclass(frozen=True)
class Preprocessed:
    """A row of Table 2: what is left once broken pictures are gone."""

    name: str
    users: int | None
    item_images: int | None


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
TABLE_3 = {**PAPER_AUC, ORIGINAL: 0.7964}
