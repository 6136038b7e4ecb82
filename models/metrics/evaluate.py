"""Ranking metrics of a recommender: each user's held-out item against the items that the user never touched.

Training, tuning and tables do not belong here. `tests/models/metrics/test_evaluate.py` checks these functions against
plain loops.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.metrics import diversity, selection
from models.metrics.intervals import bootstrap_mean, mean, paired_difference
from models.metrics.ranking import Rows, best, counts, expect_rows, places, shares
from models.metrics.scoring import ScoringModel
from models.training.ranks import ALONE, Ranks

__all__ = ["PerUser", "auc_of_each", "bootstrap_mean", "evaluate", "exact_auc", "mean", "paired_difference", "top_k"]

SAMPLED = 100  # items drawn for each user in K17's estimate of the AUC
TOP = 10  # length of the list that coverage, novelty and Gini are computed on


@dataclass(frozen=True, eq=False)
class PerUser:
    """Metrics of each held-out (user, item) pair; nan where the user has touched every item, so nothing is ranked.

    With one held-out item for each user, recall at k equals the hit rate at k. Ranks start at 1 and ties count half:
    an item that ties with two others gets the middle one of the three ranks.
    """

    user: np.ndarray  # [n] int32, row in the model's users
    item: np.ndarray  # [n] int32, row in the model's items
    cold: np.ndarray  # [n] bool: no other user touches the item in train
    auc: np.ndarray  # [n] float32: share of the untouched items that score below the held-out one; ties count half
    auc_strict: np.ndarray  # the same; ties count 0
    auc_sampled100: np.ndarray  # as K17's code: strict, over 100 drawn items without train items and the target
    auc_picture: np.ndarray  # pictures ranked instead of items: mean over the item's pictures; ties count half
    auc_category: np.ndarray  # among items of the held-out item's category; nan without a category or another item
    recall_at_10: np.ndarray  # 1 if the rank is at most 10, else 0; equals the hit rate
    recall_at_50: np.ndarray
    ndcg_at_10: np.ndarray  # 1 / log2(rank + 1), 0 beyond rank 10
    ndcg_at_50: np.ndarray
    reciprocal_rank: np.ndarray  # 1 / rank; its mean is the MRR
    novelty_at_10: np.ndarray  # mean self-information of the ten recommended, in bits (`diversity.self_information`)
    recommended: np.ndarray  # [n, 10] int32, the recommended item rows, best first; -1 where fewer are left


def evaluate(
    model: ScoringModel,
    held_out: np.ndarray,  # [n, 2] user row, item row: the split that is measured
    train: np.ndarray,  # [m, 2]
    others: np.ndarray,  # [l, 2]: the pairs of the remaining split
    *,
    category: np.ndarray | None = None,  # [I] int: category of each item, -1 for none
    seed: int = 0,
    device: torch.device | None = None,
) -> PerUser:
    """Compute all metrics of one split, keeping only one chunk of users x items in memory at a time.

    The candidates of a user are the items that the user touched in no split: pass the test split as `others` when
    measuring validation, and vice versa. The ten recommended items are the best of the candidates and the held-out
    item. A held-out pair may also occur in train, when one picture of the item is held out and the others train: its
    item is ranked as usual, and counts as cold if no other user trains on it, so that its own leak does not make an
    item warm. Raises ValueError for rows outside the model, or if there is not one category for each item.
    """
    held_out, train, others = (np.asarray(pairs, np.int64).reshape(-1, 2) for pairs in (held_out, train, others))
    expect_rows(model, held_out, train, others)
    items = len(model.items)
    category = np.full(items, -1, np.int64) if category is None else np.asarray(category, np.int64)
    if category.shape != (items,):
        raise ValueError(f"category is {category.shape}; one for each of {items} items was expected")
    known = np.unique(train[:, 0] * items + train[:, 1])
    sampled = _sampled_auc_plan(model, held_out, known, seed)
    rows = Rows(model, np.concatenate([held_out, train, others]), device or torch.device("cpu"))
    n = len(held_out)
    names = ("auc", "strict", "sampled", "picture", "category", "above")
    columns = {name: np.full(n, np.nan, np.float32) for name in names}
    recommended = np.full((n, TOP), -1, np.int32)
    for chunk in rows.chunks(held_out[:, 0]):
        users, target_items = held_out[chunk, 0], held_out[chunk, 1]
        scores = rows.item_scores(users)  # [c, I]
        at = rows.to(target_items)[:, None]
        target = scores.gather(1, at)  # [c, 1]
        columns["sampled"][chunk] = _sampled_auc(scores, target, sampled[chunk])
        rows.forget_touched(scores, users)
        below, equal = counts(scores, target[:, 0])
        candidates = rows.candidates[users]
        columns["auc"][chunk] = shares(below, equal, candidates)
        columns["strict"][chunk] = shares(below, np.zeros_like(equal), candidates)
        # The rank minus one.
        columns["above"][chunk] = np.where(candidates > 0, candidates - below - 0.5 * equal, np.nan)
        columns["category"][chunk] = rows.category_auc(scores, target, users, target_items, category)
        scores = rows.forget_touched(scores, users, -torch.inf).scatter_(1, at, target)
        recommended[chunk] = best(scores, TOP)[0]
        columns["picture"][chunk] = rows.picture_auc(users, target_items)
    above = columns["above"]
    information = diversity.self_information(train, len(model.users), items)
    return PerUser(
        user=held_out[:, 0].astype(np.int32),
        item=held_out[:, 1].astype(np.int32),
        cold=_cold(held_out, known, items),
        auc=columns["auc"],
        auc_strict=columns["strict"],
        auc_sampled100=columns["sampled"],
        auc_picture=columns["picture"],
        auc_category=columns["category"],
        recall_at_10=_within(above, 10, 1.0),
        recall_at_50=_within(above, 50, 1.0),
        ndcg_at_10=_within(above, 10, 1 / np.log2(above + 2)),
        ndcg_at_50=_within(above, 50, 1 / np.log2(above + 2)),
        reciprocal_rank=1 / (above + 1),
        novelty_at_10=diversity.novelty(recommended, information),
        recommended=recommended,
    )


def exact_auc(
    model: ScoringModel,
    held_out: np.ndarray,
    touched: np.ndarray,
    device: torch.device | None = None,
    ranks: Ranks = ALONE,
) -> float:
    """Compute only the mean exact AUC over users (K17, equation 7); nan without held-out pairs.

    `touched` [m, 2] holds every pair of every split; ties count half. Each rank evaluates its share of the pairs.
    """
    return selection.measures(model, held_out, touched, device, ranks)[selection.AUC]


def auc_of_each(
    model: ScoringModel, held_out: np.ndarray, touched: np.ndarray, device: torch.device | None = None
) -> np.ndarray:
    """Compute the exact AUC of each held-out pair: [n] float64, nan where the user has touched every item.

    Arguments as in `exact_auc`.
    """
    return places(model, held_out, touched, device or torch.device("cpu")).auc


def top_k(
    model: ScoringModel, exclude: np.ndarray, k: int, device: torch.device | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k best items of every user: (item rows [U, k] int32, scores [U, k] float32), best first.

    `exclude` [m, 2] holds pairs that are never recommended, such as the items the user already has. Ties go to the
    lower item row. If a user has fewer than k items left, the rest is item -1 with score -inf. Raises ValueError for
    k below 1.
    """
    exclude = np.asarray(exclude, np.int64).reshape(-1, 2)
    expect_rows(model, exclude)
    if k < 1:
        raise ValueError(f"k={k}: ask for at least one item")
    rows = Rows(model, exclude, device or torch.device("cpu"))
    users = len(model.users)
    items = np.full((users, k), -1, np.int32)
    scores = np.full((users, k), -np.inf, np.float32)
    for chunk in rows.chunks(np.arange(users)):
        items[chunk], scores[chunk] = best(rows.forget_touched(rows.item_scores(chunk), chunk, -torch.inf), k)
    return items, scores


