"""ItemKNN and EASE equal the slow obvious versions of their papers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.baselines import ease, item_knn
from models.data.dataset import Dataset
from tests.models.planted import planted

CPU = torch.device("cpu")


def crowded(users: int = 40) -> Dataset:
    """Make planted data with eight train items a user, none for the last one, and one pair listed twice."""
    data = planted(users=users, items=25)
    rng = np.random.default_rng(0)
    train = np.concatenate([np.stack([np.full(8, u), rng.choice(20, 8, replace=False)], 1) for u in range(users - 1)])
    return replace(data, train=np.concatenate([train, train[:1]]), train_time=np.empty(0))


def matrix(data: Dataset) -> np.ndarray:
    x = np.zeros((len(data.users), len(data.items)))
    for user, item in data.train:
        x[user, item] = 1
    return x


def scores(model, users: list[int]) -> np.ndarray:
    return model.scorer(CPU).items(np.array(users)).numpy()


@pytest.mark.parametrize(("size", "shrinkage"), [(3, 0.0), (3, 5.0), (100, 2.0)])
def test_item_knn_sums_the_similarities_of_the_nearest_neighbours_the_user_has(size: int, shrinkage: float) -> None:
    data = crowded()
    x = matrix(data)
    expected = np.zeros_like(x)
    for item in range(x.shape[1]):
        similarity = []
        for other in range(x.shape[1]):
            both = (x[:, item] * x[:, other]).sum()
            if other != item and both:
                similarity.append((both / (np.sqrt(x[:, item].sum() * x[:, other].sum()) + shrinkage), -other))
        for value, other in sorted(similarity, reverse=True)[:size]:
            expected[:, item] += value * x[:, -other]
    model = item_knn.item_knn(data, (size,), (shrinkage,))[0]
    np.testing.assert_allclose(scores(model, [3, 39, 0]), expected[[3, 39, 0]], rtol=1e-5)
    assert not scores(model, [39]).any() and model.scorer(CPU).pictures(np.array([0])) is None


def test_the_block_size_of_item_knn_changes_nothing(monkeypatch) -> None:
    data = crowded()
    whole = item_knn.item_knn(data, (5,), (1.0,))[0]
    monkeypatch.setattr(item_knn, "_BLOCK", 100)
    parts = item_knn.item_knn(data, (5,), (1.0,))[0]
    for name in ("start", "target", "weight"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


@pytest.mark.parametrize("by_users", [True, False])
@pytest.mark.parametrize("regularisation", [1.0, 30.0])
def test_ease_equals_its_closed_form(regularisation: float, by_users: bool, monkeypatch) -> None:
    data = crowded(users=15 if by_users else 40)
    x = matrix(data)
    assert (len(data.users) < x.any(0).sum()) == by_users
    inverse = np.linalg.inv(x.T @ x + regularisation * np.eye(x.shape[1]))
    weights = np.zeros_like(inverse)
    for row in range(len(weights)):
        for column in range(len(weights)):
            weights[row, column] = 0 if row == column else -inverse[row, column] / inverse[column, column]
    monkeypatch.setattr(ease, "_BLOCK", 50)
    model = ease.ease(data, (regularisation,))[0]
    np.testing.assert_allclose(scores(model, [2, 13, 0]), (x @ weights)[[2, 13, 0]], atol=2e-5)


def test_ease_refuses_a_matrix_that_is_too_large(monkeypatch) -> None:
    monkeypatch.setattr(ease, "LIMIT", 24)
    with pytest.raises(ValueError, match="25 items; a dense matrix of more than 24"):
        ease.ease(crowded())


def test_both_are_loaded_as_they_were_saved(tmp_path: Path) -> None:
    data = crowded()
    for kind, model in ((item_knn.ItemKnn, item_knn.item_knn(data)[0]), (ease.Ease, ease.ease(data)[0])):
        model.save(tmp_path / "model.npz")
        np.testing.assert_array_equal(scores(kind.load(tmp_path / "model.npz"), [1, 2]), scores(model, [1, 2]))
