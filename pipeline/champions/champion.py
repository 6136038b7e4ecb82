"""Decide whether a new model replaces the champion, by a paired bootstrap on data that neither was trained on.

Recommenders are compared by the NDCG@100 of users with held-out pairs, generators by their distance to held-out
garments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.data.factors import Factors
from models.metrics.generation import distance_differences
from models.metrics.intervals import bootstrap_mean
from models.metrics.list_metrics import RankedLists, group_by_user
from models.metrics.ranking import places
from pipeline.champions.model_registry import NOT_CHOSEN
from pipeline.champions.served_model import BEFORE, SPLITS, TrainingShop
from pipeline.core.dataset.extent import Extent
from pipeline.settings.assets import ChampionSettings, GeneratorChampionSettings

FIRST, OTHER_CLASSES, BETTER, NOT_WORSE = "first", "other classes", "better", "not worse"
BELOW_POPULARITY = "champion below popularity"
NOT_BETTER, WORSE, UNDECIDED = "not better", "worse", "undecided"
OF_A_SAMPLE, OF_ALL = "of a sample", "of all users"
PROMOTED = (FIRST, OTHER_CLASSES, BETTER, NOT_WORSE, OF_ALL, BELOW_POPULARITY)
CUT = 100  # of the NDCG that recommenders are compared by


@dataclass(frozen=True)
class Decision:
    """The decision on a challenger, with its numbers."""

    result: str  # one of the constants above
    why: str  # a sentence
    same_data: bool | None = None
    difference: float | None = None  # challenger minus champion; above 0 the challenger is better
    low: float | None = None  # 95% bootstrap interval of the difference
    high: float | None = None
    margin: float | None = None  # how far below 0 the lower end may be; 0 on the same data
    compared: int = 0  # number of users with held-out pairs, or of garments
    left_out: dict[str, int] | None = None  # reason -> count

    @property
    def promoted(self) -> bool:
        """Whether the challenger becomes the champion."""
        return self.result in PROMOTED

    def figures(self) -> dict[str, float]:
        """Return the numbers as MLflow metrics."""
        named = {"difference": self.difference, "difference_low": self.low, "difference_high": self.high}
        counted = {f"left_out.{reason}": float(count) for reason, count in (self.left_out or {}).items()}
        return {
            **{name: value for name, value in named.items() if value is not None},
            "compared": float(self.compared),
            **counted,
            "promoted": float(self.promoted),
        }

    def row(self) -> dict[str, Any]:
        """Return the whole decision as a table row."""
        numbers = {name: value for name, value in vars(self).items() if name not in ("result", "left_out")}
        return {"verdict": self.result, **numbers, "promoted": self.promoted, "left_out": self.left_out or {}}


@dataclass(frozen=True, eq=False)
class Contender:
    """One of two recommenders: its factors and the shop it was trained on, with the same rows."""

    factors: Factors
    shop: TrainingShop


@dataclass(frozen=True, eq=False)
class PairedValues:
    """Two models' values for the same users or garments, and the counts of pairs or garments left out."""

    challenger: np.ndarray  # [n]
    champion: np.ndarray  # [n]
    left_out: dict[str, int]


def first(name: str) -> Decision:
    """Decide on a challenger when there is no champion."""
    return Decision(FIRST, f"{name} had no champion.")


def other_classes(ours: Sequence[str], theirs: Sequence[str]) -> Decision:
    """Decide on a challenger when the champion generator draws other classes than the shop has now."""
    return Decision(
        OTHER_CLASSES,
        f"the champion draws {', '.join(theirs)}; the shop's classes are {', '.join(ours)} now, so the two cannot be "
        "compared and the challenger takes over.",
        same_data=False,
    )


def other_extent(ours: Extent, theirs: Extent) -> Decision | None:
    """Decide where only one of the two knows all users; None if both or neither do, so that they are compared."""
    if ours.sampled and not theirs.sampled:
        why = f"the challenger knows a part of the users ({ours.label}): the champion, which knows all, stays."
        return Decision(OF_A_SAMPLE, why, same_data=False)
    if theirs.sampled and not ours.sampled:
        why = f"the champion knows a part of the users ({theirs.label}); the challenger knows all, so it takes over."
        return Decision(OF_ALL, why, same_data=False)
    return None


def not_chosen(name: str, why: str) -> Decision:
    """Record that another model of the same data was chosen."""
    return Decision(NOT_CHOSEN, f"{name} was chosen on the same data: {why}", same_data=True)


def below_popularity(name: str) -> Decision:
    """Decide on the chosen model where the champion, of the same data, is below popularity."""
    return Decision(
        BELOW_POPULARITY,
        f"the champion's NDCG@10 is below popularity's by its whole interval, so {name}, the best on this data, takes "
        "over.",
        same_data=True,
    )


