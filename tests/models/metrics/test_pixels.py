"""Pixel measures equal slow plain versions and known answers."""

import cmath

import numpy as np
import pytest

from models.metrics.pixels import PixelComponents, radial_power, shrunk, spectrum_distance


def pixels(n: int, seed: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def slow_power(picture: np.ndarray) -> list[float]:
    """Sum the Fourier transform of one picture term by term, and average its power by rounded radius."""
    side = len(picture)
    bright = [[sum(w * v for w, v in zip((0.299, 0.587, 0.114), pixel, strict=True)) / 255 for pixel in row]
              for row in picture.tolist()]  # fmt: skip
    mean = sum(map(sum, bright)) / side**2
    bell = [0.5 - 0.5 * np.cos(2 * np.pi * (n + 1) / (side + 1)) for n in range(side)]
    power: dict[int, list[float]] = {}
    for u in range(-(side // 2), side // 2):
        for v in range(-(side // 2), side // 2):
            wave = sum(
                (bright[y][x] - mean) * bell[y] * bell[x] * cmath.exp(-2j * cmath.pi * (u * y + v * x) / side)
                for y in range(side)
                for x in range(side)
            )
            power.setdefault(int(np.rint(np.hypot(u, v))), []).append(abs(wave) ** 2 / side**2)
    return [float(np.mean(power[f])) for f in range(1, side // 2 + 1)]


def test_the_spectrum_equals_a_sum_over_every_wave() -> None:
    pictures = pixels(3, 0, side=8)
    np.testing.assert_allclose(radial_power(pictures), [slow_power(picture) for picture in pictures], rtol=1e-9)


def test_half_the_contrast_is_a_spectrum_distance_of_log10_4() -> None:
    pictures = pixels(20, 1, side=16) // 2 * 2
    power = radial_power(pictures)
    assert spectrum_distance(power, power) == 0
    assert spectrum_distance(radial_power(pictures // 2), power) == pytest.approx(np.log10(4), abs=0.001)


def test_plain_pictures_have_a_finite_spectrum_distance() -> None:
    plain = radial_power(np.full((2, 16, 16, 3), 255, np.uint8))
    assert np.isfinite(spectrum_distance(plain, radial_power(pixels(2, 0, side=16))))
    assert spectrum_distance(plain, plain) == 0


def test_shrinking_averages_blocks() -> None:
    large = pixels(2, 2, side=8)
    blocks = large.reshape(2, 4, 2, 4, 2, 3).astype(float).mean(axis=(2, 4))
    np.testing.assert_allclose(shrunk(large, 4), blocks.transpose(0, 3, 1, 2).reshape(2, -1), rtol=1e-6)


def test_coordinates_keep_the_distances_of_pictures_that_the_components_span() -> None:
    pictures = pixels(12, 3)
    components = PixelComponents.fit(pictures)
    x, flat = components.transform(pictures), pictures.reshape(12, -1).astype(float)
    assert x.shape == (12, 11) and x.std() == pytest.approx(1, abs=1e-3)
    between = np.linalg.norm(x[:, None] - x, axis=2) * components.scale
    np.testing.assert_allclose(between, np.linalg.norm(flat[:, None] - flat, axis=2), rtol=1e-4, atol=1e-2)


def test_components_are_the_directions_of_greatest_variance() -> None:
    rng = np.random.default_rng(4)
    one, other = (rng.choice((-1.0, 1.0), (64, 64, 3)) for _ in range(2))
    weights = rng.normal(size=(100, 2)) * (20, 5)
    pictures = (128 + weights[:, :1, None, None] * one + weights[:, 1:, None, None] * other).clip(0, 255)
    components = PixelComponents.fit(pictures.round().astype(np.uint8), components=2)
    first = components.axes[:, 0].reshape(3, 64, 64).transpose(1, 2, 0)
    assert abs((first * one).sum()) / np.linalg.norm(one) > 0.99


def test_one_picture_has_no_components() -> None:
    with pytest.raises(ValueError, match="at least two pictures; there are 1"):
        PixelComponents.fit(pixels(1, 0))
