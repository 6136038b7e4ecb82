"""Figures of a study, checked by hand: means over users, paired differences, what decides, and ablations."""

import numpy as np
import pandas as pd
import pytest

from pipeline.settings.assets import EvaluationSettings
from pipeline.study import figures, one_cell, tables

SETTINGS = EvaluationSettings(resamples=200)


def rows(model: str, split: int, seed: int, auc: list[float], **columns: list[float]) -> pd.DataFrame:
    frame = pd.DataFrame({"user": range(len(auc)), "auc": auc, "held": 1, "part": "test", **columns})
    return frame.assign(model=model, split=split, seed=seed)


def of(*cells: pd.DataFrame, **more) -> dict:
    return figures.of_mode(pd.concat(cells, ignore_index=True), "vbpr", SETTINGS, **more)


def test_a_users_values_are_averaged_over_seeds_then_over_splits_before_the_interval():
    cells = rows("vbpr", 0, 0, [0.2, 0.4]), rows("vbpr", 0, 1, [0.4, 0.4]), rows("vbpr", 1, 0, [0.9])
    found = of(*cells)["models"]["vbpr"]
    # user 0: ((0.2 + 0.4) / 2 + 0.9) / 2 = 0.6; user 1: 0.4
    assert found["auc"]["mean"] == pytest.approx(0.5) and found["auc"]["users"] == 2
    assert found["auc"]["low"] >= 0.4 - 1e-9 and found["auc"]["high"] <= 0.6 + 1e-9
    assert found["sd_between_splits"] == pytest.approx(np.std([0.35, 0.9], ddof=1))


def test_a_metric_counts_the_users_that_have_a_value():
    nan = float("nan")
    cells = (
        rows("vbpr", 0, 0, [0.5, 0.5], auc_cold_unseen=[0.2, nan]),
        rows("vbpr", 1, 0, [0.5, 0.5], auc_cold_unseen=[nan, nan]),
    )
    found = of(*cells)["models"]["vbpr"]
    assert (found["auc_cold_unseen"]["mean"], found["auc_cold_unseen"]["users"]) == (pytest.approx(0.2), 1)
    assert found["auc_warm_seen"] is None  # no cell has it


def test_a_difference_is_over_the_splits_that_both_models_have():
    cells = rows("vbpr", 0, 0, [0.5, 0.6]), rows("vbpr", 1, 0, [0.0, 0.0]), rows("dvbpr", 0, 0, [0.6, 0.7])
    found = of(*cells)["models"]["dvbpr"]["difference"]["auc"]
    assert found["mean"] == pytest.approx(0.1) and found["splits"] == 1
    assert found["low"] == pytest.approx(0.1) and found["high"] == pytest.approx(0.1)


def test_a_difference_has_the_metrics_of_lists_too():
    cells = (
        rows("vbpr", 0, 0, [0.5, 0.6], ndcg_at_100=[0.1, 0.3], map_at_12=[0.0, 0.0]),
        rows("dvbpr", 0, 0, [0.6, 0.7], ndcg_at_100=[0.3, 0.3]),
    )
    found = of(*cells)["models"]["dvbpr"]["difference"]
    assert found["ndcg_at_100"]["mean"] == pytest.approx(0.1) and found["map_at_12"] is None
    assert found["ndcg_at_100"]["low"] == pytest.approx(0.0) and found["ndcg_at_100"]["high"] == pytest.approx(0.2)


def test_the_spread_between_seeds_is_that_within_a_split():
    cells = [rows("vbpr", *key, [auc]) for key, auc in (((0, 0), 0.5), ((0, 1), 0.7), ((1, 0), 0.1), ((1, 1), 0.3))]
    found = of(*cells)["models"]["vbpr"]
    assert found["sd_between_seeds"] == pytest.approx(np.std([0.5, 0.7], ddof=1))


@pytest.mark.parametrize(
    ("auc", "holds"), [([0.8, 0.9], False), ([0.1, 0.2], False), ([0.4, 0.6], True)], ids=["above", "below", "around"]
)
def test_shuffled_labels_that_do_not_read_a_half_are_said_to(auc: list[float], holds: bool):
    label = "vbpr" + one_cell.SHUFFLED
    found = of(rows("vbpr", 0, 0, [0.5, 0.6]), rows(label, 0, 0, auc))
    assert found["shuffled_labels"][label]["holds"] is holds
    assert ("NOT a half" in tables.shuffled(found)[0]) is not holds


def test_ndcg_decides_from_a_thousand_held_out_pairs_of_a_split_and_auc_below():
    def sort(held: int) -> str:
        cells = [
            rows(model, split, 0, [0.5, 0.6], held=[held, held]) for model in ("vbpr", "dvbpr") for split in (0, 1)
        ]
        return of(*cells)["sort"]

    assert (sort(499), sort(500)) == ("auc", "ndcg_at_100")


def test_tables_are_in_the_order_of_the_deciding_metric():
    found = of(
        rows("vbpr", 0, 0, [0.5, 0.6], ndcg_at_100=[0.3, 0.3]), rows("dvbpr", 0, 0, [0.6, 0.7], ndcg_at_100=[0.1, 0.1])
    )

    def order(sort: str) -> list[str]:
        return [line.split(" | ")[0] for line in tables.ranking(found | {"sort": sort})[2:]]

    assert (order("auc"), order("ndcg_at_100")) == (["| dvbpr", "| vbpr"], ["| vbpr", "| dvbpr"])


def test_a_variant_is_compared_with_its_own_model_whatever_the_reference():
    cells = (
        rows("vbpr", 0, 0, [0.1, 0.1]),
        rows("modern", 0, 0, [0.6, 0.8], ndcg_at_100=[0.2, 0.2]),
        rows("modern+text=false", 0, 0, [0.5, 0.5], ndcg_at_100=[0.1, 0.2]),
        rows("modern+prior=none", 0, 0, [0.4, 0.4], ndcg_at_100=[0.1, 0.1]),
    )
    variants = {"modern+text=false": "without text", "modern+prior=none": "without a prior", "modern+x=1": "not run"}
    found = of(*cells, ablations={"modern": variants, "dvbpr": {"dvbpr+x=1": "not run"}})
    assert set(found["ablations"]) == {"modern"}
    assert found["ablations"]["modern"]["modern+text=false"]["difference"]["auc"]["mean"] == pytest.approx(-0.2)
    table = tables.ablation(found)
    assert table[0].startswith("| variant of modern | AUC | NDCG@100 | AUC minus modern (95%)")
    assert [line.split(" | ")[0] for line in table[2:]] == ["| modern", "| without a prior", "| without text"]
    assert "-0.2000 (-0.3000 to -0.1000)" in table[-1]
