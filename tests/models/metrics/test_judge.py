"""The judge learns to tell classes apart from a few pictures, always in the same way."""

import numpy as np
import pytest
import torch

from models.metrics.judge import DIMENSIONS, Judge, fit_judge
from tests.models.metrics.shapes import NAMES, balanced, draw_shapes


@pytest.fixture(scope="module")
def judge() -> Judge:
    return fit_judge(draw_shapes(balanced(12), 0), balanced(12), NAMES)


def test_it_recognises_pictures_that_it_has_not_seen(judge: Judge) -> None:
    label = balanced(30)
    assert (judge.predict(judge.features(draw_shapes(label, 1))) == label).mean() > 0.9


def test_its_features_are_a_row_of_numbers_for_each_picture(judge: Judge) -> None:
    features = judge.features(draw_shapes(balanced(3), 2))
    assert features.shape == (9, DIMENSIONS) and features.dtype == np.float32
    assert judge.features(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, DIMENSIONS)


def test_features_of_a_picture_do_not_depend_on_its_neighbours(judge: Judge) -> None:
    pictures = draw_shapes(balanced(3), 2)
    alone = np.concatenate([judge.features(pictures[n : n + 1]) for n in range(len(pictures))])
    np.testing.assert_allclose(judge.features(pictures), alone, atol=1e-4)
    np.testing.assert_allclose(judge.features(pictures, chunk=2), alone, atol=1e-4)


def test_larger_pictures_are_seen_at_its_own_size(judge: Judge) -> None:
    label = balanced(10)
    larger = draw_shapes(label, 3, side=128)
    assert (judge.predict(judge.features(larger)) == label).mean() > 0.9


def test_the_same_seed_trains_the_same_judge_to_the_bit_and_leaves_other_draws_alone(judge: Judge) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = fit_judge(draw_shapes(balanced(12), 0), balanced(12), NAMES)
    assert torch.equal(torch.rand(3), expected)
    pictures = draw_shapes(balanced(5), 4)
    assert (again.features(pictures) == judge.features(pictures)).all()


def test_a_class_of_one_picture_is_refused_with_its_count() -> None:
    label = np.array([0, 0, 1, 2, 2])
    with pytest.raises(ValueError, match=r"at least two pictures each; disc has 1$"):
        fit_judge(draw_shapes(label, 0), label, NAMES)


def test_one_class_alone_is_refused() -> None:
    label = np.zeros(4, int)
    with pytest.raises(ValueError, match=r"needs two classes .* only bar$"):
        fit_judge(draw_shapes(label, 0), label, ("bar",))
