"""Whether a new model takes a registered one's place: a paired bootstrap on what neither of the two was trained on.

The rule and its numbers; the registry that holds the models is `registry.py`. Recommenders are compared by the AUC of
held-out pairs, generators by their distance to held-out garments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.data.factors import Factors
from models.metrics.evaluate import auc_of_each
from models.metrics.generation import distance_differences
from models.metrics.intervals import bootstrap_mean
from pipeline.champions.served_model import BEFORE, SPLITS, Shop
from pipeline.settings.assets import ChampionSettings, GeneratorChampionSettings

FIRST, OTHER_CLASSES, BETTER, NOT_WORSE = "first", "other classes", "better", "not worse"
NOT_BETTER, WORSE, UNDECIDED = "not better", "worse", "undecided"
PROMOTED = (FIRST, OTHER_CLASSES, BETTER, NOT_WORSE)


@dataclass(frozen=True)
class Decision:
    """What was decided of a challenger, and by which numbers."""

    verdict: str
    why: str  # in a sentence
    same_data: bool | None = None
    difference: float | None = None  # challenger minus champion; above 0 the challenger is the better
    low: float | None = None  # 95% bootstrap interval over what was compared
    high: float | None = None
    margin: float | None = None  # how far below 0 the lower end may lie; 0 on the same data
    compared: int = 0  # held-out pairs, or garments
    left_out: dict[str, int] | None = None  # reason -> how many

    @property
    def promoted(self) -> bool:
        """Whether the challenger is the champion now."""
        return self.verdict in PROMOTED

    def figures(self) -> dict[str, float]:
        """The numbers, for a tracker."""
        named = {"difference": self.difference, "difference_low": self.low, "difference_high": self.high}
        counted = {f"left_out.{reason}": float(count) for reason, count in (self.left_out or {}).items()}
        return {
            **{name: value for name, value in named.items() if value is not None},
            "compared": float(self.compared),
            **counted,
            "promoted": float(self.promoted),
        }

    def row(self) -> dict[str, Any]:
        """All of it, for a table."""
        shown = {name: value for name, value in vars(self).items() if name != "left_out"}
        return {**shown, "promoted": self.promoted, "left_out": self.left_out or {}}


@dataclass(frozen=True, eq=False)
class Side:
    """One of two recommenders: its factors, and the shop it was trained in (rows fit each other)."""

    factors: Factors
    shop: Shop


@dataclass(frozen=True, eq=False)
class Compared:
    """Two models' values of the same held-out things, and what could not be compared."""

    challenger: np.ndarray  # [n]
    champion: np.ndarray  # [n]
    left_out: dict[str, int]


def first(name: str) -> Decision:
    """The decision where there is no champion."""
    return Decision(FIRST, f"{name} had no champion.")


def other_classes(ours: Sequence[str], theirs: Sequence[str]) -> Decision:
    """The decision where the champion generator draws other classes than the shop has now."""
    return Decision(
        OTHER_CLASSES,
        f"the champion draws {', '.join(theirs)}; the shop's classes are {', '.join(ours)} now, so there is nothing to "
        "compare, and nothing that the old one could still draw.",
        same_data=False,
    )


def decide(
    found: Compared,
    same_data: bool,
    settings: ChampionSettings | GeneratorChampionSettings,
    margin: float,
    what: str,
) -> Decision:
    """The rule.

    On the same data the challenger must win: the interval of the paired difference lies above 0. On other data it
    must not be worse by more than `margin`: the interval lies above -margin. With too little to compare nothing is
    decided, and the champion stays.

    Args:
        found: values of both; the larger the better.
        same_data: whether both were trained from the same tables.
        settings: seed, number of draws, the least that must be compared.
        margin: in the values' own unit.
        what: what was compared, in words.
    """
    both = found.challenger - found.champion
    both = both[np.isfinite(both)]
    if len(both) < settings.minimum:
        why = f"only {len(both)} {what} can be compared, {settings.minimum} are asked for: the champion stays."
        return Decision(UNDECIDED, why, same_data, compared=len(both), left_out=found.left_out)
    allowed = 0.0 if same_data else margin
    low, high = bootstrap_mean(both, settings.seed, settings.resamples)
    won = low > -allowed
    verdict = (BETTER if won else NOT_BETTER) if same_data else (NOT_WORSE if won else WORSE)
    rule = "on the same data it must lie above 0" if same_data else f"on other data it must lie above -{margin:g}"
    why = (
        f"challenger minus champion is {both.mean():+.4f} ({low:+.4f} to {high:+.4f}) over {len(both)} {what}; the "
        f"lower end is {low:+.4f}, and {rule}: {'it takes over' if won else 'the champion stays'}."
    )
    mean = float(both.mean())
    return Decision(verdict, why, same_data, mean, low, high, allowed, len(both), found.left_out)


