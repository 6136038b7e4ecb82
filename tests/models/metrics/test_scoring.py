"""Pooled item scores equal a loop; having many pictures is no advantage with the mean, but is one with max and sum."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.factors import Factors, item_means
from models.metrics import evaluate
from models.metrics.scoring import pooled

CPU = torch.device("cpu")


def visual(seed: int, users: int = 4, items: int = 9) -> Factors:
    """Make items with one to five random pictures each; the item is their mean."""
    rng = np.random.default_rng(seed)
    image_item = np.repeat(np.arange(items), rng.integers(1, 6, items))
    rng.shuffle(image_item)
    phi = rng.normal(size=(len(image_item), 3))
    return Factors(
        users=np.arange(users),
        items=np.arange(items),
        theta=rng.normal(size=(users, 3)),
        item=item_means(phi, image_item, items),
        item_bias=rng.normal(size=items),
        phi=phi,
        image_item=image_item,
    )


@given(seed=st.integers(0, 10_000), how=st.sampled_from(["mean", "max", "sum"]))
@settings(max_examples=30, deadline=None)
def test_the_score_of_an_item_is_the_mean_max_or_sum_of_its_pictures_scores(seed: int, how: str) -> None:
    factors = visual(seed)
    users = np.array([2, 0])
    scores = pooled(factors, how).scorer(CPU).items(users).numpy()
    for row, user in enumerate(users):
        for item in range(len(factors.items)):
            own = factors.phi[factors.image_item == item] @ factors.theta[user] + factors.item_bias[item]
            assert scores[row, item] == pytest.approx(getattr(np, how)(own), abs=1e-4)


@pytest.mark.parametrize("how", ["max", "sum"])
def test_a_model_that_sees_no_pictures_and_an_item_without_one_keep_their_scores(how: str) -> None:
    factors = visual(0)
    blind = Factors(**{**vars(factors), "phi": np.zeros((0, 3))})
    none = Factors(**{**vars(factors), "phi": np.zeros((0, 3)), "image_item": np.zeros(0)})
    for model in (blind, none):
        expected = model.scorer(CPU).items(np.arange(4))
        assert torch.equal(pooled(model, how).scorer(CPU).items(np.arange(4)), expected)
    kept = factors.image_item != 5
    bare = Factors(**{**vars(factors), "phi": factors.phi[kept], "image_item": factors.image_item[kept]})
    found, plain = (model.scorer(CPU).items(np.arange(4))[:, 5] for model in (pooled(bare, how), bare))
    assert torch.equal(found, plain)


def test_many_pictures_are_no_advantage_with_the_mean_and_a_leak_with_max_and_sum() -> None:
    """Make noise tastes and pictures in which held-out items have eight pictures and the others one."""
    rng = np.random.default_rng(1)
    users, items = 300, 80
    many = np.arange(items) < 20
    image_item = np.repeat(np.arange(items), np.where(many, 8, 1))
    phi = rng.normal(size=(len(image_item), 4)) + np.eye(4)[0]
    theta = rng.normal(size=(users, 4)) + np.eye(4)[0]
    factors = Factors(
        np.arange(users), np.arange(items), theta, item_means(phi, image_item, items), np.zeros(items), phi, image_item
    )
    held_out = np.stack([np.arange(users), rng.integers(0, 20, users)], 1)
    auc = {
        how: evaluate.evaluate(pooled(factors, how), held_out, held_out[:0], held_out[:0]).auc
        for how in ("mean", "max", "sum")
    }
    assert auc["max"].mean() > 0.8 and auc["sum"].mean() > 0.6
    assert abs(auc["mean"].mean() - 0.5) < 0.06


def test_the_error_for_an_unknown_pooling_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="item_score='median' is unknown; give one of mean, max, sum"):
        pooled(visual(0), "median")
