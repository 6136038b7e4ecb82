"""Intervals over users are seeded, have the right width, and are paired for two models."""

import math

import numpy as np
import pytest

from models.metrics import intervals


def test_the_bootstrap_interval_is_seeded_and_close_to_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(0.7, 0.3, 2000)
    low, high = intervals.bootstrap_mean(values, 1)
    assert (low, high) == intervals.bootstrap_mean(values, 1) != intervals.bootstrap_mean(values, 2)
    error = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.15 * error)


def test_a_paired_difference_is_narrower_than_the_models_own_intervals() -> None:
    rng = np.random.default_rng(0)
    users = rng.normal(0.7, 0.3, 500)
    difference, low, high = intervals.paired_difference(users + 0.02 + rng.normal(0, 0.01, 500), users, 0)
    assert difference == pytest.approx(0.02, abs=0.002)
    assert 0.018 < low < difference < high < 0.022
    with pytest.raises(ValueError, match="same users"):
        intervals.paired_difference(users, users[:-1], 0)


def test_columns_share_their_resamples_so_their_difference_is_the_paired_one() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0.7, 0.3, (300, 1)) + rng.normal(0, 0.05, (300, 3))
    means = intervals.bootstrap_means(values, seed=4, n=200)
    assert means.shape == (200, 3)
    expected = intervals.paired_difference(values[:, 2], values[:, 0], seed=4, n=200)[1:]
    assert intervals.interval(means[:, 2] - means[:, 0]) == pytest.approx(expected)


def test_resampled_means_are_the_means_of_users_drawn_with_replacement() -> None:
    values = np.random.default_rng(0).normal(size=(40, 1))
    rng = np.random.default_rng(9)
    expected = [values[rng.integers(0, 40, 40)].mean() for _ in range(50)]
    np.testing.assert_allclose(intervals.bootstrap_means(values, seed=9, n=50)[:, 0], expected)
