"""Two main recommenders in one mode: each has its own pointer, and all that reads models reads the right one."""

import json
from pathlib import Path

import pytest

from pipeline.home.storage import Storage
from pipeline.recommenders.trained import trained
from tests.pipeline.conftest import TINY, Home, made

MODE = "vendor_all"
KNOBS = "{components: 16, factors: 8}"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(root=str(tmp_path))


def finish(storage: Storage, run: str, **manifest: str) -> None:
    storage.model("recommender", run, MODE).finish({"asset": "dvbpr", "inputs": {}, **manifest})


def runs(storage: Storage) -> dict[str, str]:
    return {name: folder.run for name, folder in trained(storage, MODE).items()}


def test_each_recommender_has_its_own_newest_model_and_modern_leads(storage: Storage):
    for run, name in (("one", "dvbpr"), ("two", "modern"), ("three", "dvbpr")):
        finish(storage, run, asset=name, model=name)
    assert runs(storage) == {"modern": "two", "dvbpr": "three"} and next(iter(runs(storage))) == "modern"
    assert storage.current("recommender", MODE).run == "three"


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        ({"model": "modern"}, "modern"),
        ({"model": "dvbpr"}, "dvbpr"),
        ({}, "dvbpr"),
    ],  # the first versions named no model
)
def test_the_one_pointer_of_an_earlier_version_is_read_as_its_models(storage: Storage, manifest, name: str):
    finish(storage, "old", **manifest)
    (storage.parent("recommender", MODE) / f"current-{name}.json").unlink()
    assert runs(storage) == {name: "old"}


def test_the_other_recommenders_first_training_keeps_the_model_of_an_earlier_version(storage: Storage):
    finish(storage, "old", model="dvbpr")
    (storage.parent("recommender", MODE) / "current-dvbpr.json").unlink()
    finish(storage, "new", model="modern")
    assert runs(storage) == {"modern": "new", "dvbpr": "old"}


def test_a_model_of_erased_data_goes_with_its_pointer_when_another_recommender_is_trained(storage: Storage):
    finish(storage, "old", model="dvbpr")
    storage.model("recommender", "old", MODE).mark(erased="somebody")
    finish(storage, "new", model="modern")
    assert runs(storage) == {"modern": "new"}
    assert not (storage.parent("recommender", MODE) / "old").exists()
    assert not (storage.parent("recommender", MODE) / "current-dvbpr.json").exists()


@pytest.fixture(scope="module")
def both(environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which one mode's two main recommenders and all that follows were made."""
    folder = tmp_path_factory.mktemp("both")
    profile = folder / "both.yaml"
    profile.write_text(f"{TINY.read_text().rstrip()}\n  modern:\n    config: {KNOBS}\n")
    options = {"modes": [MODE], "with_recommenders": ["modern"]}
    return made(environment, folder, "not group:generator", profile, options=options)


@pytest.mark.slow
def test_both_are_trained_evaluated_and_shown_in_one_home(both: Home):
    folders = {name: both.model("recommender", MODE, name) for name in ("modern", "dvbpr")}
    assert {json.loads((one / "manifest.json").read_text())["model"] for one in folders.values()} == set(folders)
    models = set(both.table("recommender_evaluation", MODE)["model"].to_pylist())
    assert {"modern", "dvbpr", "popularity"} <= models
    compared = both.table("recommender_comparison").to_pandas()
    assert compared[compared["model"] == "modern"]["difference_to_main"].isna().all()  # the reference
    assert compared[compared["model"] == "dvbpr"]["difference_to_main"].notna().all()
    for folder in folders.values():
        assert (folder / "model_card.md").is_file()
    decided = both.summary["modes"][MODE]["champion"]
    storage = Storage(root=str(both.folder))
    assert storage.recommender_in_use(MODE).recommender == decided["recommender"]
    assert storage.recommender_in_use(MODE, sees=True).recommender == decided["visual_recommender"]
    page = (both.folder / "lookbook" / "recommender.html").read_text()
    assert "Modern" in page and "DVBPR" in page
