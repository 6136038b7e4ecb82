"""Which pictures each step of the LSGAN sees, and how many steps there are: functions of seed and step alone.

The loop that asks is `train_lsgan.py`.
"""

import math

import numpy as np

from models.lsgan import LsganSettings


class BatchOrder:
    """Which pictures each step sees: endless shuffles of the whole set, cut into batches; a function of seed and step.

    Nothing is drawn from a running state, so a resumed run needs to know its step only. Balanced: the classes
    take turns in shuffled rounds, each class running through its own shuffles.
    """

    def __init__(self, labels: np.ndarray, settings: LsganSettings) -> None:
        self.seed, self.batch_size = settings.seed, settings.batch_size
        everything = np.arange(len(labels))
        self.groups = [everything]
        if settings.balanced:
            self.groups = [everything[labels == c] for c in range(settings.classes)]
        self.shuffles: dict[tuple[int, int, int], np.ndarray] = {}  # the latest of each stream

    def __call__(self, step: int) -> np.ndarray:
        """Row indices int64 [batch_size] of step `step`."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        turns = len(self.groups)
        picked = []
        for place in places:
            group = 0 if turns == 1 else int(self._shuffle(1, place // turns, 0, turns)[place % turns])
            rows = self.groups[group]
            turn = place // turns  # each group comes once a round: how often this one came before
            picked.append(rows[self._shuffle(0, turn // len(rows), group, len(rows))[turn % len(rows)]])
        return np.array(picked, dtype=np.int64)

    def _shuffle(self, stream: int, cycle: int, group: int, count: int) -> np.ndarray:
        key = (stream, group, cycle)
        if key not in self.shuffles:
            # A batch reaches at most into the cycle before: what is older goes, or a long run would keep them all.
            old = [k for k in self.shuffles if k[:2] == key[:2] and abs(k[2] - cycle) > self.batch_size]
            for k in old:
                del self.shuffles[k]
            self.shuffles[key] = np.random.default_rng([self.seed, *key]).permutation(count)
        return self.shuffles[key]


def total_steps(pictures: int, settings: LsganSettings) -> int:
    """The run's length: `settings.steps`, or as many batches as `settings.epochs` passes take (10,000 x 55: 8,594)."""
    if settings.steps is not None:
        return settings.steps
    return max(1, math.ceil(pictures * settings.epochs / settings.batch_size))