def decide(
    values: PairedValues,
    same_data: bool,
    settings: ChampionSettings | GeneratorChampionSettings,
    margin: float,
    what: str,
) -> Decision:
    """Decide whether the challenger replaces the champion.

    On the same data the challenger must be better: the interval of the paired difference lies above 0. On other data it
    must not be worse by more than `margin`: the interval lies above -margin. With fewer than `settings.minimum` values
    the champion stays.

    Args:
        values: of both models; larger is better.
        same_data: whether both were trained on the same tables.
        settings: seed, number of bootstrap draws, minimum number of values.
        margin: in the values' own unit.
        what: what was compared, in words.
    """
    difference = values.challenger - values.champion
    difference = difference[np.isfinite(difference)]
    count, mean = len(difference), float(difference.mean()) if len(difference) else 0.0
    if count < settings.minimum:
        why = f"only {count} {what} can be compared, {settings.minimum} are required: the champion stays."
        return Decision(UNDECIDED, why, same_data, compared=count, left_out=values.left_out)
    allowed = 0.0 if same_data else margin
    low, high = bootstrap_mean(difference, settings.seed, settings.resamples)
    won = low > -allowed
    result = (BETTER if won else NOT_BETTER) if same_data else (NOT_WORSE if won else WORSE)
    rule = "on the same data it must lie above 0" if same_data else f"on other data it must lie above -{margin:g}"
    why = (
        f"challenger minus champion is {mean:+.4f} ({low:+.4f} to {high:+.4f}) over {count} {what}; the lower end is "
        f"{low:+.4f}, and {rule}: {'it takes over' if won else 'the champion stays'}."
    )
    return Decision(result, why, same_data, mean, low, high, allowed, count, values.left_out)


def compare_recommenders(challenger: Contender, champion: Contender, device: torch.device) -> PairedValues:
    """Compute the NDCG@100 of both on the challenger's test pairs that neither was trained on, for each of their users.

    Validation pairs count as training, because they chose the epoch; so do the pairs of earlier models that either was
    started from. Users and items are matched by the shop's ids. A user's candidates are the items that both models know
    and that the user has in neither data set. A pair whose user or item the champion does not know is left out.
    """
    users, user_new, user_old = np.intersect1d(challenger.shop.reviewer, champion.shop.reviewer, return_indices=True)
    items, item_new, item_old = np.intersect1d(challenger.shop.asin, champion.shop.asin, return_indices=True)
    new = _Narrowed(challenger, user_new, item_new)
    old = _Narrowed(champion, user_old, item_old)
    test = challenger.shop.pairs("test")
    held_out = new.rows(test)
    left_out = {
        "user unknown to the champion": int((~np.isin(challenger.shop.reviewer[test[:, 0]], users)).sum()),
        "item unknown to the champion": int((~np.isin(challenger.shop.asin[test[:, 1]], items)).sum()),
    }
    trained = [contains(side.rows(side.shop.pairs("train", "validation", BEFORE)), held_out) for side in (new, old)]
    left_out["trained on by the challenger"] = int(trained[0].sum())
    left_out["trained on by the champion"] = int(trained[1].sum())
    held_out = held_out[~(trained[0] | trained[1])]
    touched = np.concatenate([side.rows(side.shop.pairs(*SPLITS)) for side in (new, old)])
    values = [ndcg_of_users(side.factors, held_out, touched, device) for side in (new, old)]
    return PairedValues(*values, left_out)


def ndcg_of_users(factors: Factors, held_out: np.ndarray, touched: np.ndarray, device: torch.device) -> np.ndarray:
    """Compute NDCG@100 of each user with held-out pairs [n, 2], among the items that the user touched in no pair."""
    users, group = group_by_user(held_out)
    found = places(factors, held_out, touched, device)
    return RankedLists.of(group, len(users), found.above, found.scores).ndcg(CUT)


def compare_generators(real: np.ndarray, challenger: np.ndarray, champion: np.ndarray, left_out: int) -> PairedValues:
    """Compare features of held-out garments [n, D] with those of as many drawn by each model, with equal classes.

    The mean of the values is the difference of the unbiased kernel distances, champion minus challenger: a positive
    mean is in the challenger's favour, whose distance is smaller.
    """
    gained = distance_differences(real, champion, challenger)
    return PairedValues(gained, np.zeros(len(gained)), {"trained on by the champion": left_out})


class _Narrowed:
    """A recommender restricted to the users and items that both know, in a common order."""

    def __init__(self, contender: Contender, users: np.ndarray, items: np.ndarray) -> None:
        self.shop = contender.shop
        whole = contender.factors
        self.factors = whole.narrowed(users, items)
        self._user, self._item = (
            _new_rows(rows, len(names)) for rows, names in ((users, whole.users), (items, whole.items))
        )

    def rows(self, pairs: np.ndarray) -> np.ndarray:
        """Convert pairs to the restricted rows, without pairs of other users or items: [n, 2] int64."""
        converted = np.stack([self._user[pairs[:, 0]], self._item[pairs[:, 1]]], axis=1)
        return converted[(converted >= 0).all(1)]


def _new_rows(rows: np.ndarray, count: int) -> np.ndarray:
    """Map each of `count` old rows to its position in `rows`, -1 if it is not in it."""
    positions = np.full(count, -1, np.int64)
    positions[rows] = np.arange(len(rows))
    return positions


def contains(pairs: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return which of the `wanted` pairs [n, 2] are in `pairs`: bool [n]."""
    width = 1 + max(pairs[:, 1].max(initial=0), wanted[:, 1].max(initial=0))
    return np.isin(wanted[:, 0] * width + wanted[:, 1], pairs[:, 0] * width + pairs[:, 1])
