"""Shoppers: plant tastes over the visible attributes, draw purchases from them, and compute the best reachable AUC.

A shopper's utility is theta . item + item_bias.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.sample.settings import SampleSettings
from pipeline.sample.styles import ATTRIBUTES, CLASSES, PATTERNS

# The weight of each part of a taste, in units of utility (nats at temperature 1). Colour weighs most: a few train
# purchases reveal it, and a small network can learn it from pixels in minutes. Between an AUC of 0.5 and the planted
# AUC, a linear BPR on the true attributes gets 90% of the way, and matrix factorisation, with about four purchases of
# an item to learn from, 67%. (Both with the best of three regularisers on the held-out pairs, so upper estimates.)
SECTION = 1.8  # preference for the women's or the men's section over the other
BOTH_SECTIONS = 0.1  # share of shoppers who buy in both sections
KIND = 0.2  # spread of the preferences for tops, pants and shoes
HUE_LIKED = 3.5  # added for a liked hue
PATTERN_LIKED = 0.6
COVER = 0.15  # spread of the preference for covering garments (long sleeves and legs, closed toes) over bare ones
SHAPE = 0.05  # spread of the preferences for each sleeve, neckline, length, cut, heel, open toe, laces

# A shopper likes the hues of one palette.
PALETTES = (("black", "grey"), ("cream", "mustard", "brown"), ("red", "pink"), ("green", "blue"))
COVERING = {"sleeve_long": 1, "sleeve_none": -1, "length_long": 1, "length_shorts": -1, "open_toe": -1}


@dataclass(frozen=True)
class Shoppers:
    """The shoppers' theta [U, D] float32 and, for each shopper, the rows of the bought items in order of purchase."""

    theta: np.ndarray
    purchases: tuple[np.ndarray, ...]


def sample_tastes(users: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the planted theta [users, D] float32: a section, a palette, a pattern, and slight preferences in shape."""
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
    """Draw shoppers and their purchases among items [I, D]: first `users` who stay in the 5-core, then `casual_users`.

    Purchases are drawn without replacement from softmax(utility / temperature), by taking the largest values of
    utility / temperature + Gumbel noise (which has the same distribution).
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
    # Shuffle the purchases: the largest utility comes first, but the order of purchase must carry no meaning.
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
    """Compute the mean AUC of the true utility over the first `users`, with two random purchases of each held out.

    Each held-out item is ranked against all items that the user has not touched; ties count half. No model can be
    better, except by chance, because purchases are drawn from exactly this utility.
    """
    rng = np.random.default_rng(seed)
    score = theta @ items.T + item_bias
    return mean_auc(score, purchases[:users], [rng.choice(bought, 2, replace=False) for bought in purchases[:users]])


def mean_auc(
    score: np.ndarray, touched: tuple[np.ndarray, ...] | list[np.ndarray], held_out: list[np.ndarray]
) -> float:
    """Average the exact AUC of score [U, I] over users: held-out items against all items never touched."""
    areas = []
    for row, bought, hidden in zip(score, touched, held_out, strict=False):
        others = np.delete(row, bought)
        target = row[hidden][:, None]
        areas.append((target > others).mean() + 0.5 * (target == others).mean())
    return float(np.mean(areas))
