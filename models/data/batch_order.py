"""The order in which a generator's training draws its pictures; it depends only on the seed and the step."""

import numpy as np


class BatchOrder:
    """The order of pictures: endless shuffles of the whole set, cut into batches.

    The order depends only on the seed and the step, so a resumed run only needs its step. If balanced, the classes take
    turns in shuffled rounds, and each class goes through shuffles of its own.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int,
        seed: int,
        *,
        balanced: int | None = None,
        among: np.ndarray | None = None,
    ) -> None:
        """`balanced`: the number of classes to draw equally often; None: draw as the pictures come.

        `among`: the rows int64 to draw from; None means all.
        """
        self.seed, self.batch_size = seed, batch_size
        all_rows = np.arange(len(labels)) if among is None else among
        self.groups = [all_rows]
        if balanced is not None:
            self.groups = [all_rows[labels[all_rows] == c] for c in range(balanced)]
        self.shuffles: dict[tuple[int, int, int], np.ndarray] = {}  # the latest shuffles of each stream

    def __call__(self, step: int) -> np.ndarray:
        """Return the rows int64 [batch_size] of step `step`."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        turns = len(self.groups)
        picked = []
        for place in places:
            group = 0 if turns == 1 else int(self._shuffle(1, place // turns, 0, turns)[place % turns])
            rows = self.groups[group]
            turn = place // turns  # each group occurs once a round, so it has occurred this often before
            picked.append(rows[self._shuffle(0, turn // len(rows), group, len(rows))[turn % len(rows)]])
        return np.array(picked, dtype=np.int64)

    def _shuffle(self, stream: int, cycle: int, group: int, count: int) -> np.ndarray:
        key = (stream, group, cycle)
        if key not in self.shuffles:
            # Older shuffles are not needed again; a long run must not keep them all.
            old = [k for k in self.shuffles if k[:2] == key[:2] and abs(k[2] - cycle) > self.batch_size]
            for k in old:
                del self.shuffles[k]
            self.shuffles[key] = np.random.default_rng([self.seed, *key]).permutation(count)
        return self.shuffles[key]
