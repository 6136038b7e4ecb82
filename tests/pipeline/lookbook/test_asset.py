"""The asset and the command build the lookbook from what the home contains, and report its path."""

from pathlib import Path

import dagster as dg
import pytest

from pipeline.assets.report import lookbook
from pipeline.lookbook.__main__ import main
from pipeline.runtime.resources import RawSources
from pipeline.settings.method import Method
from tests.pipeline.lookbook.made_up import MadeUp


def test_the_asset_reports_the_path_and_the_contents_of_the_page(tmp_path: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        made_up = MadeUp(tmp_path, instance).with_products().with_reviews().with_generator().with_designs()
        made_up.with_cards()
        resources = {"storage": made_up.storage, "method": Method(), "raw": RawSources(products="/x/products.json")}
        run = dg.materialize([lookbook], instance=instance, resources=resources)
        said = run.asset_materializations_for_node("lookbook")[0].metadata
    page = Path(str(said["page"].value))
    assert page.is_absolute() and page.read_text().startswith("<!doctype html>")
    assert (said["sections"].value, said["people"].value, said["left_out"].value) == (7, 3, [])
    on_disk = [*page.parent.glob("*.html"), *(page.parent / "files").iterdir()]
    assert said["bytes"].value == sum(path.stat().st_size for path in on_disk)


def test_the_asset_depends_on_everything_it_shows():
    upstream = {key.to_user_string() for key in lookbook.keys_by_input_name.values()} | {
        dep.asset_key.to_user_string() for spec in lookbook.specs for dep in spec.deps
    }
    assert {"recommender_comparison", "recommendations", "generated_garments", "generator_evaluation"} <= upstream
    assert {"personal_designs", "restyled_products", "image_ledger", "splits"} <= upstream


def test_the_command_rebuilds_the_page_of_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("DAGSTER_HOME", "")  # the command sets it; put back afterwards
    with dg.DagsterInstance.ephemeral() as instance:
        MadeUp(tmp_path, instance).with_generator()
    assert main(["--home", str(tmp_path)]) == 0
    assert (tmp_path / "lookbook" / "index.html").is_file()
    assert "left out: The data (nothing was ingested yet" in capsys.readouterr().out


def test_a_folder_that_is_not_a_home_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--home", str(tmp_path)]) == 2
    assert f"{tmp_path} is no home" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
