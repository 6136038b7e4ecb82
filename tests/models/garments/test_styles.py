"""Style arithmetic: a direction finds the attribute and nothing that goes with the class; ways keep their length."""

import numpy as np
import pytest
import torch

from models.garments.styles import between, style_direction


def test_the_direction_of_an_attribute_is_found_inside_the_classes() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 300 + [1] * 300)
    has = rng.random(600) < np.where(labels == 0, 0.8, 0.2)  # the attribute is common in one class
    z = rng.normal(size=(600, 4)) + np.outer(has, [1.5, 0, 0, 0]) + np.outer(labels, [0, 3, 0, 0])
    assert style_direction(z, labels, has) == pytest.approx([1.5, 0, 0, 0], abs=0.3)
    assert abs((z[has].mean(axis=0) - z[~has].mean(axis=0))[1]) > 1  # the plain difference would change the class


def test_the_direction_by_hand() -> None:
    z = np.array([[1.0], [3.0], [0.0], [10.0], [20.0], [4.0]])
    labels, has = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 0, 1, 0, 0], bool)
    # Class 0: 2 - 0, counts 2 and 1. Class 1: 10 - 12, counts 1 and 2: equal weights.
    assert style_direction(z, labels, has, least=1).tolist() == [0.0]


def test_a_class_with_few_pictures_on_a_side_is_left_out_and_none_left_is_an_error() -> None:
    z, labels, has = np.arange(12.0)[:, None], np.array([0] * 10 + [1] * 2), np.array([1, 0] * 6, bool)
    assert style_direction(z, labels, has).tolist() == [-1.0]
    with pytest.raises(ValueError, match="no class has 6 pictures with the attribute"):
        style_direction(z, labels, has, least=6)


def test_a_way_begins_and_ends_at_the_garments_and_stays_away_from_zero() -> None:
    start, end = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 5.0])
    way = between(start, end, 5)
    torch.testing.assert_close(way[[0, -1]], torch.stack([start, end]))
    torch.testing.assert_close(way.norm(dim=1), torch.linspace(3, 5, 5))
    angles = torch.arctan2(way[:, 1], way[:, 0])
    torch.testing.assert_close(angles.diff(), torch.full((4,), torch.pi / 8))


def test_the_way_between_parallel_garments_is_straight() -> None:
    start = torch.tensor([1.0, 1.0])
    torch.testing.assert_close(between(start, 3 * start, 3), torch.stack([start, 2 * start, 3 * start]))
