"""Sort the kinds of interactions by the words that shops use for them: what counts, what speaks against an item.

Words that are not known here are never guessed: `pipeline/inspection/causes.py` asks about them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.quoting import printable
from pipeline.core.raw.dialects import plain

VALUES_AT_MOST = 100  # a column with more different values does not say what happened
BOUGHT = frozenset(
    [
        *("purchase", "purchased", "order", "ordered", "transaction", "buy", "bought", "sale", "sold"),
        *("orderplaced", "placedorder", "ordercompleted", "checkoutcomplete", "checkoutcompleted"),
        *("completedpurchase", "kauf", "gekauft", "bestellung"),
    ]
)
UNDONE = frozenset(
    [
        *("return", "returned", "refund", "refunded", "cancel", "canceled", "cancelled", "cancellation"),
        *("chargeback", "storno", "storniert", "retoure", "rueckgabe", "voided", "partiallyrefunded", "dislike"),
    ]
)
LOOKED = frozenset(
    [
        *("view", "viewed", "views", "pageview", "productview", "viewitem", "itemview", "viewproduct"),
        *("viewcontent", "detail", "detailview", "impression", "pv", "click", "clicked", "cart", "addtocart"),
        *("addcart", "carted", "atc", "basket", "addtobasket", "viewcart", "removefromcart", "removefrombasket"),
        *("wishlist", "addtowishlist", "fav", "favorite", "favourite", "like", "save", "saved", "bookmark"),
        *("search", "share", "begincheckout"),
    ]
)


@dataclass(frozen=True)
class Kinds:
    """How the values of a column count, and a sentence that says so; without `positive` all others do."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    ignored: tuple[str, ...]
    said: str


def sorted_kinds(counted: Mapping[str, int]) -> Kinds:
    """Sort the values of a column by known words; what is only looked at counts where nothing is bought."""

    def among(words: frozenset[str]) -> tuple[str, ...]:
        return tuple(value for value in counted if plain(value) in words)

    bought, undone, looked = among(BOUGHT), among(UNDONE), among(LOOKED)
    unknown = tuple(value for value in counted if value not in (*bought, *undone, *looked))
    if not bought:
        kept = () if unknown else looked
        why = "" if unknown or not looked else ", because nothing is bought"
        counts = (*looked, *unknown)
        return Kinds(kept, undone, (), _sentence(counted, {f"count{why}": counts, "are left out": undone}))
    left_out = (*looked, *undone, *unknown)
    return Kinds(bought, undone, looked, _sentence(counted, {"count": bought, "are left out": left_out}))


def _sentence(counted: Mapping[str, int], groups: Mapping[str, tuple[str, ...]]) -> str:
    parts = (f"{listed({v: counted[v] for v in values})} {what}" for what, values in groups.items() if values)
    return "of the kinds, " + "; ".join(parts)


def listed(counted: Mapping[str, int]) -> str:
    """List values with their counts, the commonest first."""
    ordered = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{printable(value, 40)!r} ({count:,})" for value, count in ordered)
