"""Which model of a mode is served, in evaluations small enough to work out by hand."""

import numpy as np
import pandas as pd
import pytest

from pipeline.champions.choice import against_popularity, choose, of_values
from pipeline.settings.assets import ChampionSettings

SETTINGS = ChampionSettings(minimum=10, resamples=200)
MODELS = ("modern", "dvbpr", "popularity", "bpr_mf", "item_knn")


def evaluation(users: int = 100, **means: float | tuple[float, float]) -> pd.DataFrame:
    """Make an evaluation in which each model has this NDCG@100, or (NDCG@100, NDCG@10), with noise over users."""
    rows = []
    for seed, (name, given) in enumerate(means.items()):
        decides, floor = given if isinstance(given, tuple) else (given, given)
        noise = np.random.default_rng(seed).normal(0, 0.02, users)
        for user, own in enumerate(noise - noise.mean()):
            figures = {"ndcg_at_100": decides + own, "ndcg_at_10": floor + own}
            rows += [{"user": user, "model": name, "split": split, **figures} for split in ("test", "validation")]
    return pd.DataFrame(rows)


def test_a_main_recommender_is_kept_where_nothing_beats_it_by_its_interval():
    found = choose(evaluation(modern=0.100, popularity=0.101), MODELS, SETTINGS)
    assert found.name == "modern" and "popularity has the best NDCG@100" in found.why


def test_popularity_is_chosen_where_it_beats_every_main_recommender():
    found = choose(evaluation(modern=0.10, dvbpr=0.05, popularity=0.20, bpr_mf=0.15), MODELS, SETTINGS)
    assert found.name == "popularity" and set(found.below) == {"modern", "dvbpr", "bpr_mf"}
    assert [row["model"] for row in found.rows] == ["popularity", "bpr_mf", "modern", "dvbpr"]


def test_popularity_is_kept_where_another_baseline_does_not_beat_it_by_its_interval():
    assert choose(evaluation(modern=0.05, popularity=0.200, bpr_mf=0.201), MODELS, SETTINGS).name == "popularity"
    assert choose(evaluation(modern=0.05, popularity=0.20, bpr_mf=0.30), MODELS, SETTINGS).name == "bpr_mf"


def test_of_two_main_recommenders_the_better_one_is_chosen():
    assert choose(evaluation(modern=0.10, dvbpr=0.20, popularity=0.05), MODELS, SETTINGS).name == "dvbpr"
    assert choose(evaluation(modern=0.200, dvbpr=0.201, popularity=0.05), MODELS, SETTINGS).name == "modern"


def test_a_model_whose_first_ten_are_below_popularitys_is_not_served_whatever_its_hundred():
    table = evaluation(modern=(0.30, 0.02), popularity=(0.10, 0.10), bpr_mf=(0.12, 0.11))
    found = choose(table, MODELS, SETTINGS)
    assert found.name == "bpr_mf" and found.below == ("modern",) and "Below popularity in NDCG@10: modern." in found.why
    assert (
        choose(table, MODELS, SETTINGS, floored=False).name == "modern"
    )  # who scores new pictures needs no such lists


def test_where_all_that_can_be_served_are_below_popularity_the_best_of_them_is_chosen_and_named_as_below():
    found = choose(evaluation(modern=0.05, bpr_mf=0.10, popularity=0.20), ("modern", "bpr_mf"), SETTINGS)
    assert found.name == "bpr_mf" and set(found.below) == {"modern", "bpr_mf"} and found.ahead == ("popularity",)


def test_a_better_model_that_cannot_be_served_is_named():
    found = choose(evaluation(modern=0.10, popularity=0.05, item_knn=0.30), ("modern", "popularity"), SETTINGS)
    assert found.name == "modern" and found.ahead == ("item_knn",)


def test_too_few_users_choose_nothing():
    found = choose(evaluation(users=9, modern=0.1, popularity=0.9), MODELS, SETTINGS)
    assert found.name == "modern" and found.below == () and "only 9 users" in found.why


def test_without_a_servable_model_nothing_is_chosen():
    with pytest.raises(ValueError, match="no model that can be served was evaluated"):
        choose(evaluation(item_knn=0.3), ("modern",), SETTINGS)


def test_what_is_served_is_below_popularity_only_by_its_whole_interval():
    noise = np.random.default_rng(0).normal(0, 0.1, 100)
    noise -= noise.mean()
    assert of_values(noise - 0.05, np.zeros(100), SETTINGS)["below"] is True
    assert of_values(noise - 0.005, np.zeros(100), SETTINGS)["below"] is False
    few = of_values(np.zeros(9), np.ones(9), SETTINGS)
    assert few["below"] is False and few["compared"] == 9 and "only 9 users" in few["why"]


def test_the_served_lists_are_compared_with_the_most_popular_items_in_words():
    better = against_popularity(evaluation(modern=0.10, popularity=0.05), "modern", SETTINGS)
    assert better.startswith("NDCG@100 0.100 against 0.050 of Popularity, +0.050 (+0.0")
    assert better.endswith("): better lists than the most popular items")
    level = against_popularity(evaluation(modern=0.101, popularity=0.100), "modern", SETTINGS)
    assert "+0.001 (-0.0" in level and level.endswith(
        "nothing shows that these lists are better than the most popular items"
    )
    assert "worse lists" in against_popularity(evaluation(modern=0.05, popularity=0.10), "modern", SETTINGS)
    few = against_popularity(evaluation(5, modern=0.10, popularity=0.05), "modern", SETTINGS)
    assert few.endswith("is open: only 5 users can be compared, 10 are required")
    assert against_popularity(evaluation(popularity=0.10), "popularity", SETTINGS) == ""
    assert against_popularity(evaluation(modern=0.10), "modern", SETTINGS) == ""
