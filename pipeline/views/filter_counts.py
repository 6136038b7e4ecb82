"""Turn the counts of the 5-core, of pruning and of a mode's catalogue into named steps with what is left after each.

A step without a count is left out. Counting and drawing do not belong here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FilterStep:
    """A step, and the number left after it."""

    name: str
    left: int


Steps = dict[str, list[FilterStep]]  # what is counted -> its steps; the first step has the initial number


def five_core(counts: Mapping[str, int], k: int = 5, iterative: bool = False) -> Steps:
    """List the steps of reviews, users and items from the raw files to the interactions."""
    last = f"distinct, {k} or more a user and an item" if iterative else f"distinct, users with {k} items or more"
    if "users_with_k_items" in counts:
        last += ", a sample of them"
    names = ("read", f"of users with {k} reviews or more", last)
    keys = {
        "reviews": ("reviews", "reviews_of_users_with_k_reviews", "interactions"),
        "users": ("users", "users_with_k_reviews", "five_core_users"),
        "items": ("items", "items_of_users_with_k_reviews", "five_core_items"),
    }
    return {what: _steps(counts, zip(names, several, strict=True)) for what, several in keys.items()}


def pruning(counts: Mapping[str, int], k: int = 5) -> Steps:
    """List the steps of an image mode's users and items while those without a working picture are dropped."""
    users, items = counts["users_before"], counts["items_before"]
    pictured = items - counts["items_without_picture"]
    names = (f"{k}-core", "items with a working picture", f"users with {k} of them or more", "items these users have")
    return {
        "users": [
            FilterStep(n, c) for n, c in zip(names, (users, users, counts["users"], counts["users"]), strict=True)
        ],
        "items": [FilterStep(n, c) for n, c in zip(names, (items, pictured, pictured, counts["items"]), strict=True)],
    }


def catalogue(counts: Mapping[str, int]) -> Steps:
    """List the steps of a mode's pictures: photos of held-out reviews are removed, equal pictures of an item merged."""
    working = counts["images_before"]
    kept = working - counts["held_out_photos"]
    names = ("working pictures", "photos of held-out reviews taken out", "equal pictures of an item merged")
    return {"pictures": [FilterStep(n, c) for n, c in zip(names, (working, kept, counts["images"]), strict=True)]}


def _steps(counts: Mapping[str, int], named: Iterable[tuple[str, str]]) -> list[FilterStep]:
    return [FilterStep(name, counts[key]) for name, key in named if key in counts]
