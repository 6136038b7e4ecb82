"""Popularity with recency: an interaction counts less the longer ago it happened. The decay is tuned on validation.

It is tuned among the items seen in train. Among all items, the decay would choose how high their mean puts the unseen
ones, many of which are hold-outs: on the H&M sample 7 days, where the mean is above nearly every seen item, with an
R@10 of 0.002 instead of 0.041.
"""

import numpy as np

from models.baselines.simple import constant
from models.baselines.tuning import best, touched
from models.data import priors
from models.data.dataset import Dataset
from models.data.factors import Factors

TAUS = (7.0, 14.0, 30.0, 60.0, 90.0, 180.0, 365.0, 730.0)  # days


def popularity_recent(data: Dataset, taus: tuple[float, ...] = TAUS) -> tuple[Factors, float, dict[float, float]]:
    """Score each item by its decayed log count: (factors, the best tau in days, validation by tau).

    The decay is that of `priors.counts`; an unseen item gets the mean over the seen ones. Raises ValueError without
    times.
    """
    if not priors.has_times(data):
        raise ValueError("no train interaction has a time")
    seen = np.unique(data.train[:, 1])
    everybody = np.arange(len(data.users))
    recent = {tau: constant(data, priors.log_counts(data, tau)) for tau in taus}
    narrow = ((tau, factors.narrowed(everybody, seen)) for tau, factors in recent.items())
    tau, _, values = best(narrow, *(_among(pairs, seen) for pairs in (data.validation, touched(data))))
    return recent[tau], tau, values


def _among(pairs: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Keep the pairs of seen items, with rows in `seen`."""
    kept = pairs[np.isin(pairs[:, 1], seen)]
    return np.stack([kept[:, 0], np.searchsorted(seen, kept[:, 1])], 1)
