"""Planted tastes are sharp enough to be learnt, and depend on visible attributes and hardly on popularity."""

import numpy as np
import pytest

from pipeline.sample.plan import CataloguePlan, make_plan
from pipeline.sample.settings import SampleSettings
from pipeline.sample.shoppers import PALETTES, mean_auc, planted_auc, sample_tastes
from pipeline.sample.styles import ATTRIBUTES, CLASSES, sample_style


@pytest.fixture(scope="module")
def demo() -> CataloguePlan:
    """Make the demo's plan; nothing is drawn, so this is fast."""
    return make_plan(SampleSettings())


def test_the_best_reachable_auc_is_in_the_range_that_the_demo_needs(demo: CataloguePlan) -> None:
    best = planted_auc(
        demo.shoppers.theta, demo.items(), demo.item_bias, demo.shoppers.purchases, users=demo.settings.users
    )
    assert 0.87 < best < 0.93


def test_a_small_catalogue_keeps_its_taste(plan: CataloguePlan) -> None:
    best = planted_auc(plan.shoppers.theta, plan.items(), plan.item_bias, plan.shoppers.purchases, users=50)
    assert 0.82 < best < 0.97


def test_popularity_explains_little_of_the_purchases(demo: CataloguePlan) -> None:
    rng = np.random.default_rng(0)
    bought = demo.shoppers.purchases[: demo.settings.users]
    held_out = [rng.choice(items, 2, replace=False) for items in bought]
    train = np.concatenate([np.setdiff1d(items, hidden) for items, hidden in zip(bought, held_out, strict=True)])
    popularity = np.tile(np.bincount(train, minlength=demo.settings.items).astype(float), (demo.settings.users, 1))
    assert 0.5 < mean_auc(popularity, bought, held_out) < 0.62


def test_colour_explains_most_class_little_and_neither_everything(demo: CataloguePlan) -> None:
    rng = np.random.default_rng(0)
    bought = demo.shoppers.purchases[: demo.settings.users]
    held_out = [rng.choice(items, 2, replace=False) for items in bought]
    columns = np.array([name in CLASSES for name in ATTRIBUTES])
    by_class = (demo.shoppers.theta * columns) @ demo.items().T
    by_hue = (demo.shoppers.theta * np.array([name.startswith("hue_") for name in ATTRIBUTES])) @ demo.items().T
    best = planted_auc(
        demo.shoppers.theta, demo.items(), demo.item_bias, demo.shoppers.purchases, users=demo.settings.users
    )
    class_auc, hue_auc = mean_auc(by_class, bought, held_out), mean_auc(by_hue, bought, held_out)
    assert 0.5 < class_auc < hue_auc < best - 0.03


def test_mean_auc_counts_wins_and_half_the_ties_in_a_hand_computed_case() -> None:
    score = np.array([[5.0, 1.0, 5.0, 0.0, 9.0]])
    # Held out: item 0 (5). Never touched: items 1 (1), 2 (5), 3 (0). Item 4 is a training purchase.
    assert mean_auc(score, [np.array([0, 4])], [np.array([0])]) == pytest.approx(2.5 / 3)


def test_every_user_buys_the_configured_number_of_distinct_items(demo: CataloguePlan) -> None:
    sizes = [len(set(items.tolist())) for items in demo.shoppers.purchases]
    settings = demo.settings
    stay, leave = sizes[: settings.users], sizes[settings.users :]
    assert (min(stay), max(stay)) == (settings.purchases_min, settings.purchases_max)
    assert (min(leave), max(leave)) == (1, 4)


def test_a_taste_has_one_palette_and_one_pattern() -> None:
    theta = sample_tastes(40, np.random.default_rng(1))
    hues = [name for name in ATTRIBUTES if name.startswith("hue_")]
    liked = theta[:, [ATTRIBUTES.index(name) for name in hues]] > 0
    patterns = theta[:, [name.startswith("pattern_") for name in ATTRIBUTES]]
    palettes = {frozenset(f"hue_{hue}" for hue in palette) for palette in PALETTES}
    assert {frozenset(np.array(hues)[row].tolist()) for row in liked} == palettes
    assert ((patterns > 0).sum(axis=1) == 1).all()


def test_a_style_has_one_value_of_each_attribute_of_its_class() -> None:
    rng = np.random.default_rng(2)
    expected = {"tops": ("sleeve_", "neckline_"), "pants": ("length_", "cut_"), "shoes": ("heel_",)}
    for garment_class in CLASSES * 5:
        style = sample_style(garment_class, rng)
        chosen = [name for name, value in zip(ATTRIBUTES, style.vector(), strict=True) if value]
        for prefix in ("sleeve_", "neckline_", "length_", "cut_", "heel_"):
            assert sum(name.startswith(prefix) for name in chosen) == (prefix in expected[style.kind])
        assert garment_class in chosen
