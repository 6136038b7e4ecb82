"""Each kind of irrelevant picture is found by its rule, and a clean class loses almost nothing."""

import numpy as np
import pytest

from pipeline.core.generator.irrelevant import RelevanceSettings, find_irrelevant

D = 24


def cloud(centre: int, count: int, seed: int, sd: float = 0.4) -> np.ndarray:
    x = np.random.default_rng(seed).normal(0, sd, (count, D))
    x[:, centre] += 4
    return x


def blank(count: int) -> np.ndarray:
    return np.full((count, 8, 8, 3), 200, np.uint8)  # blank, so no near-duplicates


def shop(extra: np.ndarray | None = None, label: tuple[int, ...] = ()):
    """Make two classes of 60 pictures of 30 products each, and extra pictures at the end."""
    features = np.concatenate([cloud(0, 60, 0), cloud(1, 60, 1), *([] if extra is None else [extra])])
    labels = np.array([0] * 60 + [1] * 60 + list(label))
    products = np.array([f"P{row // 2}" for row in range(120)] + [f"X{n}" for n in range(len(label))])
    return features, blank(len(labels)), labels, products


def test_a_picture_of_another_class_is_found_with_its_class():
    found = find_irrelevant(*shop(cloud(1, 2, 5), (0, 0)), RelevanceSettings())
    assert found.reason[-2:].tolist() == ["other_class", "other_class"]
    assert found.seen_as[-2:].tolist() == [1, 1]
    assert found.kept[:-2].mean() > 0.97


def test_an_outlier_is_found_even_if_it_fits_no_class():
    odd = np.zeros((1, D))
    odd[0, 0], odd[0, 7] = 4, 6  # its class's feature, and one that no other picture has
    found = find_irrelevant(*shop(odd, (0,)), RelevanceSettings())
    assert found.reason[-1] == "outlier"
    assert found.distance[-1] > 2
    assert found.kept[:-1].mean() > 0.97


def test_pictures_of_one_product_are_not_compared_with_each_other():
    odd = np.zeros((12, D))
    odd[:, 0], odd[:, 7] = 4, 6
    features, pixels, labels, products = shop(odd, (0,) * 12)
    products[-12:] = "X"
    assert (find_irrelevant(features, pixels, labels, products, RelevanceSettings()).reason[-12:] == "outlier").all()


def test_the_first_of_near_duplicates_stays_and_blank_pictures_are_no_copies():
    features, pixels, labels, products = shop()
    scene = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pixels = np.full((120, 64, 64, 3), 200, np.uint8)
    pixels[[3, 70, 90]] = scene
    found = find_irrelevant(features, pixels, labels, products, RelevanceSettings())
    assert np.flatnonzero(found.reason == "near_duplicate").tolist() == [70, 90]


def test_a_small_class_is_left_unchanged():
    features, pixels, labels, products = shop(cloud(1, 2, 5), (0, 0))
    few = np.r_[0:10, 60:120, 120:122]
    found = find_irrelevant(features[few], pixels[few], labels[few], products[few], RelevanceSettings())
    assert found.kept.all() and np.isnan(found.own_class).all()


def test_the_result_does_not_depend_on_the_order_of_pictures():
    features, pixels, labels, products = shop(cloud(1, 3, 5), (0, 0, 0))
    order = np.random.default_rng(0).permutation(len(labels))
    first = find_irrelevant(features, pixels, labels, products, RelevanceSettings())
    second = find_irrelevant(features[order], pixels[order], labels[order], products[order], RelevanceSettings())
    assert (second.reason == first.reason[order]).all()


def test_every_rule_can_be_turned_off():
    found = find_irrelevant(
        *shop(cloud(1, 2, 5), (0, 0)), RelevanceSettings(own_class=0, outlier=0, near_duplicates=False)
    )
    assert found.kept.all()


@pytest.mark.parametrize(("field", "value"), [("own_class", 1.0), ("outlier", 0.5)])
def test_an_invalid_threshold_is_named(field: str, value: float):
    with pytest.raises(ValueError, match=field):
        RelevanceSettings(**{field: value})
