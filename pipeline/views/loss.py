"""Put the items that an image mode lost for want of a picture into plain values and into one line."""

from collections.abc import Mapping
from typing import Any

from pipeline.core.dataset.loss import NO_ADDRESS, NO_PRODUCT, NOT_FETCHED, PictureLoss

WORDS = {
    NO_PRODUCT: "no such product",
    NO_ADDRESS: "no address given, or none that can be used",
    NOT_FETCHED: "not fetched yet",
    "too_small": "too small",
}


def plain(loss: PictureLoss, warn_above: float) -> dict[str, Any]:
    """Convert a loss to the values that summary.json and Dagster's metadata hold."""
    return {
        "items": loss.items,
        "pictured": loss.pictured,
        "lost": dict(loss.lost),
        "lost_share": round(loss.share, 6),
        "warn_above": warn_above,
    }


def is_large(loss: Mapping[str, Any]) -> bool:
    """Return whether a person should be warned of this loss."""
    return loss["lost_share"] > loss["warn_above"]


def line(mode: str, loss: Mapping[str, Any]) -> str:
    """Describe a mode's loss in one sentence."""
    lost = sum(loss["lost"].values())
    if not lost:
        return f"{mode}: all {loss['items']:,} items of the 5-core have a picture"
    reasons = ", ".join(f"{count:,} {words(reason)}" for reason, count in loss["lost"].items())
    of_all = f"{lost:,} of {loss['items']:,} items of the 5-core ({loss['lost_share']:.1%})"
    return f"{mode}: {of_all} have no picture: {reasons}"


def words(reason: str) -> str:
    """Write a reason in words; a reason of the ledger keeps its name, which image_ledger has too."""
    return WORDS.get(reason, f"broken ({reason})")
