"""Priors: how likely an item is to be taken by anybody, from the counts of train alone. Nothing here is personal.

An item that nobody has in train gets the mean over the others. That an item is new must not affect its score: in a
leave-one-out split it is likely to be somebody's hold-out, so any weight on being unseen would leak the split.
"""

import numpy as np

from models.data.dataset import UNKNOWN_TIME, Dataset

DAY = 86_400  # seconds


def counts(data: Dataset, tau_days: float | None = None) -> np.ndarray:
    """Count the users who have each item in train: [I] float64, 0 for an unseen item.

    With `tau_days`, a pair counts exp(-(end - t) / tau), where t is the pair's latest time and `end` the latest time of
    train. A pair of unknown time counts as much as the others do on average; without any times, every pair counts 1.
    Raises ValueError unless tau_days is above 0.
    """
    if tau_days is not None and not tau_days > 0:
        raise ValueError(f"tau_days={tau_days}: it must be above 0")
    pairs, times = latest(data)
    weights = np.ones(len(pairs))
    known = times != UNKNOWN_TIME
    if tau_days is not None and known.any():
        weights[known] = np.exp((times[known] - times.max()) / (tau_days * DAY))
        weights[~known] = weights[known].mean()
    return np.bincount(pairs[:, 1], weights, minlength=len(data.items))


def log_counts(data: Dataset, tau_days: float | None = None, *, unseen: str = "mean") -> np.ndarray:
    """Compute log(1 + count), with `counts` as above: [I] float32.

    An item unseen in train gets the mean over the seen ones, or 0 with `unseen="zero"`. Raises ValueError for another
    `unseen`.
    """
    if unseen not in ("mean", "zero"):
        raise ValueError(f"unseen={unseen!r}: give mean or zero")
    prior = np.log1p(counts(data, tau_days))
    if unseen == "mean":
        seen = np.bincount(data.train[:, 1], minlength=len(data.items)) > 0
        prior[~seen] = prior[seen].mean() if seen.any() else 0.0
    return prior.astype(np.float32)


def has_times(data: Dataset) -> bool:
    """Return whether any train interaction has a time."""
    return bool((data.train_time != UNKNOWN_TIME).any())


def latest(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """List the distinct train pairs [n, 2], sorted, and the latest time of each [n], UNKNOWN_TIME if it has none."""
    pairs, number = np.unique(data.train, axis=0, return_inverse=True)
    times = np.full(len(pairs), UNKNOWN_TIME)
    np.maximum.at(times, number.reshape(-1), data.train_time)  # UNKNOWN_TIME is below every time
    return pairs, times
