"""Put the items that an image mode lost for want of a picture into plain values and into one line."""

from collections.abc import Mapping
from typing import Any

from pipeline.core.dataset.loss import NO_ADDRESS, NO_PRODUCT, NOT_FETCHED, UNUSABLE, PictureLoss
from pipeline.core.raw import unusable

WORDS = {
    NO_PRODUCT: "no such product",
    NO_ADDRESS: "no address given",
    NOT_FETCHED: "not fetched yet",
    # Reasons of the ledger: the first two lie in the address, not in the picture.
    "bad_url": "unusable address (not a web address)",
    "outside_folders": "unusable address (outside the folders)",
    "too_small": "too small",
}


def plain(loss: PictureLoss, warn_above: float, k: int = 5) -> dict[str, Any]:
    """Convert a loss of the k-core to the values that summary.json and Dagster's metadata hold."""
    return {
        "k": k,
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
    lost, core = sum(loss["lost"].values()), f"{loss.get('k', 5)}-core"
    if not lost:
        return f"{mode}: all {loss['items']:,} items of the {core} have a picture"
    reasons = ", ".join(f"{count:,} {words(reason)}" for reason, count in loss["lost"].items())
    of_all = f"{lost:,} of {loss['items']:,} items of the {core} ({loss['lost_share']:.1%})"
    return f"{mode}: {of_all} have no picture: {reasons}"


def words(reason: str) -> str:
    """Write a reason in words; why a picture is broken keeps its name, which image_ledger has too."""
    if is_broken(reason):
        return f"broken ({reason})"
    return WORDS.get(reason) or f"unusable address ({unusable.words(reason.removeprefix(UNUSABLE))})"


def is_broken(reason: str) -> bool:
    """Return whether the address could be used, and what it gave is no picture of a usable size."""
    return reason not in WORDS and not reason.startswith(UNUSABLE)
