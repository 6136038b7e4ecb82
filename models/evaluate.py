"""What a recommender is worth: one held-out item a user, ranked against what the user never touched.

Every model is measured from its factors, in the same way; intervals are over users. Training, tuning and
tables belong elsewhere. Written for speed: `tests/models/test_evaluate.py` holds the obvious loops.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.factors import Factors

SAMPLED = 100  # items a user in K17's estimate
TOP = 10
_CHUNK_BYTES = 16 * 2**20  # of scores at a time: about what the CPU's cache still helps with


@dataclass(frozen=True, eq=False)
class PerUser:
    """One entry for each held-out (user, item); nan where a user has touched everything, so nothing is ranked."""

    user: np.ndarray  # [n] int32, row in Factors.users
    item: np.ndarray  # [n] int32, row in Factors.items
    cold: np.ndarray  # [n] bool: nobody else touches the item in train
    auc: np.ndarray  # [n] float32: share of the untouched items scored below the held-out one, ties a half
    auc_strict: np.ndarray  # the same, ties nothing
    auc_sampled100: np.ndarray  # K17's code: of 100 drawn items, train items and the target skipped, strict
    auc_picture: np.ndarray  # pictures ranked instead of items: mean over the item's pictures, ties a half
    recall_at_10: np.ndarray  # 1 where fewer than ten untouched items rank above; ties count half
    ndcg_at_10: np.ndarray  # 1 / log2(rank + 1) with the rank from 1, and 0 beyond ten


def evaluate(
    factors: Factors,
    held_out: np.ndarray,  # [n, 2] user row, item row: the split that is measured
    train: np.ndarray,  # [m, 2]
    others: np.ndarray,  # [l, 2]: what the users touched in the remaining split
    *,
    seed: int = 0,
    device: torch.device | None = None,
) -> PerUser:
    """All metrics of one split, a user at a time; a chunk of users x items is all that is ever in memory.

    Candidates are the items that the user touched in no split, so `others` is the test split when validation is
    measured and the other way round. A held-out pair may also stand in train (one picture of it is held out, the
    others train): its item is ranked all the same, and is cold where that user alone trains on it: no item is warm by
    its own leak. Raises ValueError for rows outside the factors.
    """
    held_out, train, others = (np.asarray(pairs, np.int64).reshape(-1, 2) for pairs in (held_out, train, others))
    _check(factors, held_out, train, others)
    known = np.unique(train[:, 0] * len(factors.items) + train[:, 1])
    sampled = _sampled_auc_plan(factors, held_out, known, seed)
    rows = _Rows(factors, np.concatenate([held_out, train, others]), device or torch.device("cpu"))
    n = len(held_out)
    columns = {name: np.full(n, np.nan, np.float32) for name in ("auc", "strict", "sampled", "picture", "rank")}
    for chunk in rows.chunks(held_out[:, 0]):
        users, items = held_out[chunk, 0], held_out[chunk, 1]
        scores = rows.item_scores(users)  # [c, I]
        target = scores.gather(1, rows.to(items)[:, None])  # [c, 1]
        columns["sampled"][chunk] = _sampled_auc(scores, target, sampled[chunk])
        rows.forget_touched(scores, users)
        below, equal = _counts(scores, target)
        candidates = rows.candidates[users]
        columns["auc"][chunk] = _shares(below, equal, candidates)
        columns["strict"][chunk] = _shares(below, np.zeros_like(equal), candidates)
        columns["rank"][chunk] = candidates - below - 0.5 * equal  # 0 is best
        columns["picture"][chunk] = rows.picture_auc(users, items)
    hit = columns["rank"] < TOP
    return PerUser(
        user=held_out[:, 0].astype(np.int32),
        item=held_out[:, 1].astype(np.int32),
        cold=_cold(held_out, known, len(factors.items)),
        auc=columns["auc"],
        auc_strict=columns["strict"],
        auc_sampled100=columns["sampled"],
        auc_picture=columns["picture"],
        recall_at_10=hit.astype(np.float32),
        ndcg_at_10=np.where(hit, 1 / np.log2(columns["rank"] + 2), 0).astype(np.float32),
    )


def exact_auc(factors: Factors, held_out: np.ndarray, touched: np.ndarray, device: torch.device | None = None) -> float:
    """Mean exact AUC alone (K17, equation 7), for the end of an epoch; nan without held-out pairs.

    `touched` [m, 2] is every pair of every split; ties count a half.
    """
    held_out, touched = (np.asarray(pairs, np.int64).reshape(-1, 2) for pairs in (held_out, touched))
    _check(factors, held_out, touched)
    rows = _Rows(factors, np.concatenate([held_out, touched]), device or torch.device("cpu"))
    auc = np.full(len(held_out), np.nan)
    for chunk in rows.chunks(held_out[:, 0]):
        users, items = held_out[chunk, 0], held_out[chunk, 1]
        scores = rows.item_scores(users)
        target = scores.gather(1, rows.to(items)[:, None])
        rows.forget_touched(scores, users)
        auc[chunk] = _shares(*_counts(scores, target), rows.candidates[users])
    return mean(auc)


def mean(values: np.ndarray) -> float:
    """Mean over the users that have a value; nan when none has."""
    values = values[np.isfinite(values)]
    return float(values.mean(dtype=np.float64)) if len(values) else float("nan")


def bootstrap_mean(values: np.ndarray, seed: int, n: int = 1000) -> tuple[float, float]:
    """95 % percentile interval of the mean over users, from `n` resamples; (nan, nan) when no user has a value."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(n)])
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def paired_difference(a: np.ndarray, b: np.ndarray, seed: int, n: int = 1000) -> tuple[float, float, float]:
    """Mean of a - b over the users who have both, with its 95 % bootstrap interval: (mean, low, high).

    Raises ValueError unless `a` and `b` list the same users in the same order (the same length, that is).
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"a paired difference needs the same users on both sides, got {a.shape} and {b.shape}")
    difference = a - b
    return mean(difference), *bootstrap_mean(difference, seed, n)


def top_k(
    factors: Factors, exclude: np.ndarray, k: int, device: torch.device | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k best items of every user: (item rows [U, k] int32, scores [U, k] float32), best first.

    `exclude` [m, 2] are pairs never to be recommended (what the user has). Ties go to the lower item row. Where a
    user has fewer than k items left, the rest is item -1 with score -inf.
    """
    exclude = np.asarray(exclude, np.int64).reshape(-1, 2)
    _check(factors, exclude)
    if k < 1:
        raise ValueError(f"k={k}: at least one item must be asked for")
    rows = _Rows(factors, exclude, device or torch.device("cpu"))
    users, wanted = len(factors.users), min(k, len(factors.items))
    items = np.full((users, k), -1, np.int32)
    scores = np.full((users, k), -np.inf, np.float32)
    for chunk in rows.chunks(np.arange(users)):
        values = rows.forget_touched(rows.item_scores(chunk), chunk, -torch.inf)
        kth = values.topk(wanted, sorted=True).values[:, -1].cpu().numpy()
        for user, row, least in zip(chunk, values.cpu().numpy(), kth, strict=True):
            good = np.flatnonzero((row >= least) & (row > -np.inf))  # all that tie with the k-th as well
            best = good[np.argsort(-row[good], kind="stable")][:k]
            items[user, : len(best)], scores[user, : len(best)] = best, row[best]
    return items, scores


