"""Bootstrap intervals of a mean over users, and of the difference of two models measured on the same users."""

import numpy as np


def mean(values: np.ndarray) -> float:
    """Average the values of the users that have one; nan when none has."""
    values = values[np.isfinite(values)]
    return float(values.mean(dtype=np.float64)) if len(values) else float("nan")


def bootstrap_means(values: np.ndarray, seed: int, n: int = 1000) -> np.ndarray:
    """Compute the means of `n` resamples of the users: [users, columns] to [n, columns].

    All columns share the same resamples, so the difference of two columns of the result is the paired bootstrap of
    their difference.
    """
    users = len(values)
    rng = np.random.default_rng(seed)
    means = np.empty((n, values.shape[1]))
    for row in means:
        # Count how often each user was drawn, so that one matrix product gives the means of all columns.
        np.matmul(np.bincount(rng.integers(0, users, users), minlength=users).astype(np.float64), values, out=row)
    return means / users


def interval(means: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of resampled means [n]."""
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def bootstrap_mean(values: np.ndarray, seed: int, n: int = 1000) -> tuple[float, float]:
    """Compute the 95 % percentile interval of the mean over users from `n` resamples.

    (nan, nan) when no user has a value.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    return interval(bootstrap_means(values[:, None], seed, n)[:, 0])


def paired_difference(a: np.ndarray, b: np.ndarray, seed: int, n: int = 1000) -> tuple[float, float, float]:
    """Compute the mean of a - b over the users who have both, and its 95 % bootstrap interval: (mean, low, high).

    `a` and `b` must list the same users in the same order. Raises ValueError if their lengths differ.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"a paired difference needs the same users on both sides, got {a.shape} and {b.shape}")
    difference = a - b
    return mean(difference), *bootstrap_mean(difference, seed, n)
