"""Ranking metrics of a recommender: each user's held-out items against the items that the user never touched.

Training, tuning and tables do not belong here. `tests/models/metrics/test_evaluate.py` checks these functions against
plain loops.
"""

from dataclasses import dataclass

import numpy as np
import torch

from models.metrics import diversity, sampled_auc, selection
from models.metrics.intervals import bootstrap_mean, mean, paired_difference
from models.metrics.list_metrics import RankedLists, group_by_user, mean_by_user
from models.metrics.ranking import Rows, above, best, counts, expect_rows, places, shares
from models.metrics.scoring import ScoringModel
from models.training.ranks import ALONE, Ranks

__all__ = ["PerUser", "auc_of_each", "bootstrap_mean", "evaluate", "exact_auc", "mean", "paired_difference", "top_k"]

TOP = 10  # length of the list that coverage, novelty and Gini are computed on


@dataclass(frozen=True, eq=False)
class PerUser:
    """Metrics of each user with held-out items; nan where the user has touched every item, so nothing is ranked.

    AUCs rank each held-out item among items that the user never touched, and average over the user's held-out items.
    The other metrics are of the list of these items and all held-out ones of the user (`list_metrics.py`).
    """

    user: np.ndarray  # [n] int32, row in the model's users
    held: np.ndarray  # [n] int32, number of held-out items
    auc: np.ndarray  # [n] float32: share of the untouched items that score below the held-out one; ties count half
    auc_strict: np.ndarray  # the same; ties count 0
    auc_sampled100: np.ndarray  # as K17's code: strict, over 100 drawn items without train items and the target
    auc_picture: np.ndarray  # pictures ranked instead of items: mean over the item's pictures; ties count half
    auc_category: np.ndarray  # among items of the held-out item's category; nan without a category or another item
    auc_warm: np.ndarray  # over held-out items that another user touches in train; nan without one
    auc_cold: np.ndarray  # over the other held-out items; nan without one
    auc_warm_seen: np.ndarray  # warm ones among untouched items that somebody touches in train
    auc_cold_unseen: np.ndarray  # cold ones among untouched items that nobody touches in train
    recall_at_10: np.ndarray  # share of the held-out items whose rank is at most 10
    recall_at_50: np.ndarray
    hit_at_10: np.ndarray  # 1 if any held-out item's rank is at most 10, else 0
    hit_at_50: np.ndarray
    ndcg_at_10: np.ndarray  # sum of 1 / log2(rank + 1) over ranks to 10, divided by its maximum
    ndcg_at_50: np.ndarray
    ndcg_at_100: np.ndarray
    map_at_10: np.ndarray  # sum of the precisions at the hits' ranks, divided by min(held, 10)
    map_at_12: np.ndarray  # the figure of H&M's public competition
    map_at_50: np.ndarray
    reciprocal_rank: np.ndarray  # 1 / rank of the first hit; its mean is the MRR
    novelty_at_10: np.ndarray  # mean self-information of the ten recommended, in bits (`diversity.self_information`)
    recommended: np.ndarray  # [n, 10] int32, the recommended item rows, best first; -1 where fewer are left


