"""Frozen features: the same pictures, the same numbers, however they are batched."""

import numpy as np
import pytest

from pipeline.core.features import DIMENSIONS, embed


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (5, 40, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def features(pictures) -> np.ndarray:
    return embed(pictures, size=32)


def test_there_is_a_row_a_picture_and_pictures_differ(features):
    assert features.shape == (5, DIMENSIONS) and features.dtype == np.float32
    assert np.isfinite(features).all()
    assert min(np.abs(features[a] - features[b]).max() for a in range(5) for b in range(a)) > 1e-3


def test_the_same_pictures_have_the_same_features(pictures, features):
    np.testing.assert_array_equal(embed(pictures, size=32), features)


def test_a_pictures_features_do_not_depend_on_its_batch(pictures, features):
    np.testing.assert_allclose(embed(pictures, size=32, batch=2), features, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(embed(pictures[3:4], size=32), features[3:4], atol=1e-4, rtol=1e-4)


def test_rows_are_taken_in_the_order_asked_for(pictures, features):
    np.testing.assert_allclose(embed(pictures, [4, 0, 4], size=32), features[[4, 0, 4]], atol=1e-4, rtol=1e-4)


def test_pictures_of_another_size_are_resized(features):
    flat = np.full((1, 50, 50, 3), 200, np.uint8)
    np.testing.assert_allclose(embed(flat, size=32), embed(flat[:, :32, :32], size=32), atol=1e-4, rtol=1e-4)


def test_progress_ends_at_the_last_picture(pictures):
    said: list[tuple[int, int]] = []
    embed(pictures, size=32, batch=2, on_progress=lambda done, total: said.append((done, total)))
    assert said == [(2, 5), (4, 5), (5, 5)]


def test_no_picture_has_no_features(pictures):
    assert embed(pictures[:0], size=32).shape == (0, DIMENSIONS)
