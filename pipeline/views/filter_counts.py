"""The counts of the 5-core, of pruning and of a mode's catalogue as steps: in words, and what is left after each.

The counting is done in `core/dataset/`, the drawing in `plots.py`. A count that is not there leaves its step out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A step and how many are left after it."""

    name: str
    left: int


Steps = dict[str, list[Step]]  # what is counted -> its steps, the first what there was


def five_core(counts: Mapping[str, int], k: int = 5, iterative: bool = False) -> Steps:
    """Reviews, users and items from the raw files to the interactions."""
    names = ("read", f"of users with {k} reviews or more", f"distinct, users with {k} items or more")
    if iterative:
        names = (*names[:2], f"distinct, {k} or more a user and an item")
    keys = {
        "reviews": ("reviews", "reviews_of_users_with_k_reviews", "interactions"),
        "users": ("users", "users_with_k_reviews", "five_core_users"),
        "items": ("items", "items_of_users_with_k_reviews", "five_core_items"),
    }
    return {what: _steps(counts, zip(names, several, strict=True)) for what, several in keys.items()}


def pruning(counts: Mapping[str, int], k: int = 5) -> Steps:
    """Users and items of an image mode, once what has no working picture is gone."""
    users, items = counts["users_before"], counts["items_before"]
    pictured = items - counts["items_without_picture"]
    names = ("5-core", "items with a working picture", f"users with {k} of them or more", "items these users have")
    return {
        "users": [Step(n, c) for n, c in zip(names, (users, users, counts["users"], counts["users"]), strict=True)],
        "items": [Step(n, c) for n, c in zip(names, (items, pictured, pictured, counts["items"]), strict=True)],
    }


def catalogue(counts: Mapping[str, int]) -> Steps:
    """Pictures of a mode, once photos of held-out reviews are gone and equal pictures of an item are one."""
    there = counts["images_before"]
    shown = there - counts["held_out_photos"]
    names = ("working pictures", "photos of held-out reviews taken out", "equal pictures of an item merged")
    return {"pictures": [Step(n, c) for n, c in zip(names, (there, shown, counts["images"]), strict=True)]}


def _steps(counts: Mapping[str, int], named: Iterable[tuple[str, str]]) -> list[Step]:
    return [Step(name, counts[key]) for name, key in named if key in counts]
