"""Which lines of the review files stand more than once: found while reading, from 8 bytes a line.

Only hashes in, numbers out; what a repeat means for a review is `ingest.py`'s to say.
"""

import numpy as np

_SEEN_BITS, _NEAR_BITS = 24, 20  # by the first bits of a hash: 16 MB of marks for all lines, 4 MB for a block's rows


class Repeats:
    """The hashes of all lines so far: those of earlier files, and those of the file being read.

    A line is counted in its own file. A line of a further file is known when an earlier file holds it as many times.
    """

    def __init__(self) -> None:
        self._earlier, self._file = _Runs(), _Runs()
        # First looks that say no almost always, in one gather: a mark for each of many places.
        self._seen = np.zeros(1 << _SEEN_BITS, bool)
        self._near = np.zeros(1 << _NEAR_BITS, np.int32)
        self._shared = np.zeros(1 << _NEAR_BITS, bool)
        # Of the hashes that stand more than once: how often in the file being read, and at most in an earlier one.
        self._in_file: dict[int, int] = {}
        self._in_earlier: dict[int, int] = {}

    def next_file(self) -> None:
        """What comes now is of another file."""
        for value, count in self._in_file.items():
            self._in_earlier[value] = max(count, self._in_earlier.get(value, 1))
        self._earlier.absorb(self._file)
        self._file, self._in_file = _Runs(), {}

    def add(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(how often each line stood in its file before [n] int64, whether an earlier file held it [n] bool)."""
        before, known = np.zeros(len(hashes), np.int64), np.zeros(len(hashes), bool)
        suspects = np.flatnonzero(self._suspected(hashes))
        order = np.argsort(hashes[suspects], kind="stable")
        rows, ranked = suspects[order], hashes[suspects][order]
        of_earlier, repeated = self._earlier.hold(ranked), self._file.hold(ranked)
        repeated[1:] |= ranked[1:] == ranked[:-1]
        known[rows] = of_earlier
        for place in np.flatnonzero(repeated):
            value, row = int(ranked[place]), rows[place]
            count = self._in_file.get(value, 1)
            self._in_file[value] = count + 1
            before[row] = count
            known[row] = of_earlier[place] and count < self._in_earlier.get(value, 1)
        self._file.add(np.sort(hashes[before == 0]))
        return before, known

    def _suspected(self, hashes: np.ndarray) -> np.ndarray:
        """Which of a block may have been met before, here or in an earlier block: all that were, and few others."""
        place = hashes >> np.uint64(64 - _SEEN_BITS)
        suspected = self._seen[place]
        self._seen[place] = True
        # Two of the block in one place: the later one overwrites the row that the earlier one left there.
        near = (hashes >> np.uint64(64 - _NEAR_BITS)).astype(np.intp)
        rows = np.arange(len(hashes), dtype=np.int32)
        self._near[near] = rows
        shared = near[self._near[near] != rows]
        self._shared[shared] = True
        suspected |= self._shared[near]
        self._shared[shared] = False
        return suspected


class _Runs:
    """A set of distinct uint64 as a few sorted arrays, merged so that each is at most half of the one before it."""

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def hold(self, values: np.ndarray) -> np.ndarray:
        """Which of `values` (sorted) are in the set."""
        held = np.zeros(len(values), bool)
        for run in self._runs:
            at = np.searchsorted(run, values)
            at[at == len(run)] = 0
            held |= run[at] == values
        return held

    def add(self, values: np.ndarray) -> None:
        """Put in `values` (sorted), none of which are in the set."""
        if not len(values):
            return
        self._runs.append(values)
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            merged = np.concatenate(self._runs[-2:])
            self._runs[-2:] = []
            merged.sort(kind="stable")  # two sorted runs: one pass
            self._runs.append(merged)

    def absorb(self, other: "_Runs") -> None:
        """Put in all of `other`."""
        for run in other._runs:
            self.add(run[~self.hold(run)])