def _within(above: np.ndarray, k: int, gain: np.ndarray | float) -> np.ndarray:
    """Return `gain` where fewer than k items rank above, else 0; nan where nothing is ranked."""
    return np.where(np.isnan(above), np.nan, np.where(above < k, gain, 0)).astype(np.float32)


def _cold(held_out: np.ndarray, known: np.ndarray, items: int) -> np.ndarray:
    """Find the held-out pairs whose item no other user touches in train (`known`, as codes): bool [n]."""
    own = np.isin(held_out[:, 0] * items + held_out[:, 1], known)
    return np.bincount(known % items, minlength=items)[held_out[:, 1]] == own


def _sampled_auc_plan(model: ScoringModel, held_out: np.ndarray, known: np.ndarray, seed: int) -> np.ndarray:
    """Draw the items that each held-out pair is compared with: [n, <= 100], -1 where K17's code skips the draw.

    `known` holds the distinct train pairs as user row * items + item row. Seeded by (seed, global user id), so that a
    user's draw depends neither on the model nor on the other users.
    """
    items = len(model.items)
    drawn = np.empty((len(held_out), min(SAMPLED, items)), np.int64)
    for row, user in enumerate(model.users[held_out[:, 0]]):
        rng = np.random.default_rng([seed, int(user)])
        drawn[row] = rng.choice(items, drawn.shape[1], replace=False, shuffle=False)
    skipped = np.isin(held_out[:, :1] * items + drawn, known) | (drawn == held_out[:, 1:])
    return np.where(skipped, -1, drawn)


def _sampled_auc(scores: Tensor, target: Tensor, drawn: np.ndarray) -> np.ndarray:
    counted = torch.from_numpy(drawn >= 0).to(scores.device)
    values = scores.gather(1, torch.from_numpy(np.maximum(drawn, 0)).to(scores.device))
    wins = ((values < target) & counted).sum(1)
    return (wins / counted.sum(1)).cpu().numpy()  # nan where every draw was skipped
