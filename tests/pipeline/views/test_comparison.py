"""Figures over users, against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.metrics.evaluate import PerUser
from pipeline.core.arrays import ModeArrays
from pipeline.core.errors import InputError
from pipeline.core.schemas import RECOMMENDER_EVALUATION
from pipeline.settings.assets import EvaluationSettings
from pipeline.views.comparison import (
    best_first,
    between_models,
    between_modes,
    compare,
    expect_ranked,
    flat,
    markdown,
    of_catalogue,
    per_user_table,
    sorted_by,
    summaries,
    summarise,
)

SETTINGS = EvaluationSettings(seed=1, resamples=200)


def rows(model: str, auc: dict[int, float], split: str = "test", cold=(), unpaired=(), typeless=()) -> list[dict]:
    return [
        {
            "user": user, "model": model, "split": split, "paired": user not in unpaired, "held": 2,
            "auc": value, "auc_strict": value / 2, "auc_sampled100": 0.25,
            "auc_picture": 0.125, "auc_category": None if user in typeless else value / 4,
            "auc_warm": None if user in cold else value, "auc_cold": value if user in cold else None,
            "auc_warm_seen": None if user in cold else value / 2,
            "auc_cold_unseen": value / 2 if user in cold else None,
            "recall_at_10": float(value > 0.5), "recall_at_50": 1.0, "hit_at_10": 1.0, "hit_at_50": 1.0,
            "ndcg_at_10": 0.0, "ndcg_at_50": 0.25, "ndcg_at_100": value / 16,
            "map_at_10": 0.125, "map_at_12": 0.25, "map_at_50": 0.5, "reciprocal_rank": value / 8, "novelty_at_10": 2.0,
        }
        for user, value in auc.items()
    ]  # fmt: skip


def table(*parts: list[dict]) -> pa.Table:
    return pa.Table.from_pylist([row for part in parts for row in part], schema=RECOMMENDER_EVALUATION)


def test_means_over_users_equal_hand_computed_values():
    figures = summarise(table(rows("dvbpr", {0: 0.25, 1: 0.5, 2: 0.75, 3: 1.0}, cold=(3,))).to_pandas(), SETTINGS)
    assert figures["auc"] == 0.625
    assert (figures["warm_auc"], figures["cold_auc"], figures["cold_users"]) == (0.5, 1.0, 1)
    assert (figures["auc_strict"], figures["auc_sampled100"], figures["auc_picture"]) == (0.3125, 0.25, 0.125)
    names = ("recall_at_10", "recall_at_50", "ndcg_at_10", "ndcg_at_50", "mrr", "novelty_at_10")
    assert [figures[name] for name in names] == [0.5, 1.0, 0.0, 0.25, 0.078125, 2.0]
    assert (figures["warm_among_seen"], figures["cold_among_unseen"], figures["held_out"]) == (0.25, 0.5, 8)
    names = ("hit_at_10", "hit_at_50", "ndcg_at_100", "map_at_10", "map_at_12", "map_at_50")
    assert [figures[name] for name in names] == [1.0, 1.0, 0.0390625, 0.125, 0.25, 0.5]
    low, high = figures["auc_ci95"]
    assert 0.25 <= low < 0.625 < high <= 1.0


def test_without_a_cold_user_there_is_no_cold_auc():
    figures = summarise(table(rows("dvbpr", {0: 0.25, 1: 0.5})).to_pandas(), SETTINGS)
    assert figures["cold_auc"] is figures["cold_auc_ci95"] is None
    assert figures["cold_users"] == 0 and figures["warm_auc"] == 0.375


def test_warm_and_cold_items_have_intervals_of_their_own():
    auc = {user: 0.5 if user < 6 else 1.0 for user in range(9)}
    figures = summarise(table(rows("dvbpr", auc, cold=(6, 7, 8))).to_pandas(), SETTINGS)
    assert (figures["warm_auc_ci95"], figures["cold_auc_ci95"]) == ([0.5, 0.5], [1.0, 1.0])


def test_the_category_auc_averages_the_users_whose_item_has_a_category():
    figures = summarise(table(rows("dvbpr", {0: 0.5, 1: 1.0, 2: 0.0}, typeless=(2,))).to_pandas(), SETTINGS)
    assert (figures["auc_category"], figures["category_users"], figures["auc"]) == (0.1875, 2, 0.5)
    figures = summarise(table(rows("dvbpr", {0: 0.5}, typeless=(0,))).to_pandas(), SETTINGS)
    assert figures["auc_category"] is figures["auc_category_ci95"] is None and figures["category_users"] == 0


def test_equal_users_give_an_interval_of_width_0():
    assert summarise(table(rows("dvbpr", dict.fromkeys(range(9), 0.75))).to_pandas(), SETTINGS)["auc_ci95"] == [
        0.75,
        0.75,
    ]


def test_every_model_and_split_has_its_own_figures():
    made = summaries(
        table(rows("dvbpr", {0: 1.0}), rows("dvbpr", {0: 0.5}, "validation"), rows("random", {0: 0.25})), SETTINGS
    )
    assert {(m, s): f["auc"] for m, splits in made.items() for s, f in splits.items()} == {
        ("dvbpr", "test"): 1.0,
        ("dvbpr", "validation"): 0.5,
        ("random", "test"): 0.25,
    }


def test_the_error_for_a_mode_without_ranked_users_names_the_mode():
    with pytest.raises(InputError, match=r"vendor_all: none of 0 users has a validation item .*splits\[vendor_all\]"):
        expect_ranked(summaries(table(), SETTINGS), "vendor_all", 0, 0)
    only = summaries(table(rows("dvbpr", {0: 1.0}, "validation")), SETTINGS)
    with pytest.raises(InputError, match="none of 7 users has a test item"):
        expect_ranked(only, "vendor_all", 7, 9)


def test_a_difference_is_paired_by_user_and_is_the_model_minus_dvbpr():
    # Users in another order, and one whom only the other model knows.
    made = compare(
        {"vendor_all": table(rows("dvbpr", {0: 0.5, 1: 0.75}), rows("vbpr", {2: 0.0, 1: 0.5, 0: 0.5}))}, SETTINGS
    )
    by_model = {row["model"]: row for row in made}
    assert by_model["vbpr"]["difference_to_main"] == -0.125
    assert by_model["vbpr"]["difference_low"] == -0.25 and by_model["vbpr"]["difference_high"] == 0.0
    assert by_model["vbpr"]["auc"] == pytest.approx(1 / 3) and by_model["vbpr"]["users"] == 3
    assert by_model["dvbpr"]["difference_to_main"] is None


def test_ndcg_has_an_interval_and_a_paired_difference_like_the_auc():
    parts = table(rows("dvbpr", {0: 0.5, 1: 0.75}), rows("vbpr", {1: 0.5, 0: 0.5}))
    [own, other] = compare({"vendor_all": parts}, SETTINGS)
    assert (own["ndcg_at_100"], own["ndcg_at_100_difference"]) == (0.0390625, None)
    assert own["ndcg_at_100_low"] == 0.5 / 16 and own["ndcg_at_100_high"] == 0.75 / 16
    assert (other["ndcg_at_100"], other["ndcg_at_100_difference"]) == (0.03125, -0.0078125)
    assert (other["ndcg_at_100_difference_low"], other["ndcg_at_100_difference_high"]) == (-0.015625, 0)
    assert other["ndcg_at_10_difference"] == other["ndcg_at_10_difference_low"] == 0


def test_a_constant_gain_has_an_interval_of_width_0():
    gained = {user: 0.5 + user / 64 for user in range(8)}
    better = {user: value + 0.125 for user, value in gained.items()}
    made = compare({"vendor_all": table(rows("dvbpr", gained), rows("vbpr", better))}, SETTINGS)
    row = next(row for row in made if row["model"] == "vbpr")
    assert (row["difference_low"], row["difference_to_main"], row["difference_high"]) == (0.125, 0.125, 0.125)


def test_the_figure_of_the_paper_is_given_only_for_dvbpr_on_validation():
    made = compare(
        {
            "vendor_all": table(
                rows("dvbpr", {0: 1.0}), rows("dvbpr", {0: 1.0}, "validation"), rows("vbpr", {0: 1.0}, "validation")
            )
        },
        SETTINGS,
    )
    assert {(r["model"], r["split"]): r["paper_auc"] for r in made} == {
        ("dvbpr", "test"): None,
        ("dvbpr", "validation"): 0.6853,
        ("vbpr", "validation"): None,
    }


def test_without_dvbpr_there_are_no_differences():
    [row] = compare({"vendor_all": table(rows("random", {0: 0.5}))}, SETTINGS)
    assert row["difference_to_main"] is None


def test_every_two_models_are_compared_on_their_common_users():
    auc = {"dvbpr": {0: 0.5, 1: 0.75, 2: 0.25}, "vbpr": {2: 0.5, 1: 1.0, 0: 0.75}, "random": {1: 0.5, 0: 0.5}}
    made = between_models(table(*(rows(m, v) for m, v in auc.items())), "test", SETTINGS)
    assert [(r["models"], r["users"], r["auc"]) for r in made] == [
        ("vbpr - dvbpr", 2, 0.25), ("random - dvbpr", 2, -0.125), ("random - vbpr", 2, -0.375),
    ]  # fmt: skip
    assert (made[0]["low"], made[0]["high"]) == (0.25, 0.25)  # the same gain for everyone


def test_models_can_be_compared_on_cold_items_only_and_by_another_metric():
    parts = (rows("dvbpr", {0: 0.5, 1: 0.5, 2: 0.5}, cold=(1,)), rows("vbpr", {0: 0.0, 1: 1.0, 2: 0.5}, cold=(1,)))
    [cold] = between_models(table(*parts), "test", SETTINGS, "auc_cold")
    [warm] = between_models(table(*parts), "test", SETTINGS, "auc_warm_seen")
    assert (cold["users"], cold["auc_cold"]) == (1, 0.5) and (warm["users"], warm["auc_warm_seen"]) == (2, -0.125)
    assert between_models(table(*parts), "validation", SETTINGS) == []


def test_the_difference_between_two_models_equals_the_one_to_dvbpr():
    rng = np.random.default_rng(0)
    users = range(30)
    parts = table(*(rows(m, dict(zip(users, rng.random(30), strict=True))) for m in ("dvbpr", "vbpr")))
    [pair] = between_models(parts, "test", SETTINGS)
    row = next(row for row in compare({"vendor_all": parts}, SETTINGS) if row["model"] == "vbpr")
    beside = [row[name] for name in ("difference_to_main", "difference_low", "difference_high")]
    assert [pair["auc"], pair["low"], pair["high"]] == pytest.approx(beside)


def test_modes_are_compared_on_users_with_the_same_hold_outs():
    by_mode = {
        "vendor_single": table(rows("dvbpr", {0: 0.5, 1: 0.5, 2: 0.0}, unpaired=(2,))),
        "vendor_all": table(rows("dvbpr", {0: 0.75, 1: 1.0, 2: 1.0}, unpaired=(2,)), rows("vbpr", {0: 0.0})),
        "vendor_customer": table(rows("dvbpr", {1: 0.75, 5: 0.0})),
    }
    made = {row["modes"]: row for row in between_modes(by_mode, "test", SETTINGS)}
    assert {name: (row["users"], row["auc"]) for name, row in made.items()} == {
        "vendor_all - vendor_single": (2, 0.375),
        "vendor_customer - vendor_single": (1, 0.25),
        "vendor_customer - vendor_all": (1, -0.25),
    }


def test_modes_without_common_users_are_not_compared():
    by_mode = {"a": table(rows("dvbpr", {0: 1.0})), "b": table(rows("dvbpr", {1: 1.0}))}
    assert between_modes(by_mode, "test", SETTINGS) == []


def test_rows_have_global_ids_and_leave_out_users_with_nothing_to_rank():
    ones = np.ones(3, np.float32)
    measured = PerUser(
        user=np.array([0, 1, 2], np.int32),
        held=np.array([1, 1, 3], np.int32),
        auc=np.array([0.5, np.nan, 1.0], np.float32),
        auc_strict=ones, auc_sampled100=ones, auc_picture=ones,
        auc_category=np.array([np.nan, 0.5, 0.25], np.float32),
        auc_warm=ones * np.nan, auc_cold=ones, auc_warm_seen=ones * np.nan, auc_cold_unseen=ones,
        recall_at_10=ones, recall_at_50=ones, hit_at_10=ones, hit_at_50=ones, ndcg_at_10=ones, ndcg_at_50=ones,
        ndcg_at_100=ones, map_at_10=ones, map_at_12=ones, map_at_50=ones, reciprocal_rank=ones,
        novelty_at_10=ones, recommended=np.array([[0], [2], [0]], np.int32),
    )  # fmt: skip
    data = ModeArrays(
        users=np.array([7, 8, 9], np.int32),
        items=np.array([40, 50], np.int32),
        pairs={},
        train_time=np.zeros(0, np.int64),
        paired=np.array([True, True, False]),
        bank_row=np.zeros(0, np.int32),
        image_item=np.zeros(0, np.int32),
    )
    found = per_user_table(measured, data, "vbpr", "validation")
    assert found["auc_category"].to_pylist() == [None, 0.25] and found["auc_warm"].null_count == 2
    made = found.to_pandas()
    assert of_catalogue(measured, 4) == {"coverage_at_10": 0.25, "gini_at_10": 0.75}  # item 0 alone, of four
    expected = pd.DataFrame({"user": [7, 9], "held": [1, 3], "paired": [True, False], "auc": [0.5, 1.0]})
    pd.testing.assert_frame_equal(made[list(expected)], expected, check_dtype=False)
    assert set(made["model"]) == {"vbpr"} and set(made["split"]) == {"validation"}


def test_mlflow_names_include_model_and_split_and_missing_figures_are_left_out():
    figures = {m: {"test": {"auc": 0.5, "auc_ci95": [0.25, 0.75], "cold_auc": None}} for m in ("dvbpr", "vbpr")}
    assert flat(figures) == {
        "test_auc": 0.5, "test_auc_ci95_low": 0.25, "test_auc_ci95_high": 0.75,
        "vbpr.test_auc": 0.5, "vbpr.test_auc_ci95_low": 0.25, "vbpr.test_auc_ci95_high": 0.75,
    }  # fmt: skip


def test_the_markdown_table_lists_the_best_model_first():
    made = summaries(table(rows("random", {0: 0.5}), rows("dvbpr", {0: 1.0})), SETTINGS)
    lines = markdown(made).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["dvbpr", "random"]
    assert lines[-1] == "Sorted by AUC, by which models are chosen on validation."


def test_with_enough_validation_pairs_tables_are_sorted_by_ndcg():
    validation = rows("dvbpr", dict.fromkeys(range(500), 0.5), "validation")  # two held-out items each
    test = [rows("dvbpr", {0: 0.5, 1: 0.5}), rows("random", {0: 0.25, 1: 0.25})]
    for row in test[1]:
        row["ndcg_at_100"] = 0.5
    made = summaries(table(validation, *test), SETTINGS)
    assert sorted_by(made) == "ndcg_at_100" and [name for name, _ in best_first(made)] == ["random", "dvbpr"]
    made["dvbpr"]["validation"]["held_out"] = 999
    assert sorted_by(made) == "auc" and [name for name, _ in best_first(made)] == ["dvbpr", "random"]
