"""Shoppers: a planted taste over the visible attributes, what each buys by it, and the best reachable AUC.

A shopper's utility is theta . item + item_bias. Texts, dates and the JSON belong to `amazon.py`.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.sample.settings import SampleSettings
from pipeline.sample.styles import ATTRIBUTES, CLASSES, PATTERNS

# How much each part of a taste weighs, in units of utility (nats at temperature 1). Colour leads: a few train purchases
# tell it, and a small network can learn it from pixels in minutes. A linear BPR on the true attributes goes 90% of the
# way from 0.5 to the planted AUC; matrix factorisation, with some four purchases an item to learn from, 67% (each the
# best of three regularisers on the held-out pairs themselves, so both are upper estimates).
SECTION = 1.8  # the women's or the men's section against the other
BOTH_SECTIONS = 0.1  # share of shoppers who buy in both sections
KIND = 0.2  # spread over tops, pants and shoes
HUE_LIKED = 3.5  # what a liked hue adds
PATTERN_LIKED = 0.6
COVER = 0.15  # spread of a liking for covering garments (long sleeves and legs, closed toes) against bare ones
SHAPE = 0.05  # spread over each sleeve, neckline, length, cut, heel, open toe, laces

# A shopper likes the hues of one palette.
PALETTES = (("black", "grey"), ("cream", "mustard", "brown"), ("red", "pink"), ("green", "blue"))
COVERING = {"sleeve_long": 1, "sleeve_none": -1, "length_long": 1, "length_shorts": -1, "open_toe": -1}


@dataclass(frozen=True)
class Shoppers:
    """theta [U, D] float32 and, for each user, the rows of the items bought, in the order of buying."""

    theta: np.ndarray
    purchases: tuple[np.ndarray, ...]


def sample_tastes(users: int, rng: np.random.Generator) -> np.ndarray:
    """The planted theta [users, D] float32: one section, one palette, one pattern, a leaning in shape."""
    column = {name: index for index, name in enumerate(ATTRIBUTES)}
    theta = np.zeros((users, len(ATTRIBUTES)))
    shapes = [
        index
        for name, index in column.items()
        if name.startswith(("sleeve_", "neckline_", "length_", "cut_", "heel_", "open_toe", "laces"))
    ]
    for row in theta:
        sections = {"women": 0.0, "men": 0.0}
        if rng.random() >= BOTH_SECTIONS:
            sections["women" if rng.random() < 0.5 else "men"] = SECTION
        kinds = dict(zip(("tops", "pants", "shoes"), rng.normal(0, KIND, 3), strict=True))
        for name in CLASSES:
            gender, kind = name.split("_")
            row[column[name]] = sections[gender] + kinds[kind]
        liked = PALETTES[rng.integers(len(PALETTES))]
        row[[column[f"hue_{hue}"] for hue in liked]] = HUE_LIKED
        row[column[f"pattern_{PATTERNS[rng.integers(len(PATTERNS))]}"]] = PATTERN_LIKED
        row[shapes] = rng.normal(0, SHAPE, len(shapes))
        cover = rng.normal(0, COVER)
        for name, sign in COVERING.items():
            row[column[name]] += sign * cover
    return theta.astype(np.float32)


def shop(items: np.ndarray, item_bias: np.ndarray, settings: SampleSettings, rng: np.random.Generator) -> Shoppers:
    """Lets the shoppers choose from items [I, D]: first `users` who stay in the 5-core, then `casual_users`.

    Purchases are drawn without replacement from softmax(utility / temperature), as the largest of
    utility / temperature + Gumbel noise (which is the same law).
    """
    theta = sample_tastes(settings.users + settings.casual_users, rng)
    utility = theta @ items.T + item_bias  # [U, I]
    order = np.argsort(-(utility / settings.temperature + rng.gumbel(size=utility.shape)), axis=1, kind="stable")
    counts = np.concatenate(
        [
            rng.integers(settings.purchases_min, settings.purchases_max + 1, settings.users),
            rng.integers(1, 5, settings.casual_users),
        ]
    )
    # The largest come first; the order of buying carries no meaning, so it is shuffled.
    return Shoppers(theta, tuple(rng.permutation(row[:n]) for row, n in zip(order, counts, strict=True)))


def planted_auc(
    theta: np.ndarray,
    items: np.ndarray,
    item_bias: np.ndarray,
    purchases: tuple[np.ndarray, ...],
    *,
    users: int,
    seed: int = 0,
) -> float:
    """The mean AUC of the true utility over the first `users`: two random purchases a user held out.

    Each held-out item is ranked against all items the user has not touched; ties count a half. This is what the
    best model could reach (up to chance), because purchases are drawn by exactly this utility.
    """
    rng = np.random.default_rng(seed)
    score = theta @ items.T + item_bias
    return mean_auc(score, purchases[:users], [rng.choice(bought, 2, replace=False) for bought in purchases[:users]])


def mean_auc(
    score: np.ndarray, touched: tuple[np.ndarray, ...] | list[np.ndarray], held_out: list[np.ndarray]
) -> float:
    """The mean over users of the exact AUC of score [U, I]: held-out items against all items never touched."""
    areas = []
    for row, bought, hidden in zip(score, touched, held_out, strict=False):
        others = np.delete(row, bought)
        target = row[hidden][:, None]
        areas.append((target > others).mean() + 0.5 * (target == others).mean())
    return float(np.mean(areas))