def compare_recommenders(challenger: Side, champion: Side, device: torch.device) -> Compared:
    """Exact AUC of both on the challenger's test pairs that neither was trained on, among items that both know.

    Validation counts as training, as it chose the epoch; so does what the models before in a line were trained on.
    Users and items are matched by the shop's own names. A user's candidates are the items that both know and that the
    user touched in neither data set; a pair whose user or item the champion does not know is left out and counted.
    """
    users, user_new, user_old = np.intersect1d(challenger.shop.reviewer, champion.shop.reviewer, return_indices=True)
    items, item_new, item_old = np.intersect1d(challenger.shop.asin, champion.shop.asin, return_indices=True)
    new = _On(challenger, user_new, item_new)
    old = _On(champion, user_old, item_old)
    test = challenger.shop.pairs("test")
    held_out = new.rows(test)
    left_out = {
        "user unknown to the champion": int((~np.isin(challenger.shop.reviewer[test[:, 0]], users)).sum()),
        "item unknown to the champion": int((~np.isin(challenger.shop.asin[test[:, 1]], items)).sum()),
    }
    trained = [held_out_in(held_out, side.rows(side.shop.pairs("train", "validation", BEFORE))) for side in (new, old)]
    left_out["trained on by the challenger"] = int(trained[0].sum())
    left_out["trained on by the champion"] = int(trained[1].sum())
    held_out = held_out[~(trained[0] | trained[1])]
    touched = np.concatenate([side.rows(side.shop.pairs(*SPLITS)) for side in (new, old)])
    values = [auc_of_each(side.factors, held_out, touched, device) for side in (new, old)]
    return Compared(*values, left_out)


def compare_generators(real: np.ndarray, challenger: np.ndarray, champion: np.ndarray, left_out: int) -> Compared:
    """Features of held-out garments [n, D] against those of as many drawn by each of the two, classes alike.

    The values' mean difference is that of the unbiased kernel distances (champion minus challenger: less is better).
    """
    gained = distance_differences(real, champion, challenger)
    return Compared(gained, np.zeros(len(gained)), {"trained on by the champion": left_out})


class _On:
    """A recommender narrowed to users and items that another knows too, in one order."""

    def __init__(self, side: Side, users: np.ndarray, items: np.ndarray) -> None:
        self.shop = side.shop
        whole = side.factors
        self.factors = whole.narrowed(users, items)
        self._user, self._item = (
            _places(rows, len(names)) for rows, names in ((users, whole.users), (items, whole.items))
        )

    def rows(self, pairs: np.ndarray) -> np.ndarray:
        """The pairs whose user and item are both here, in rows of here: [n, 2] int64."""
        here = np.stack([self._user[pairs[:, 0]], self._item[pairs[:, 1]]], axis=1)
        return here[(here >= 0).all(1)]


def _places(rows: np.ndarray, count: int) -> np.ndarray:
    """For each of `count` old rows its place in `rows`, -1 where it is not among them."""
    places = np.full(count, -1, np.int64)
    places[rows] = np.arange(len(rows))
    return places


def held_out_in(pairs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of the pairs [n, 2] are among the others: bool [n]."""
    width = 1 + max(pairs[:, 1].max(initial=0), others[:, 1].max(initial=0))
    return np.isin(pairs[:, 0] * width + pairs[:, 1], others[:, 0] * width + others[:, 1])