class _Rows:
    """Scores of a few users at a time, on the device, and which of them do not count."""

    def __init__(self, factors: Factors, touched: np.ndarray, device: torch.device) -> None:
        self.device = device
        self.theta = torch.from_numpy(factors.theta).to(device)
        self.item = torch.from_numpy(factors.item).to(device)
        self.bias = torch.from_numpy(factors.item_bias).to(device)
        self.phi = torch.from_numpy(factors.phi).to(device) if factors.sees_pictures else None
        self.image_item = torch.from_numpy(factors.image_item.astype(np.int64)).to(device)
        user, item = np.divmod(np.unique(touched[:, 0] * len(factors.items) + touched[:, 1]), len(factors.items))
        self.touched = _Lists(user, item, len(factors.users))
        self.candidates = len(factors.items) - self.touched.counts  # [U], items that the user never touched
        self.images = _Lists(factors.image_item, np.arange(len(factors.image_item)), len(factors.items))
        width = max(len(factors.items), len(factors.image_item))
        self.chunk = max(1, _CHUNK_BYTES // (4 * width))

    def to(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def chunks(self, users: np.ndarray) -> list[np.ndarray]:
        """Numbers of entries, a chunk at a time."""
        return [np.arange(start, min(start + self.chunk, len(users))) for start in range(0, len(users), self.chunk)]

    def item_scores(self, users: np.ndarray) -> Tensor:
        return torch.addmm(self.bias, self.theta[self.to(users)], self.item.T)  # [c, I]

    def forget_touched(self, scores: Tensor, users: np.ndarray, value: float = torch.nan) -> Tensor:
        """Overwrite what the users touched: nan is neither below, equal nor above anything."""
        row, item = self.touched.of(users)
        scores[self.to(row), self.to(item)] = value
        return scores

    def picture_auc(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Mean over the held-out item's pictures of the share of untouched items' pictures scored below, ties half."""
        if not len(self.image_item):
            return np.full(len(users), np.nan, np.float32)
        if self.phi is None:
            scores = self.item_scores(users)[:, self.image_item]
        else:
            scores = torch.addmm(self.bias[self.image_item], self.theta[self.to(users)], self.phi.T)
        pair, image = self.images.of(items)  # entry of the chunk, picture of its held-out item
        target = scores[self.to(pair), self.to(image)]
        row, item = self.touched.of(users)
        slot, touched_image = self.images.of(item)
        scores[self.to(row[slot]), self.to(touched_image)] = torch.nan
        candidates = len(self.image_item) - np.bincount(row[slot], minlength=len(users))
        share = np.full(len(pair), np.nan)
        for start in range(0, len(pair), self.chunk):
            part = slice(start, start + self.chunk)
            below, equal = _counts(scores[self.to(pair[part])], target[part, None])
            share[part] = _shares(below, equal, candidates[pair[part]])
        counts = np.bincount(pair, minlength=len(users))
        with np.errstate(invalid="ignore"):
            return np.bincount(pair, share, minlength=len(users)) / counts


class _Lists:
    """Lists of numbers by key, flat: `of(keys)` gives every (position in keys, number) pair."""

    def __init__(self, keys: np.ndarray, values: np.ndarray, limit: int) -> None:
        order = np.argsort(keys, kind="stable")
        self.values = np.asarray(values, np.int64)[order]
        self.ends = np.cumsum(np.bincount(keys, minlength=limit))
        self.counts = np.diff(self.ends, prepend=0)

    def of(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counts = self.counts[keys]
        position = np.repeat(np.arange(len(keys)), counts)
        first = np.repeat(self.ends[keys] - np.cumsum(counts), counts)
        return position, self.values[first + np.arange(len(position))]


def _counts(scores: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """How many of each row of `scores` [c, n] lie below, and at, `target` [c, 1]; nan lies nowhere."""
    assert target.shape == (len(scores), 1)
    if scores.device.type != "cpu":
        return (scores < target).sum(1).cpu().numpy(), (scores == target).sum(1).cpu().numpy()
    # numpy counts a row of booleans five times faster than torch reduces a matrix of them.
    rows, least = scores.numpy(), target.numpy()[:, 0]
    below = [np.count_nonzero(row < value) for row, value in zip(rows, least, strict=True)]
    equal = [np.count_nonzero(row == value) for row, value in zip(rows, least, strict=True)]
    return np.array(below, np.int64), np.array(equal, np.int64)


def _shares(below: np.ndarray, equal: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """AUC with ties a half; nan where there is no candidate."""
    with np.errstate(invalid="ignore"):
        return (below + 0.5 * equal) / candidates


def _cold(held_out: np.ndarray, known: np.ndarray, items: int) -> np.ndarray:
    """Whether nobody but its own user touches the item of each held-out pair in train (`known` codes): bool [n]."""
    own = np.isin(held_out[:, 0] * items + held_out[:, 1], known)
    return np.bincount(known % items, minlength=items)[held_out[:, 1]] == own


def _sampled_auc_plan(factors: Factors, held_out: np.ndarray, known: np.ndarray, seed: int) -> np.ndarray:
    """The items drawn for each held-out pair [n, <= 100]; -1 where K17's code skips the draw.

    `known` are the train pairs, user row * items + item row, distinct. Seeded by (seed, global user id): a user's draw
    is the same whatever the model and whoever else is measured.
    """
    items = len(factors.items)
    drawn = np.empty((len(held_out), min(SAMPLED, items)), np.int64)
    for row, user in enumerate(factors.users[held_out[:, 0]]):
        rng = np.random.default_rng([seed, int(user)])
        drawn[row] = rng.choice(items, drawn.shape[1], replace=False, shuffle=False)
    skipped = np.isin(held_out[:, :1] * items + drawn, known) | (drawn == held_out[:, 1:])
    return np.where(skipped, -1, drawn)


def _sampled_auc(scores: Tensor, target: Tensor, drawn: np.ndarray) -> np.ndarray:
    counted = torch.from_numpy(drawn >= 0).to(scores.device)
    values = scores.gather(1, torch.from_numpy(np.maximum(drawn, 0)).to(scores.device))
    wins = ((values < target) & counted).sum(1)
    return (wins / counted.sum(1)).cpu().numpy()  # nan where every draw was skipped


def _check(factors: Factors, *tables: np.ndarray) -> None:
    for pairs in tables:
        for column, limit, name in ((0, len(factors.users), "user"), (1, len(factors.items), "item")):
            rows = pairs[:, column]
            if len(rows) and not (rows.min() >= 0 and rows.max() < limit):
                raise ValueError(
                    f"{name} rows {rows.min()} to {rows.max()} asked for, the factors have {limit}: "
                    "the model was trained on another data set; train it again"
                )
