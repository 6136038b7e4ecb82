"""Popularity, recent popularity, category shares and the added prior equal plain loops."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.baselines import popularity_recent, prior, shares, simple
from models.baselines.item_knn import item_knn
from models.baselines.tuning import best, touched
from models.data import priors
from models.data.dataset import Dataset
from models.data.factors import Factors
from models.metrics import evaluate
from tests.models.data.test_priors import timed
from tests.models.planted import planted

CPU = torch.device("cpu")


def auc(data: Dataset, model) -> float:
    return evaluate.exact_auc(model, data.test, touched(data))


def test_popularity_puts_an_unseen_item_at_the_mean_and_popularity_zero_puts_it_last() -> None:
    data = planted()
    unseen = ~np.isin(np.arange(len(data.items)), data.train[:, 1])
    counts = [len({user for user, item in data.train.tolist() if item == wanted}) for wanted in range(len(data.items))]
    logs = np.log1p(counts)
    expected = np.where(unseen, logs[~unseen].mean(), logs)
    assert unseen.any()
    np.testing.assert_allclose(simple.popularity(data).item_bias, expected, rtol=1e-6)
    assert simple.popularity_zero(data).item_bias.tolist() == counts


def test_recent_popularity_keeps_the_decay_that_ranks_seen_items_best_on_validation() -> None:
    data = timed()
    seen = set(data.train[:, 1].tolist())
    own = {(int(user), int(item)) for user, item in touched(data)}
    expected = {}
    for tau in (5.0, 50.0):
        score = priors.log_counts(data, tau)
        values = []
        for user, item in data.validation.tolist():
            others = [other for other in seen if (user, other) not in own]
            if item in seen and others:
                values.append(np.mean([(score[o] < score[item]) + 0.5 * (score[o] == score[item]) for o in others]))
        expected[tau] = np.mean(values)
    model, tau, values = popularity_recent.popularity_recent(data, (5.0, 50.0))
    assert expected[5.0] != expected[50.0] and tau == max(expected, key=expected.__getitem__)
    assert values == pytest.approx(expected, abs=1e-6)
    np.testing.assert_array_equal(model.item_bias, priors.log_counts(data, tau))
    with pytest.raises(ValueError, match="has a time"):
        popularity_recent.popularity_recent(planted())


def category_paths(data: Dataset) -> np.ndarray:
    """Give item i the colour i % 2, whose taste is planted, and a kind without meaning; every ninth has no kind."""
    items = np.arange(len(data.items))
    kind = np.random.default_rng(1).integers(0, 4, len(items))
    return np.stack([items % 2, np.where(items % 9 == 0, -1, kind)], 1)


def test_category_shares_equal_plain_loops() -> None:
    data = planted()
    data = replace(data, train=data.train[data.train[:, 0] != 4], train_time=np.empty(0))
    categories = category_paths(data)
    model, weights, _ = shares.shares(data, categories)
    log_prior = priors.log_counts(data)
    for user in (0, 3, 4):
        own = [int(item) for who, item in data.train if who == user]
        for item in range(len(data.items)):
            expected = weights.prior * log_prior[item]
            for level, weight in enumerate(weights.levels):
                code = categories[item, level]
                if code < 0:
                    continue
                having = [c for c in categories[:, level] if c >= 0]
                of_user = [categories[i, level] for i in own if categories[i, level] >= 0]
                share = having.count(code) / len(having)
                smooth = (of_user.count(code) + shares.SMOOTHING * share) / (len(of_user) + shares.SMOOTHING)
                expected += weight * math.log(smooth / share)
            got = model.theta[user] @ model.item[item] + model.item_bias[item]
            assert got == pytest.approx(expected, abs=1e-4)


def test_category_shares_find_the_level_that_carries_the_taste() -> None:
    data = planted(users=200)
    model, weights, _ = shares.shares(data, category_paths(data))
    assert weights.levels[0] > weights.levels[1] and auc(data, model) > 0.7


def test_one_category_for_all_leaves_the_prior_alone() -> None:
    data = planted()
    model, weights, _ = shares.shares(data, np.zeros((len(data.items), 1), int), prior_weights=(1.0,))
    assert weights.prior == 1 and not model.theta.any()
    np.testing.assert_array_equal(model.item_bias, priors.log_counts(data))
    with pytest.raises(ValueError, match="no item has a category"):
        shares.shares(data, np.full((len(data.items), 2), -1))


def test_only_the_largest_categories_are_kept_and_renumbered() -> None:
    categories = np.array([[0, 5], [0, 5], [0, 2], [1, 5], [2, -1]])
    assert shares.largest(categories, 2).tolist() == [[0, 0], [0, 0], [0, -1], [-1, 0], [-1, -1]]
    assert shares.largest(categories, 9).tolist() == [[0, 1], [0, 1], [0, 0], [1, 1], [2, -1]]


def test_a_prior_is_added_to_scores_in_units_of_the_users_own_spread() -> None:
    data = planted()
    rng = np.random.default_rng(0)
    plain = replace(simple.random(data, k=4), item_bias=rng.normal(size=len(data.items)))
    knn = item_knn(data)[0]
    for model in (plain, knn):
        found, weight, values = prior.with_prior(model, data, (2.0,))
        assert weight == 2 and list(values) == [2.0]
        users = np.arange(len(data.users))
        inner = model.scorer(CPU).items(users).numpy()
        spread = inner.std(1, keepdims=True)
        assert (spread > 0).all()
        expected = inner / spread + 2 * priors.log_counts(data)
        np.testing.assert_allclose(found.scorer(CPU).items(users).numpy(), expected, atol=1e-4)
    assert isinstance(prior.with_prior(plain, data)[0], Factors)


def test_pictures_get_the_prior_of_their_item() -> None:
    data = planted()
    features = data.bank[data.bank_row].mean((1, 2)).astype(np.float32)
    for model in (simple.visual_neighbours(data, features), simple.visual_neighbours_best(data, features)):
        found, _, _ = prior.with_prior(model, data, (2.0,))
        users = np.arange(3)
        spread = prior.spread(model)[users, None]
        expected = model.scorer(CPU).pictures(users).numpy() / spread
        expected = expected + 2 * priors.log_counts(data)[data.image_item]
        np.testing.assert_allclose(found.scorer(CPU).pictures(users).numpy(), expected, atol=1e-4)


def test_a_user_with_equal_scores_is_ranked_by_the_prior() -> None:
    data = planted()
    data = replace(data, train=data.train[data.train[:, 0] != 4], train_time=np.empty(0))
    found, _, _ = prior.with_prior(item_knn(data)[0], data, (1.0,))
    np.testing.assert_array_equal(found.scorer(CPU).items(np.array([4])).numpy()[0], priors.log_counts(data))


def test_a_prior_beside_its_model_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    data = planted()
    model, _, _ = prior.with_prior(item_knn(data)[0], data)
    assert isinstance(model, prior.WithPrior)
    model.save_prior(tmp_path / "prior.npz")
    again = prior.WithPrior.load(model.model, tmp_path / "prior.npz")
    users = np.arange(5)
    assert torch.equal(again.scorer(CPU).items(users), model.scorer(CPU).items(users))


def test_the_first_of_equals_is_chosen_and_so_it_is_without_validation() -> None:
    data = planted()
    models = [(name, simple.popularity(data)) for name in "ab"]
    assert best(models, data.validation, touched(data))[0] == "a"
    assert best(models, data.validation[:0], touched(data))[0] == "a"
    with pytest.raises(ValueError, match="no candidate"):
        best([], data.validation, touched(data))