def evaluate(
    model: ScoringModel,
    held_out: np.ndarray,  # [p, 2] user row, item row: the split that is measured
    train: np.ndarray,  # [m, 2]
    others: np.ndarray,  # [l, 2]: the pairs of the remaining split
    *,
    category: np.ndarray | None = None,  # [I] int: category of each item, -1 for none
    seed: int = 0,
    device: torch.device | None = None,
) -> PerUser:
    """Compute all metrics of one split, keeping only one chunk of users x items in memory at a time.

    The users come in the order of their first pair. The candidates of a user are the items that the user touched in no
    split, and the user's held-out items: pass the test split as `others` when measuring validation, and vice versa. The
    ten recommended items are the best candidates. A held-out pair may also occur in train, when one picture of the item
    is held out and the others train: its item is ranked as usual, and counts as cold if no other user trains on it, so
    that its own leak does not make an item warm. Raises ValueError for rows outside the model, or if there is not one
    category for each item.
    """
    held_out, train, others = (np.asarray(pairs, np.int64).reshape(-1, 2) for pairs in (held_out, train, others))
    expect_rows(model, held_out, train, others)
    items = len(model.items)
    category = np.full(items, -1, np.int64) if category is None else np.asarray(category, np.int64)
    if category.shape != (items,):
        raise ValueError(f"category is {category.shape}; one for each of {items} items was expected")
    known = np.unique(train[:, 0] * items + train[:, 1])
    rows = Rows(model, np.concatenate([held_out, train, others]), device or torch.device("cpu"))
    users, group = group_by_user(held_out)
    draw = sampled_auc.Draw(model, users, known, seed)
    pairs, recommended = _measure(rows, held_out, draw, category, np.isin(np.arange(items), train[:, 1]))

    def by_user(values: np.ndarray, of: np.ndarray | bool = True) -> np.ndarray:
        return mean_by_user(np.where(of, values, np.nan), group, len(users)).astype(np.float32)

    cold = _cold(held_out, known, items)
    lists = RankedLists.of(group, len(users), pairs["above"], pairs["score"])
    return PerUser(
        user=users.astype(np.int32),
        held=lists.held.astype(np.int32),
        auc=by_user(pairs["auc"]),
        auc_strict=by_user(pairs["strict"]),
        auc_sampled100=by_user(pairs["sampled"]),
        auc_picture=by_user(pairs["picture"]),
        auc_category=by_user(pairs["category"]),
        auc_warm=by_user(pairs["auc"], ~cold),
        auc_cold=by_user(pairs["auc"], cold),
        auc_warm_seen=by_user(pairs["among_seen"], ~cold),
        auc_cold_unseen=by_user(pairs["among_unseen"], cold),
        recall_at_10=lists.recall(10),
        recall_at_50=lists.recall(50),
        hit_at_10=lists.hit(10),
        hit_at_50=lists.hit(50),
        ndcg_at_10=lists.ndcg(10),
        ndcg_at_50=lists.ndcg(50),
        ndcg_at_100=lists.ndcg(100),
        map_at_10=lists.average_precision(10),
        map_at_12=lists.average_precision(12),
        map_at_50=lists.average_precision(50),
        reciprocal_rank=lists.reciprocal_rank(),
        novelty_at_10=diversity.novelty(recommended, diversity.self_information(train, len(model.users), items)),
        recommended=recommended,
    )


def _measure(
    rows: Rows, held_out: np.ndarray, draw: sampled_auc.Draw, category: np.ndarray, seen: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Score each user once: (figures of the held-out pairs, each [p] float64; recommended items [users, 10] int32)."""
    names = ("auc", "strict", "sampled", "picture", "category", "among_seen", "among_unseen", "above", "score")
    of_pair = {name: np.full(len(held_out), np.nan) for name in names}
    unseen, lists = rows.to(np.flatnonzero(~seen)), [np.empty((0, TOP), np.int32)]
    for users, blocks in rows.pair_chunks(held_out):
        scores = rows.item_scores(users)  # [c, I]
        targets = [scores[rows.to(row), rows.to(held_out[pairs, 1])] for pairs, row in blocks]
        for (pairs, row), target in zip(blocks, targets, strict=True):
            of_pair["sampled"][pairs] = draw.auc(scores, target, row, held_out[pairs])
        rows.forget_touched(scores, users)
        scores_of_unseen = scores[:, unseen]
        candidates, new = rows.candidates[users], rows.untouched_among(~seen, users)
        for (pairs, row), target in zip(blocks, targets, strict=True):
            below, equal = counts(scores, target, row)
            below_new, equal_new = counts(scores_of_unseen, target, row)
            figures = {
                "auc": shares(below, equal, candidates[row]),
                "strict": shares(below, np.zeros_like(equal), candidates[row]),
                "above": above(below, equal, candidates[row]),
                "score": target.cpu().numpy(),
                "among_seen": shares(below - below_new, equal - equal_new, (candidates - new)[row]),
                "among_unseen": shares(below_new, equal_new, new[row]),
                "category": rows.category_auc(scores, target, row, users, held_out[pairs, 1], category),
            }
            for name, values in figures.items():
                of_pair[name][pairs] = values
        rows.forget_touched(scores, users, -torch.inf)
        for (pairs, row), target in zip(blocks, targets, strict=True):
            scores[rows.to(row), rows.to(held_out[pairs, 1])] = target
        lists.append(best(scores, TOP)[0])
        pairs, row = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        of_pair["picture"][pairs] = rows.picture_auc(users, row, held_out[pairs, 1])
    return of_pair, np.concatenate(lists)


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


def _cold(held_out: np.ndarray, known: np.ndarray, items: int) -> np.ndarray:
    """Find the held-out pairs whose item no other user touches in train (`known`, as codes): bool [n]."""
    own = np.isin(held_out[:, 0] * items + held_out[:, 1], known)
    return np.bincount(known % items, minlength=items)[held_out[:, 1]] == own
