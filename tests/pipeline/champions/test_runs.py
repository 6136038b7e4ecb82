"""The comparison of all recommenders of one data version, from their folders alone."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.metrics.evaluate import exact_auc
from pipeline.champions.runs import compare_runs, markdown, runs_of
from pipeline.recommenders.warm_start import TRAINED_ON
from pipeline.settings.assets import EvaluationSettings
from tests.pipeline.little_shop import CPU, MODE, LittleShop, little_shop, moved_hold_out

SETTINGS = EvaluationSettings(resamples=200)
TASTES = {"weak": (0.3, 1), "strong": (3.0, 2)}  # strength and seed


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> LittleShop:
    shop = little_shop(tmp_path_factory.mktemp("shop"))
    shop.finish("other-data", splits=moved_hold_out(shop.splits))
    shop.finish("weak", factors=shop.taste(*TASTES["weak"]))
    shop.finish("strong", factors=shop.taste(*TASTES["strong"]), settings={"epochs": 2})
    shop.storage.model("recommender", "unfinished", MODE)
    return shop


def test_only_finished_runs_of_the_current_data_are_compared(shop: LittleShop):
    assert [folder.run for folder in runs_of(shop.storage, MODE)] == ["weak", "strong"]
    assert runs_of(shop.storage, "vendor_single") == []


def test_each_run_has_its_auc_and_its_paired_difference_to_the_champion(shop: LittleShop):
    rows = compare_runs(runs_of(shop.storage, MODE), "weak", SETTINGS, CPU)
    by_run = {row["run"]: row for row in rows if row["split"] == "test"}
    touched = np.concatenate([shop.data.train, shop.data.validation, shop.data.test])
    auc = {name: exact_auc(shop.taste(*of), shop.data.test, touched) for name, of in TASTES.items()}
    assert {name: row["auc"] for name, row in by_run.items()} == pytest.approx(auc)
    assert by_run["strong"]["difference"] == pytest.approx(auc["strong"] - auc["weak"])
    assert 0 < by_run["strong"]["difference_low"] < by_run["strong"]["difference"] < by_run["strong"]["difference_high"]
    assert by_run["weak"]["difference"] is None and by_run["weak"]["champion"]
    assert {row["split"] for row in rows} == {"validation", "test"} and len(rows) == 4


def test_without_a_champion_of_the_same_data_the_newest_run_is_the_reference(shop: LittleShop):
    rows = compare_runs(runs_of(shop.storage, MODE), "other-data", SETTINGS, CPU)
    assert {row["reference"] for row in rows} == {"strong"} and not any(row["champion"] for row in rows)


def test_only_the_differing_settings_are_listed(shop: LittleShop):
    rows = compare_runs(runs_of(shop.storage, MODE), "weak", SETTINGS, CPU)
    assert {row["run"]: row["settings"] for row in rows} == {"weak": "epochs 1", "strong": "epochs 2"}


def test_the_markdown_table_has_the_best_first_and_marks_the_champion(shop: LittleShop):
    lines = markdown(compare_runs(runs_of(shop.storage, MODE), "weak", SETTINGS, CPU)).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| strong", "| **weak** (champion)"]
    assert "less weak" in lines[0] and markdown([]) != ""


def test_a_pair_that_an_ancestor_was_trained_on_is_not_evaluated(shop: LittleShop):
    folder = runs_of(shop.storage, MODE)[1]
    user, item = shop.data.test[0]
    line = pa.table(
        {"user": shop.data.users[[user]].astype(np.int32), "item": shop.data.items[[item]].astype(np.int32)}
    )
    pq.write_table(line, folder.path / TRAINED_ON)
    try:
        rows = compare_runs(runs_of(shop.storage, MODE), "weak", SETTINGS, CPU)
    finally:
        (folder.path / TRAINED_ON).unlink()
    users = {row["run"]: row["users"] for row in rows if row["split"] == "test"}
    assert users == {"weak": 60, "strong": 59}
