"""A score matrix is measured as any model, and comes back from its files as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.score_matrix import ScoreMatrix
from models.metrics.evaluate import evaluate, exact_auc
from tests.models.planted import planted


def matrix() -> ScoreMatrix:
    data = planted()
    scores = np.random.default_rng(0).standard_normal((len(data.users), len(data.items)), dtype=np.float32)
    return ScoreMatrix(data.users, data.items, data.image_item, scores)


def test_its_auc_is_the_share_of_the_untouched_items_below_the_held_out_one() -> None:
    data, model = planted(), matrix()
    touched = np.concatenate([data.train, data.validation, data.test])
    expected = []
    for user, item in data.test.tolist():
        others = np.setdiff1d(np.arange(len(data.items)), touched[touched[:, 0] == user, 1])
        expected.append((model.scores[user, others] < model.scores[user, item]).mean())
    assert exact_auc(model, data.test, touched) == pytest.approx(np.mean(expected))


def test_evaluating_does_not_change_the_scores(tmp_path: Path) -> None:
    data, model = planted(), matrix()
    before = model.scores.copy()
    evaluate(model, data.test, data.train, data.validation)
    np.testing.assert_array_equal(model.scores, before)


def test_it_is_read_back_as_a_memory_map(tmp_path: Path) -> None:
    model = matrix()
    model.save(tmp_path)
    found = ScoreMatrix.load(tmp_path)
    assert isinstance(found.scores, np.memmap)
    for name in ("users", "items", "image_item", "scores"):
        np.testing.assert_array_equal(getattr(found, name), getattr(model, name))
    rows = np.array([2, 0])
    np.testing.assert_array_equal(found.scorer(torch.device("cpu")).items(rows).numpy(), model.scores[rows])


def test_scores_of_another_shape_or_not_finite_are_refused() -> None:
    model = matrix()
    with pytest.raises(ValueError, match="was expected"):
        ScoreMatrix(model.users, model.items, model.image_item, model.scores.T)
    scores = model.scores.copy()
    scores[-1, -1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        ScoreMatrix(model.users, model.items, model.image_item, scores)
