"""Factors are checked for matching shapes and saved without loss, and an item is the mean of its pictures."""

from pathlib import Path

import numpy as np
import pytest

from models.data.factors import Factors, item_means


def some(**changes) -> Factors:
    rng = np.random.default_rng(0)
    arrays = {
        "users": np.array([7, 9]),
        "items": np.array([1, 2, 5]),
        "theta": rng.normal(size=(2, 4)),
        "item": rng.normal(size=(3, 4)),
        "item_bias": np.zeros(3),
        "phi": rng.normal(size=(5, 4)),
        "image_item": np.array([0, 0, 1, 2, 2]),
    }
    return Factors(**{**arrays, **changes})


def test_factors_are_loaded_as_saved_with_the_documented_types(tmp_path: Path) -> None:
    saved = some()
    saved.save(tmp_path / "run" / "factors.npz")
    back = Factors.load(tmp_path / "run" / "factors.npz")
    for name, dtype in {
        "users": "int32",
        "items": "int32",
        "theta": "float32",
        "item": "float32",
        "item_bias": "float32",
        "phi": "float32",
        "image_item": "int32",
    }.items():
        assert getattr(back, name).dtype == dtype
        np.testing.assert_array_equal(getattr(back, name), getattr(saved, name))
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["factors.npz"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"theta": np.zeros((3, 4))}, r"theta is \(3, 4\); \(2, 4\)"),
        ({"item_bias": np.zeros((3, 1))}, "item_bias has 2 dimension"),
        ({"item_bias": np.zeros(2)}, "item_bias is"),
        ({"phi": np.zeros((4, 4))}, "phi is"),
        ({"image_item": np.array([0, 0, 1, 2, 3])}, r"rows outside 0\.\.2"),
        ({"theta": np.full((2, 4), np.nan)}, "theta holds values that are not finite"),
    ],
)
def test_the_error_for_mismatched_arrays_names_the_array(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        some(**changes)


def test_the_factor_of_an_item_is_the_mean_of_its_pictures() -> None:
    values = np.array([[1.0], [10.0], [3.0], [5.0]])
    np.testing.assert_allclose(item_means(values, np.array([1, 0, 1, 1]), 2), [[10.0], [3.0]])
    with pytest.raises(ValueError, match="1 of 3 items have no picture"):
        item_means(values, np.array([1, 0, 1, 1]), 3)
