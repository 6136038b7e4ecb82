"""Priors count what train holds, weigh it by age, and give an unseen item no advantage."""

import math
from dataclasses import replace

import numpy as np
import pytest

from models.data import priors
from models.data.dataset import UNKNOWN_TIME, Dataset
from tests.models.planted import planted

DAY = 86_400


def timed(seed: int = 0) -> Dataset:
    """Make planted data whose train pairs happened within 200 days; two of them are listed twice."""
    data = planted(seed)
    train = np.concatenate([data.train, data.train[:2]])
    times = np.random.default_rng(seed).integers(10**9, 10**9 + 200 * DAY, len(train))
    return replace(data, train=train, train_time=times)


def by_loops(data: Dataset, tau_days: float | None) -> list[float]:
    last: dict[tuple[int, int], int] = {}
    for (user, item), time in zip(data.train.tolist(), data.train_time.tolist(), strict=True):
        last[user, item] = max(time, last.get((user, item), time))
    end = max(last.values())
    found = []
    for item in range(len(data.items)):
        times = [time for (_, own), time in last.items() if own == item]
        weights = [1.0 if tau_days is None else math.exp(-(end - time) / DAY / tau_days) for time in times]
        found.append(math.log1p(sum(weights)) if times else math.nan)
    mean = float(np.nanmean(found))
    return [mean if math.isnan(value) else value for value in found]


@pytest.mark.parametrize("tau_days", [None, 7, 90.5])
def test_log_counts_equal_plain_loops(tau_days: float | None) -> None:
    data = timed()
    seen = set(data.train[:, 1].tolist())
    assert 0 < len(seen) < len(data.items)
    np.testing.assert_allclose(priors.log_counts(data, tau_days), by_loops(data, tau_days), rtol=1e-6)


def test_an_unseen_item_gets_the_mean_of_the_seen_ones_or_zero_where_asked() -> None:
    data = timed()
    unseen = ~np.isin(np.arange(len(data.items)), data.train[:, 1])
    mean, zero = priors.log_counts(data, 30), priors.log_counts(data, 30, unseen="zero")
    np.testing.assert_allclose(mean[unseen], mean[~unseen].mean(), rtol=1e-6)
    assert not zero[unseen].any() and zero[~unseen].all()
    np.testing.assert_array_equal(mean[~unseen], zero[~unseen])
    with pytest.raises(ValueError, match="mean or zero"):
        priors.log_counts(data, unseen="none")


def test_without_times_a_decay_changes_nothing() -> None:
    data = planted()
    assert not priors.has_times(data) and priors.has_times(timed())
    np.testing.assert_array_equal(priors.log_counts(data, 7), priors.log_counts(data))


def test_a_pair_of_unknown_time_counts_as_much_as_the_others_do_on_average() -> None:
    data = planted()
    train = np.array([[0, 0], [1, 1], [2, 2]])
    data = replace(data, train=train, train_time=np.array([10 * DAY, 0, UNKNOWN_TIME]))
    old = math.exp(-2)
    np.testing.assert_allclose(priors.counts(data, 5)[:4], [1, old, (1 + old) / 2, 0])


def test_a_mode_without_train_has_a_prior_of_zero_and_a_decay_must_be_positive() -> None:
    data = replace(planted(), train=np.empty((0, 2)), train_time=np.empty(0))
    assert not priors.log_counts(data, 30).any()
    with pytest.raises(ValueError, match="above 0"):
        priors.counts(data, 0)
