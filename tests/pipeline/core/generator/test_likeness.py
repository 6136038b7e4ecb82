"""The most alike pictures are the picture itself, then those in its direction, for any length of features."""

import numpy as np

from pipeline.core.generator.likeness import most_alike


def test_a_picture_comes_first_and_then_those_of_its_direction():
    features = np.array([[2, 0], [-1, 0.1], [6, 0.2], [-7, -0.3]], float)
    rows = most_alike(features, asked=4, shown=2)
    assert rows.tolist() == [[0, 2], [1, 3], [2, 0], [3, 1]]


def test_fewer_pictures_than_requested_are_all_returned():
    assert most_alike(np.eye(3), asked=8, shown=8).shape == (3, 3)
    assert len(most_alike(np.zeros((0, 5)), asked=8, shown=8)) == 0
