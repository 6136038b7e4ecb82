"""Metrics of each user's ranked list, from the ranks of the user's held-out items: recall, hits, NDCG, MAP, first hit.

The list of a user holds the items that the user never touched and the user's held-out items of the measured split.
Finding the scores does not belong here.
"""

from dataclasses import dataclass

import numpy as np


def group_by_user(held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Group pairs [n, 2] by user: (users [u] in the order of their first pair, position in them of each pair [n])."""
    users, first, group = np.unique(held_out[:, 0], return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(users), np.int64)
    place[order] = np.arange(len(users))
    return users[order], place[group.reshape(-1)]


def mean_by_user(values: np.ndarray, group: np.ndarray, users: int) -> np.ndarray:
    """Average values [n] over each user's pairs that have one: [users] float64, nan for a user without any."""
    known = np.isfinite(values)
    sums = np.bincount(group[known], values[known], minlength=users)
    with np.errstate(invalid="ignore"):
        return sums / np.bincount(group[known], minlength=users)


@dataclass(frozen=True, eq=False)
class RankedLists:
    """The ranks of all held-out items, in the lists of their users.

    Ranks start at 1 and are `above` + 1. A tie with an item that was not held out counts half: an item that ties with
    two others gets the middle one of the three ranks. Held-out items of a user take consecutive ranks when they tie,
    as it makes no difference which of them comes first.
    """

    group: np.ndarray  # [n], position of the pair's user in the result
    before: np.ndarray  # [n] number of the user's held-out items that come before this one
    above: np.ndarray  # [n] float32, candidates that rank above, including `before`; nan where nothing is ranked
    held: np.ndarray  # [u] number of held-out items of each user

    @classmethod
    def of(cls, group: np.ndarray, users: int, untouched_above: np.ndarray, scores: np.ndarray) -> "RankedLists":
        """Rank the pairs of each user.

        Args:
            group: [n], position of each pair's user, below `users`.
            users: number of users.
            untouched_above: [n], untouched items that score above the held-out one, ties counting half.
            scores: [n], score of the held-out item.
        """
        held = np.bincount(group, minlength=users)
        order = np.lexsort((-scores, group))
        before = np.empty(len(group), np.int64)
        before[order] = np.arange(len(group)) - np.repeat(np.cumsum(held) - held, held)
        return cls(group, before, (untouched_above + before).astype(np.float32), held)

    def recall(self, k: int) -> np.ndarray:
        """Compute the share of each user's held-out items within the first k ranks."""
        return (self._sums(k, 1.0) / self.held).astype(np.float32)

    def hit(self, k: int) -> np.ndarray:
        """Compute whether any held-out item is within the first k ranks: 1 or 0."""
        return np.minimum(self._sums(k, 1.0), 1).astype(np.float32)

    def ndcg(self, k: int) -> np.ndarray:
        """Compute the sum of 1 / log2(rank + 1) over the hits, divided by its maximum (Järvelin, Kekäläinen 2002)."""
        ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
        return (self._sums(k, 1 / np.log2(self.above + 2)) / ideal[np.minimum(self.held, k) - 1]).astype(np.float32)

    def average_precision(self, k: int) -> np.ndarray:
        """Compute the sum over the hits of the precision at their rank, divided by min(held, k); its mean is MAP@k."""
        precision = (self.before + 1) / (self.above + 1)
        return (self._sums(k, precision) / np.minimum(self.held, k)).astype(np.float32)

    def reciprocal_rank(self) -> np.ndarray:
        """Compute 1 / rank of each user's first hit; its mean is the MRR."""
        first = np.full(len(self.held), np.nan, np.float32)
        best = self.before == 0
        first[self.group[best]] = 1 / (self.above[best] + 1)
        return first

    def _sums(self, k: int, gain: np.ndarray | float) -> np.ndarray:
        """Sum the gains of the pairs within the first k ranks over each user; nan where nothing is ranked."""
        counted = np.where(np.isnan(self.above), np.nan, np.where(self.above < k, gain, 0))
        return np.bincount(self.group, counted, minlength=len(self.held))
