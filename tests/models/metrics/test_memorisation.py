"""Memorisation: the nearest pictures are found, and a generator that copies is detected, in pixels and in features."""

import numpy as np
import pytest

from models.metrics.memorisation import memorisation_ratio, nearest_features, nearest_l1


def pixels(n: int, seed: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def test_the_nearest_picture_equals_a_double_loop_for_any_chunk_size() -> None:
    asked, train = pixels(5, 0), pixels(23, 1)
    train[20] = train[3]  # a tie goes to the first
    asked[0] = train[3]
    table = np.abs(asked[:, None].astype(int) - train[None].astype(int)).mean(axis=(2, 3, 4))
    for chunk in (4, 100):
        index, distance = nearest_l1(asked, train, chunk)
        assert index.tolist() == table.argmin(axis=1).tolist()
        np.testing.assert_allclose(distance, table.min(axis=1), rtol=1e-12)
    assert (index[0], distance[0]) == (3, 0)


def test_a_copied_training_set_is_detected_and_fresh_pictures_are_not() -> None:
    train, held_out = pixels(80, 0, 8), pixels(40, 1, 8)
    noisy = (train[:40] * 0.95).astype(np.uint8)
    assert memorisation_ratio(noisy, train[:40], held_out) < 0.2
    assert memorisation_ratio(pixels(40, 2, 8), train, held_out) == pytest.approx(1, abs=0.03)


def test_the_nearest_features_equal_a_double_loop_and_a_copy_has_distance_0() -> None:
    rng = np.random.default_rng(0)
    asked, known = rng.normal(size=(7, 5)).astype(np.float32), rng.normal(size=(23, 5)).astype(np.float32)
    asked[2] = known[11]
    table = np.sqrt(np.square(asked[:, None].astype(np.float64) - known[None]).sum(axis=2))
    for chunk in (4, 100):
        index, distance = nearest_features(asked, known, chunk)
        assert index.tolist() == table.argmin(axis=1).tolist()
        np.testing.assert_allclose(distance, table.min(axis=1), rtol=1e-5, atol=1e-7)
    assert (index[2], distance[2]) == (11, 0)


def test_a_copied_training_set_is_detected_in_features_too() -> None:
    rng = np.random.default_rng(1)
    train, held_out, fresh = (rng.normal(size=(n, 6)).astype(np.float32) for n in (400, 200, 200))
    noisy = train[:60] + rng.normal(0, 0.05, (60, 6)).astype(np.float32)
    assert memorisation_ratio(noisy, train[:200], held_out, nearest=nearest_features) < 0.2
    assert memorisation_ratio(fresh, train, held_out, nearest=nearest_features) == pytest.approx(1, abs=0.1)


def test_a_larger_training_set_does_not_look_like_memorisation() -> None:
    # Against sets of unequal size the nearest of the larger one is nearer; the ratio cuts them to one size.
    train, held_out, fresh = pixels(1000, 0, 4), pixels(40, 1, 4), pixels(60, 2, 4)
    unequal = nearest_l1(fresh, train)[1].mean() / nearest_l1(fresh, held_out)[1].mean()
    assert unequal < 0.9
    assert memorisation_ratio(fresh, train, held_out) == pytest.approx(1, abs=0.06)
