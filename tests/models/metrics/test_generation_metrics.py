"""Metrics of generated pictures equal closed forms, slow plain versions, and known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics.generation import (
    ClassClassifier,
    class_agreement,
    distance_differences,
    diversity,
    frechet_distance,
    kernel_distance,
    precision_recall,
    protocol,
    ssim,
)
from models.metrics.intervals import bootstrap_mean


def gaussian(n: int, width: int, seed: int, mean: float = 0.0, sd: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, sd, (n, width)).astype(np.float32)


def pixels(n: int, seed: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def exactly(mean: np.ndarray, covariance: np.ndarray, n: int) -> np.ndarray:
    """Draw a set with exactly this sample mean and covariance."""
    x = gaussian(n, len(mean), 3).astype(np.float64)
    x -= x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


@pytest.mark.parametrize(("n", "width"), [(50, 8), (20, 40)], ids=["more pictures than features", "fewer"])
def test_the_frechet_distance_of_a_set_from_itself_is_0(n: int, width: int) -> None:
    x = gaussian(n, width, 0)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_of_known_gaussians_equals_the_closed_form() -> None:
    a = exactly(np.zeros(3), np.diag([1.0, 4.0, 9.0]), 40)
    b = exactly(np.array([1.0, 2.0, 2.0]), np.diag([4.0, 4.0, 1.0]), 60)
    # |mean|^2 = 9; commuting covariances: sum of (sd_a - sd_b)^2 = 1 + 0 + 4
    assert frechet_distance(a, b) == pytest.approx(14, rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 30), st.integers(1, 12), st.integers(0, 1000))
def test_the_frechet_distance_equals_the_textbook_formula(n: int, width: int, seed: int) -> None:
    a, b = gaussian(n, width, seed, 0.5).astype(np.float64), gaussian(n + 2, width, seed + 1, sd=2).astype(np.float64)
    first, second = np.cov(a.T).reshape(width, width), np.cov(b.T).reshape(width, width)
    root = np.sqrt(np.maximum(np.linalg.eigvals(first @ second).real, 0)).sum()
    gap = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    assert frechet_distance(a, b) == pytest.approx(gap + np.trace(first) + np.trace(second) - 2 * root, abs=1e-4)


def test_the_kernel_distance_equals_a_double_loop() -> None:
    a, b = gaussian(5, 4, 0).astype(np.float64), gaussian(5, 4, 1, mean=1).astype(np.float64)
    pairs = [(i, j) for i in range(5) for j in range(5)]
    within = sum((x[i] @ x[j] / 4 + 1) ** 3 for x in (a, b) for i, j in pairs if i != j) / 20
    between = sum((a[i] @ b[j] / 4 + 1) ** 3 for i, j in pairs) / 25
    mean, sd = kernel_distance(a, b, subsets=3, subset_size=5)
    assert mean == pytest.approx(within - 2 * between)
    assert sd == pytest.approx(0, abs=1e-12)


def test_the_kernel_distance_is_unbiased_for_one_distribution_and_grows_with_the_gap() -> None:
    a = gaussian(400, 16, 0)
    same, _ = kernel_distance(a, gaussian(400, 16, 1), subsets=50, subset_size=100)
    near, far = (kernel_distance(a, gaussian(400, 16, 1, mean=m), subsets=50)[0] for m in (0.3, 1.0))
    assert abs(same) < 0.02
    assert same < near < far


def test_features_of_two_networks_or_with_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="two networks"):
        frechet_distance(gaussian(5, 3, 0), gaussian(5, 4, 0))
    broken = gaussian(5, 3, 0)
    broken[2, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        kernel_distance(broken, gaussian(5, 3, 0))


def test_identical_sets_have_full_precision_recall_and_coverage_and_distant_ones_none() -> None:
    x = gaussian(40, 5, 0)
    assert precision_recall(x, x)["precision"] == precision_recall(x, x)["recall"] == 1
    assert precision_recall(x, x)["coverage"] == 1
    assert set(precision_recall(x, x + 100).values()) == {0.0}


def test_half_a_set_has_full_precision_and_recall_one_half() -> None:
    apart = np.concatenate([gaussian(40, 5, 0), gaussian(40, 5, 1, mean=50)])
    found = precision_recall(apart, apart[:40])
    assert found["precision"] == 1
    assert found["recall"] == found["coverage"] == 0.5


def test_a_classifier_learns_separable_classes_and_judges_agreement_by_class() -> None:
    labels = np.repeat([0, 1, 2], [60, 20, 10])
    features = gaussian(90, 6, 0, sd=0.3)
    features[np.arange(90), labels] += 2
    judge = ClassClassifier.fit(features, labels, 3)
    asked = np.array([0, 0, 1, 2])
    shown = np.eye(6)[[0, 1, 1, 2]] * 2  # the second shows class 1 where 0 was asked for
    agreement = class_agreement(judge.predict, shown, asked, ("a", "b", "c"))
    assert agreement == {"overall": pytest.approx(2.5 / 3), "a": 0.5, "b": 1.0, "c": 1.0}


def test_a_class_without_held_out_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[3, 0, 2\]"):
        ClassClassifier.fit(gaussian(5, 2, 0), np.array([0, 0, 0, 2, 2]), 3)


def test_the_similarity_of_a_picture_is_1_with_itself_and_low_with_noise() -> None:
    x = pixels(3, 0, 24)
    np.testing.assert_allclose(ssim(x, x), 1, atol=1e-5)
    assert (ssim(x, pixels(3, 1, 24)) < 0.2).all()


def test_the_similarity_of_flat_pictures_follows_from_their_means() -> None:
    a, b = np.full((1, 16, 16, 3), 51, np.uint8), np.full((1, 16, 16, 3), 153, np.uint8)  # 0.2 and 0.6
    assert ssim(a, b)[0] == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.04 + 0.36 + 1e-4), rel=1e-3)


def test_the_similarity_equals_a_sum_over_single_windows() -> None:
    a, b = pixels(1, 5, 13), pixels(1, 6, 13)
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / 4.5)
    window /= window.sum()
    values = []
    for c in range(3):
        for i, j in np.ndindex(3, 3):
            x, y = (p[0, i : i + 11, j : j + 11, c] / 255 for p in (a, b))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy, cov = ((window * (p - mp) * (q - mq)).sum() for p, mp, q, mq in
                           ((x, mx, x, mx), (y, my, y, my), (x, mx, y, my)))  # fmt: skip
            top = (2 * mx * my + 1e-4) * (2 * cov + 9e-4)
            values.append(top / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    assert ssim(a, b)[0] == pytest.approx(np.mean(values), abs=1e-5)


def test_a_class_of_one_picture_repeated_has_no_diversity() -> None:
    pictures = np.concatenate([np.repeat(pixels(1, 0), 4, axis=0), pixels(6, 1)])
    found = diversity(pictures, np.array([0] * 4 + [1] * 6), ("same", "noise", "empty"))
    assert found["same"] == pytest.approx(0, abs=1e-5)
    assert found["noise"] > 0.8
    assert found["overall"] == pytest.approx((found["same"] + found["noise"]) / 2)
    assert "empty" not in found


def test_a_figure_carries_its_protocol_in_its_name() -> None:
    assert protocol("frechet", "efflite0", 600) == "frechet_efflite0_n600"


def test_the_relative_distance_is_the_difference_of_two_unbiased_kernel_distances() -> None:
    rng = np.random.default_rng(3)
    real, one, other = (rng.normal(shift, 1, (9, 4)) for shift in (0, 0.5, 1))

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    def mmd(fake: np.ndarray) -> float:
        """Compute the U-statistic of Gretton et al. 2012, lemma 6, by its definition over pairs i != j."""
        terms = [
            kernel(real[i], real[j]) + kernel(fake[i], fake[j]) - kernel(real[i], fake[j]) - kernel(real[j], fake[i])
            for i in range(9)
            for j in range(9)
            if i != j
        ]
        return float(np.mean(terms))

    differences = distance_differences(real, one, other)
    assert differences.shape == (9,)
    assert differences.mean() == pytest.approx(mmd(one) - mmd(other))
    np.testing.assert_allclose(differences, -distance_differences(real, other, one))


def test_the_interval_of_the_relative_distance_covers_the_truth_at_about_its_nominal_rate() -> None:
    # Two generators that are off alike: the difference is 0. 95 % intervals over 40 draws miss it 2 times on average.
    missed = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = distance_differences(*(rng.normal(shift, 1, (60, 3)) for shift in (0, 0.7, 0.7)))
        low, high = bootstrap_mean(values, seed, 300)
        missed += not low <= 0 <= high
    assert missed <= 6


def test_relative_distances_need_three_sets_of_one_shape() -> None:
    with pytest.raises(ValueError, match="three of one shape"):
        distance_differences(np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((4, 2)))
