"""Score a few users at a time on the device, and count how many candidates score below the held-out items."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.metrics.list_metrics import group_by_user
from models.metrics.scoring import ScoringModel

_CHUNK_BYTES = 16 * 2**20  # scores computed at a time: about as much as still profits from the CPU's cache


class Rows:
    """Scores of a model in chunks of users, with the means to exclude the items that a user touched."""

    def __init__(self, model: ScoringModel, touched: np.ndarray, device: torch.device) -> None:
        self.device, self.items = device, len(model.items)
        self.scorer = model.scorer(device)
        self.image_item = torch.from_numpy(model.image_item.astype(np.int64)).to(device)
        user, item = np.divmod(np.unique(touched[:, 0] * self.items + touched[:, 1]), self.items)
        self.touched = Lists(user, item, len(model.users))
        self.candidates = self.items - self.touched.counts  # [U], number of items that the user never touched
        self.images = Lists(model.image_item, np.arange(len(model.image_item)), self.items)
        width = max(self.items, len(model.image_item))
        self.chunk = max(1, _CHUNK_BYTES // (4 * width))

    def to(self, values: np.ndarray) -> Tensor:
        """Copy an array to the device."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def chunks(self, users: np.ndarray) -> list[np.ndarray]:
        """Split the entries of `users` into chunks: a list of position arrays."""
        return [np.arange(start, min(start + self.chunk, len(users))) for start in range(0, len(users), self.chunk)]

    def pair_chunks(self, held_out: np.ndarray) -> Iterator[tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]]:
        """Split pairs [n, 2] into chunks of distinct users: (user rows [c], blocks), in order of first appearance.

        A block is (positions of pairs, their row in the chunk) of at most `chunk` pairs, so that memory stays bounded
        however many items a user holds out.
        """
        users, group = group_by_user(held_out)
        order = np.argsort(group, kind="stable")
        ends = np.cumsum(np.bincount(group, minlength=len(users)))
        for chunk in self.chunks(users):
            first, last = chunk[0], chunk[-1]
            pairs = order[ends[first - 1] if first else 0 : ends[last]]
            cut = range(0, len(pairs), self.chunk)
            blocks = [pairs[start : start + self.chunk] for start in cut]
            yield users[chunk], [(block, group[block] - first) for block in blocks]

    def item_scores(self, users: np.ndarray) -> Tensor:
        """Score all items for user rows [c]: [c, I]. ValueError for any other shape, which broadcasting would hide."""
        scores = self.scorer.items(users)
        if scores.shape != (len(users), self.items):
            raise ValueError(f"the model scored {tuple(scores.shape)}; {(len(users), self.items)} was expected")
        return scores

    def forget_touched(self, scores: Tensor, users: np.ndarray, value: float = torch.nan) -> Tensor:
        """Overwrite the scores of touched items in place; nan compares neither below, equal nor above anything."""
        row, item = self.touched.of(users)
        scores[self.to(row), self.to(item)] = value
        return scores

    def untouched_among(self, chosen: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Count the items of a mask [I] that each user never touched: [c]."""
        row, item = self.touched.of(users)
        return int(chosen.sum()) - np.bincount(row[chosen[item]], minlength=len(users))

    def category_auc(
        self,
        scores: Tensor,
        target: Tensor,
        row: np.ndarray,
        users: np.ndarray,
        items: np.ndarray,
        category: np.ndarray,
    ) -> np.ndarray:
        """Compute the AUC among the untouched items of the held-out item's own category, ties counting half: [n].

        nan without a category, or without another untouched item in it.

        Args:
            scores: [c, I], after `forget_touched`.
            target: [n], score of each held-out item.
            row: [n], its row of `scores`.
            users: [c], user rows of `scores`.
            items: [n], the held-out items.
            category: [I], -1 for none.
        """
        own = category[items]
        share = np.full(len(items), np.nan)
        for c in np.unique(own[own >= 0]):
            members = category == c
            pairs = np.flatnonzero(own == c)
            at = self.to(row[pairs])
            below, equal = counts(scores[at[:, None], self.to(np.flatnonzero(members))], target[self.to(pairs)])
            share[pairs] = shares(below, equal, self.untouched_among(members, users)[row[pairs]])
        return share

    def picture_auc(self, users: np.ndarray, of: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Compute the AUC over pictures of held-out items [n]; `of` [n] is the position of their user in `users`: [n].

        For each picture of the held-out item, the share of the untouched items' pictures that score below it (ties
        count half); then the mean over the item's pictures.
        """
        if not len(self.image_item):
            return np.full(len(items), np.nan)
        scores = self.scorer.pictures(users)
        if scores is None:
            scores = self.item_scores(users)[:, self.image_item]
        pair, image = self.images.of(items)  # position of the held-out item, one of its pictures
        own = of[pair]
        target = scores[self.to(own), self.to(image)]
        row, item = self.touched.of(users)
        slot, touched_image = self.images.of(item)
        scores[self.to(row[slot]), self.to(touched_image)] = torch.nan
        candidates = len(self.image_item) - np.bincount(row[slot], minlength=len(users))
        share = np.full(len(pair), np.nan)
        for start in range(0, len(pair), self.chunk):
            part = slice(start, start + self.chunk)
            below, equal = counts(scores, target[part], own[part])
            share[part] = shares(below, equal, candidates[own[part]])
        number = np.bincount(pair, minlength=len(items))
        with np.errstate(invalid="ignore"):
            return np.bincount(pair, share, minlength=len(items)) / number


class Lists:
    """A list of numbers for each key, stored flat; `of(keys)` returns every (position in keys, number) pair."""

    def __init__(self, keys: np.ndarray, values: np.ndarray, limit: int) -> None:
        order = np.argsort(keys, kind="stable")
        self.values = np.asarray(values, np.int64)[order]
        self.ends = np.cumsum(np.bincount(keys, minlength=limit))
        self.counts = np.diff(self.ends, prepend=0)

    def of(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return every (position in keys, number) pair, in the order of the keys."""
        number = self.counts[keys]
        position = np.repeat(np.arange(len(keys)), number)
        first = np.repeat(self.ends[keys] - np.cumsum(number), number)
        return position, self.values[first + np.arange(len(position))]


@dataclass(frozen=True, eq=False)
class Places:
    """Where each held-out item lies among the items that its user never touched."""

    auc: np.ndarray  # [n] float64: share of the untouched items that score below, ties a half; nan where there are none
    above: np.ndarray  # [n] float64: number of untouched items that score above, ties a half; nan where there are none
    scores: np.ndarray  # [n] float64


def places(model: ScoringModel, held_out: np.ndarray, touched: np.ndarray, device: torch.device) -> Places:
    """Find the places of held-out pairs [n, 2]; `touched` [m, 2] holds every pair of every split.

    Raises ValueError for rows outside the model.
    """
    held_out, touched = (np.asarray(pairs, np.int64).reshape(-1, 2) for pairs in (held_out, touched))
    expect_rows(model, held_out, touched)
    rows = Rows(model, np.concatenate([held_out, touched]), device)
    found = Places(*(np.full(len(held_out), np.nan) for _ in range(3)))
    for users, blocks in rows.pair_chunks(held_out):
        scores = rows.item_scores(users)
        own = [scores[rows.to(row), rows.to(held_out[pairs, 1])] for pairs, row in blocks]  # before they are forgotten
        rows.forget_touched(scores, users)
        for (pairs, row), target in zip(blocks, own, strict=True):
            counted = *counts(scores, target, row), rows.candidates[users[row]]
            found.scores[pairs], found.auc[pairs] = target.cpu().numpy(), shares(*counted)
            found.above[pairs] = above(*counted)
    return found


def expect_rows(model: ScoringModel, *tables: np.ndarray) -> None:
    """Raise ValueError for pairs [n, 2] with rows outside the model."""
    for pairs in tables:
        for column, limit, name in ((0, len(model.users), "user"), (1, len(model.items), "item")):
            rows = pairs[:, column]
            if len(rows) and not (rows.min() >= 0 and rows.max() < limit):
                raise ValueError(
                    f"{name} rows {rows.min()} to {rows.max()} asked for, the factors have {limit}: "
                    "the model was trained on another data set; train it again"
                )


def counts(scores: Tensor, target: Tensor, row: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Count the scores below and equal to each `target` [n]; nan counts as neither.

    `row` [n] names the row of `scores` [c, items] that each target is counted in; by default row i for target i.
    """
    row = np.arange(len(scores)) if row is None else row
    assert target.shape == row.shape
    if scores.device.type != "cpu":
        scores = scores[torch.from_numpy(row).to(scores.device)]
        return (scores < target[:, None]).sum(1).cpu().numpy(), (scores == target[:, None]).sum(1).cpu().numpy()
    # numpy counts a row of booleans five times faster than torch reduces a matrix of them.
    rows, values = scores.numpy(), target.numpy()
    below = [np.count_nonzero(rows[at] < value) for at, value in zip(row, values, strict=True)]
    equal = [np.count_nonzero(rows[at] == value) for at, value in zip(row, values, strict=True)]
    return np.array(below, np.int64), np.array(equal, np.int64)


def shares(below: np.ndarray, equal: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Compute the AUC with ties counting half; nan where there is no candidate."""
    with np.errstate(invalid="ignore"):
        return (below + 0.5 * equal) / candidates


def above(below: np.ndarray, equal: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Count the candidates that rank above, ties counting half; nan where there is no candidate."""
    return np.where(candidates > 0, candidates - below - 0.5 * equal, np.nan)


def best(scores: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k largest scores of each row [c, n]: (columns [c, k] int32, scores [c, k] float32), best first.

    Ties go to the lower column, on every device. -inf is never taken; if fewer than k are left, the rest is column -1
    with score -inf.
    """
    columns = np.full((len(scores), k), -1, np.int32)
    values = np.full((len(scores), k), -np.inf, np.float32)
    kth = scores.topk(min(k, scores.shape[1]), sorted=True).values[:, -1].cpu().numpy()
    for place, (row, least) in enumerate(zip(scores.cpu().numpy(), kth, strict=True)):
        good = np.flatnonzero((row >= least) & (row > -np.inf))  # includes all ties with the k-th
        chosen = good[np.argsort(-row[good], kind="stable")][:k]
        columns[place, : len(chosen)], values[place, : len(chosen)] = chosen, row[chosen]
    return columns, values
