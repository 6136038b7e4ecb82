"""The generator's study: rows named, trained once, measured, reported; nothing of the home is changed."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core import schemas
from pipeline.core.errors import InputError
from pipeline.core.generator import generation
from pipeline.core.generator.garment_classes import carrying
from pipeline.home.storage import Storage
from pipeline.study import generator_presets as study

SMALL = ["--set", "width=0.0625", "steps=2", "batch_size=4", "tick_steps=1", "minimum_class=4", "--draws", "2"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with garments of two classes, a third of them held out."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "garment": number,
            "asin": f"a{number}",
            "item": None,
            "garment_class": ("tops", "shoes")[number % 2],
            "source": "vendor",
            "sha256": hashlib.sha256(bytes([number])).hexdigest(),
            "held_out": number % 6 < 2,
        }
        for number in range(48)
    ]
    table = carrying(pa.Table.from_pylist(rows, schema=schemas.GARMENTS), ("tops", "shoes"))
    storage = Storage(root=str(tmp_path))
    storage.tables.mkdir()
    pq.write_table(table, storage.tables / "garments.parquet")
    pixels = rng.integers(0, 256, (48, 64, 64, 3), dtype=np.uint8)
    storage.save_garments(generation.inputs(table)["garments"], pixels)
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path))
    monkeypatch.setenv("ATELIER_DEVICE", "cpu")
    monkeypatch.setattr(study, "FEATURE_SIZE", 32)
    return tmp_path


def test_every_row_is_trained_once_and_stands_in_the_report_beside_real_pictures(
    home: Path, capsys: pytest.CaptureFixture
) -> None:
    call = [*SMALL, "--rows", "paper", "modern+r1=0.1+augment=''", "--seeds", "2"]
    assert study.main(call) == 0
    root = home / "generator-study" / "study"
    report = (root / "report.md").read_text()
    for row in ("| paper | 2 |", "| modern+r1=0.1+augment='' | 2 |", "| real pictures |"):
        assert row in report
    assert "32 train, 16 held out" in report
    folders = sorted(path.parent.name for path in root.glob("*/meta.json"))
    assert folders == ["modern+r1=0.1+augment=__-s0", "modern+r1=0.1+augment=__-s1", "paper-s0", "paper-s1"]
    settings = json.loads((root / folders[1] / "meta.json").read_text())["settings"]
    assert (settings["r1"], settings["augment"], settings["seed"], settings["width"]) == (0.1, "", 1, 0.0625)
    figures = json.loads((root / "report.json").read_text())["paper"][0]
    assert {"kernel_efflite0_32px_n16", "floor_kernel_efflite0_32px_n16", "memory", "floor_memory"} <= figures.keys()
    times = {path: path.stat().st_mtime_ns for path in root.glob("*/figures.json")}
    grids = {path: path.stat().st_mtime_ns for path in root.glob("*/fakes_0*.png")}
    capsys.readouterr()
    assert study.main(call) == 0
    assert "step 1" not in capsys.readouterr().out  # nothing was trained again
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert {path: path.stat().st_mtime_ns for path in grids} == grids
    assert not (home / "generator").exists()  # no generator of the home was touched


def test_a_wrong_row_is_named_before_any_work(home: Path, capsys: pytest.CaptureFixture) -> None:
    for row, said in (
        ("papper", "papper"),
        ("paper+heads=2", "heads"),
        ("paper+r1", "name=value"),
        ("paper+r1=x", "r1"),
    ):
        assert study.main([*SMALL, "--rows", row]) == 2
        assert said in capsys.readouterr().out
    assert not (home / "generator-study").exists()


def test_a_home_without_garments_says_how_to_make_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path))
    with pytest.raises(InputError, match="key:garments"):
        study.study(study.arguments([]), study.Console())


def test_fakes_that_copy_the_training_pictures_show_as_memory_and_held_out_ones_do_not(home: Path) -> None:
    storage = Storage(root=str(home))
    garments = study.RealGarments(storage, 24, study.torch.device("cpu"))
    asking, _ = garments.halves(0)
    assert garments.held[asking].all()
    assert garments.memory(garments.pixels[asking], 0) == pytest.approx(1, abs=0.02)  # noise: all equally far
    assert garments.memory(garments.pixels[~garments.held][:8], 0) < 0.9


def test_settings_are_chosen_on_one_half_of_the_held_out_products_and_told_on_the_other(home: Path) -> None:
    sides = {}
    for half in study.HALVES:
        garments = study.RealGarments(Storage(root=str(home)), 48, study.torch.device("cpu"), half)
        reals, training = garments.rows
        assert garments.held[reals].all()
        assert not garments.held[training].any()
        assert (garments.labels[reals] == garments.labels[training]).all()
        sides[half] = {garments.table["asin"][int(row)].as_py() for row in reals}
    assert not sides["first"] & sides["second"]
    assert len(sides["first"] | sides["second"]) == len(sides["both"]) == 16


def test_another_half_is_measured_again_but_not_trained_again(home: Path, capsys: pytest.CaptureFixture) -> None:
    call = [*SMALL, "--samples", "8", "--rows", "paper"]
    assert study.main([*call, "--half", "first"]) == 0
    assert "step 2" in capsys.readouterr().out
    root = home / "generator-study" / "study"
    first = json.loads((root / "report.json").read_text())
    assert study.main([*call, "--half", "second"]) == 0
    said = capsys.readouterr().out
    assert "step 2" not in said
    assert "to the second half of the held-out products" in said
    second = json.loads((root / "report.json").read_text())
    assert first["paper"][0] != second["paper"][0]
