"""A study by `basket`, `time` and week by week, as the command runs it, on a home whose purchases are of two months."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.dataset.split_facts import protocol_line
from pipeline.home.storage import Storage
from pipeline.runtime.exits import DONE, WRONG_CALL
from pipeline.settings.method import Method
from pipeline.study.data import open_home
from pipeline.study.grid import main
from pipeline.study.weeks import DAY, WEEK
from tests.pipeline.conftest import TINY, Home

pytestmark = pytest.mark.slow

MODE, WEEKS = "vendor_single", 3
ARGUMENTS = ("--profile", str(TINY), "--modes", MODE, "--seeds", "1", "--models", "popularity", "random",
             "--reference", "popularity")  # fmt: skip


@pytest.fixture(scope="module")
def recent(pictured: Home) -> Home:
    """The home with its purchases drawn over nine weeks, so that every week has some."""
    path = pictured.folder / "tables" / "interactions.parquet"
    table = pq.read_table(path)
    days = np.random.default_rng(3).integers(0, 63, len(table))
    column = table.schema.get_field_index("time")
    field = table.schema.field("time")
    pq.write_table(table.set_column(column, field, pa.array(1_600_000_000 // DAY * DAY + days * DAY, field.type)), path)
    return pictured


@pytest.fixture(scope="module")
def study(recent: Home) -> Path:
    assert main(["--name", "weekly", *ARGUMENTS, "--protocols", "basket", "time", "--weeks", str(WEEKS)]) == DONE
    return recent.folder / "studies" / "weekly"


def test_every_cut_is_a_cell_of_its_own_and_other_protocols_have_one_split(study: Path):
    folders = {str(path.parent.relative_to(study)) for path in study.rglob("manifest.json")}
    splits = ["basket/vendor_single/split-0", "time/vendor_single/split-0"]
    splits += [f"weeks/vendor_single/split-{week}" for week in range(1, WEEKS + 1)]
    assert folders == {f"{split}/seed-0/{model}" for split in splits for model in ("popularity", "random")}


def test_nothing_of_a_cuts_training_is_later_than_its_validation_of_two_weeks(study: Path):
    for week in range(1, WEEKS + 1):
        manifest = json.loads((study / f"weeks/{MODE}/split-{week}/seed-0/popularity/manifest.json").read_text())
        facts, cut = manifest["split_facts"], pd.Timestamp(manifest["evaluation"]["cut"])
        assert facts["time_honest"] and facts["test_later_any"] == 0
        assert facts["train_to"] < facts["validation_from"] < manifest["evaluation"]["cut"] <= facts["test_from"]
        assert (cut - pd.Timestamp(facts["validation_from"])).days <= 14
        assert [(one["age"], one["start"]) for one in manifest["weeks"]] == [
            (age, str((cut + pd.Timedelta(days=7 * (age - 1))).date())) for age in range(1, week + 1)
        ]


def test_all_purchases_after_a_cut_are_measured_in_a_week_or_counted_as_not(study: Path, recent: Home):
    home = open_home(Storage(root=str(recent.folder)), Method(profile=str(TINY)))
    times = home.surviving(MODE).pairs["time"].to_numpy()
    end = (times.max() // DAY + 1) * DAY
    for week in range(1, WEEKS + 1):
        folder = study / f"weeks/{MODE}/split-{week}/seed-0/popularity"
        counted = json.loads((folder / "manifest.json").read_text())["weeks"]
        assert sum(one["pairs"] + one["unknown"] for one in counted) == (times >= end - week * WEEK).sum()
        rows = pq.read_table(folder / "per_user.parquet").to_pandas()
        for one in counted:
            of_week = rows[(rows["part"] == "test") & (rows["age"] == one["age"])]
            assert of_week["held"].sum() == one["pairs"] > 0 and of_week["user"].is_unique


def test_the_report_has_a_table_of_each_protocol_and_those_of_the_weeks(study: Path):
    text, whole = (study / "report.md").read_text(), json.loads((study / "report.json").read_text())
    assert text.index("## basket, vendor_single") < text.index("## time, vendor_single") < text.index("## Week by week")
    for protocol in ("basket", "time"):
        assert protocol_line(whole["protocols"][protocol][MODE]["facts"]) in text
    assert "Time-honest: yes" in text and "Time-honest: no" in text
    ageing = whole["weeks"][MODE]["ageing"]["popularity"]
    assert set(ageing) == {"1", "2", "3"} and ageing["1"]["auc"]["change"] is None and ageing["3"]["auc"]["change"]
    for chart in ("basket", "time", f"weeks-{MODE}"):
        assert (study / f"report-{chart}.png").stat().st_size > 5000


def test_the_same_call_measures_nothing_again_and_more_weeks_add_cells(study: Path, capsys: pytest.CaptureFixture[str]):
    before = {path: path.stat().st_mtime_ns for path in study.rglob("per_user.parquet")}
    weeks = ("--protocols", "basket", "time", "--weeks", str(WEEKS + 1))
    assert main(["--name", "weekly", *ARGUMENTS, *weeks]) == DONE
    assert "12 cells, 10 finished before" in " ".join(capsys.readouterr().out.split())
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_more_weeks_than_there_are_and_purchases_without_times_are_refused_before_any_training(
    recent: Home, capsys: pytest.CaptureFixture[str]
):
    assert main(["--name", "long", *ARGUMENTS, "--weeks", "40"]) == WRONG_CALL
    assert "--weeks 40: the purchases cover 8.9 weeks; at most 8" in " ".join(capsys.readouterr().out.split())
    path = recent.folder / "tables" / "interactions.parquet"
    kept = path.read_bytes()
    table = pq.read_table(path)
    column = table.schema.get_field_index("time")
    try:
        pq.write_table(table.set_column(column, "time", pa.nulls(len(table), table.schema.field("time").type)), path)
        assert main(["--name", "undated", *ARGUMENTS, "--protocols", "random", "time"]) == WRONG_CALL
    finally:
        path.write_bytes(kept)
    said = " ".join(capsys.readouterr().out.split())
    assert "--protocols time: no purchase of this home has a time; use --protocols random" in said
    assert not (recent.folder / "studies" / "undated").exists()
