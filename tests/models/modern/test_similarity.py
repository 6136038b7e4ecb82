"""The similarity of `modern` is learnt from what the same people buy, as slow sums over people and items have it."""

from collections import defaultdict

import numpy as np
import pytest

from models.modern.part import Histories
from models.modern.similarity import learnt_similarity
from tests.models.modern.shop import shop


def slow(features: np.ndarray, pairs: np.ndarray, seen: np.ndarray, ridge: float) -> np.ndarray:
    """Sum over people and over ordered pairs of different items, then solve both sides of the regression."""
    baskets = defaultdict(set)
    for user, item in pairs.tolist():
        baskets[user].add(item)
    together = np.zeros((len(features), len(features)))
    for items in baskets.values():
        for one in items:
            for other in items - {one}:
                together[one, other] += 1 / np.sqrt(len(items))
    ties = together.sum(1)
    target = np.zeros_like(together)
    for one, other in np.argwhere(together > 0):
        target[one, other] = together[one, other] / np.sqrt(ties[one] * ties[other])
    gram = features[seen].T @ features[seen]
    ridged = gram + ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    half = np.linalg.solve(ridged, features.T @ target @ features)
    return np.linalg.solve(ridged, half.T).T


@pytest.mark.parametrize("ridge", [0.1, 1.0])
def test_the_similarity_is_that_of_slow_sums(ridge: float) -> None:
    planted = shop("image")
    histories = Histories(planted.data)
    features = np.random.default_rng(3).normal(size=(histories.items, 5))
    features -= features[histories.seen].mean(0)
    found = learnt_similarity(features, histories, ridge)
    np.testing.assert_allclose(found, slow(features, planted.data.train, histories.seen, ridge), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found, found.T, atol=1e-12)


def test_features_that_decide_what_is_bought_together_weigh_more_than_others() -> None:
    planted = shop("text")  # its first four features show the kind that people buy, the other two are noise
    histories = Histories(planted.data)
    text = planted.facts.text.astype(np.float64)
    features = (text - text[histories.seen].mean(0)) / text[histories.seen].std(0)
    weight = np.abs(np.diag(learnt_similarity(features, histories, 1.0)))
    assert weight[:4].min() > 5 * weight[4:].max()


def test_people_who_bought_one_thing_teach_nothing() -> None:
    planted = shop("image")
    histories = Histories(planted.data)
    histories.pairs = histories.pairs[np.unique(histories.pairs[:, 0], return_index=True)[1]]
    histories.counts = np.bincount(histories.pairs[:, 0], minlength=histories.users)
    features = np.random.default_rng(3).normal(size=(histories.items, 5))
    assert not learnt_similarity(features, histories, 1.0).any()
