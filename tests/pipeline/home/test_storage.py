"""Folders of trained models: named by a digest of their inputs, published atomically, checked when read."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.dvbpr.train import DvbprSettings
from pipeline.core.errors import InputError
from pipeline.home import storage as storage_module
from pipeline.home.storage import Storage, digest, write_json


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(root=str(tmp_path))


def test_equal_inputs_and_settings_find_the_same_folder():
    assert digest({"splits": "a"}, DvbprSettings()) == digest({"splits": "a"}, DvbprSettings())


@pytest.mark.parametrize("other", [({"splits": "b"}, DvbprSettings()), ({"splits": "a"}, DvbprSettings(seed=1))])
def test_any_other_input_or_setting_finds_another_folder(other):
    assert digest(*other) != digest({"splits": "a"}, DvbprSettings())


def test_a_model_is_finished_only_with_its_manifest(storage: Storage):
    folder = storage.model("recommender", "one", "vendor_all")
    assert not folder.finished
    folder.finish({"asset": "dvbpr", "inputs": {}})
    assert folder.finished and folder.manifest()["asset"] == "dvbpr"


def test_the_pointer_names_the_model_that_finished_last(storage: Storage):
    for run in ("one", "two"):
        storage.model("recommender", run, "vendor_all").finish({"asset": "dvbpr", "inputs": {}})
    assert storage.current("recommender", "vendor_all").run == "two"
    storage.model("recommender", "one", "vendor_all").make_current()
    assert storage.current("recommender", "vendor_all").run == "one"


def test_the_model_in_use_is_the_champion_or_else_the_newest(storage: Storage):
    with pytest.raises(InputError, match="materialise lsgan first"):
        storage.in_use("generator")
    for run in ("one", "two", "three"):
        storage.model("generator", run).finish({"asset": "lsgan", "inputs": {}})
    assert storage.in_use("generator").run == "three"
    storage.current("generator").set_champion("one")
    assert (storage.in_use("generator").run, storage.current("generator").run) == ("one", "three")
    storage.model("generator", "one").mark(erased="somebody")
    assert storage.in_use("generator").run == "three"
    storage.current("generator").set_champion("of another home")
    assert storage.in_use("generator").run == "three"
    assert not (storage.parent("generator") / "of another home").exists()


def test_a_baseline_can_make_the_lists_while_a_recommender_scores_pictures(storage: Storage):
    mode = "vendor_all"
    storage.model("recommender", "one", mode).finish({"asset": "modern", "model": "modern", "inputs": {}})
    baselines = storage.model("baselines", "all", mode)
    (baselines.path / "popularity").mkdir()
    write_json(baselines.path / "popularity" / "of.json", {})
    baselines.finish({"asset": "baselines", "image_mode": mode, "inputs": {"splits": "s"}})
    assert storage.recommender_in_use(mode).run == storage.recommender_in_use(mode, sees=True).run == "one"
    storage.set_recommender_champions(mode, "all/popularity", "one")
    lists, sees = storage.recommender_in_use(mode), storage.recommender_in_use(mode, sees=True)
    assert (lists.run, lists.recommender, lists.manifest()["inputs"]) == (
        "all/popularity",
        "popularity",
        {"splits": "s"},
    )
    assert lists.finished and lists.verified == baselines.path / "popularity" and sees.run == "one"
    baselines.mark(erased="somebody")
    assert storage.recommender_in_use(mode).run == "one"


def test_a_home_of_an_earlier_version_has_one_champion_for_both(storage: Storage):
    mode = "vendor_all"
    for run in ("one", "two"):
        storage.model("recommender", run, mode).finish({"asset": "dvbpr", "inputs": {}})
    storage.current("recommender", mode).set_champion("one")
    assert storage.recommender_in_use(mode).run == storage.recommender_in_use(mode, sees=True).run == "one"


def test_a_missing_model_says_which_asset_makes_it(storage: Storage):
    for kind, mode, said in (
        ("recommender", "vendor_all", "materialise the recommender for image mode vendor_all first"),
        ("baselines", "vendor_single", "materialise baselines for image mode vendor_single first"),
        ("generator", None, "materialise lsgan first"),
    ):
        with pytest.raises(InputError, match=said):
            storage.current(kind, mode)


def test_a_model_of_other_tables_is_refused_with_both_digests_and_a_remedy(storage: Storage):
    folder = storage.model("recommender", "one", "vendor_all")
    folder.finish({"asset": "dvbpr", "inputs": {"splits": "5p1it5", "catalogue": "0ld", "triplets": "same"}})
    folder.expect(splits="5p1it5", triplets="same")
    with pytest.raises(InputError) as caught:
        folder.expect(splits="5p1it5", catalogue="n3w", triplets="other")
    said = str(caught.value)
    assert "catalogue 0ld, now n3w" in said and "triplets same, now other" in said
    assert str(folder.path) in said and "materialise dvbpr again" in said
    assert "5p1it5" not in said


def test_a_reader_sees_the_old_pointer_or_the_new_one(storage: Storage, monkeypatch):
    storage.model("generator", "one").finish({"asset": "lsgan", "inputs": {}})
    whole = Path.write_text

    def torn(path: Path, text: str, *more: object) -> int:
        whole(path, text[: len(text) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(OSError, match="No space"):
        storage.model("generator", "two").make_current()
    monkeypatch.undo()
    assert storage.current("generator").run == "one"
    storage.model("generator", "two").make_current()  # the broken write does not block the next one
    assert storage.current("generator").run == "two"


def test_json_is_sorted_and_ends_its_line(tmp_path: Path):
    write_json(tmp_path / "deep" / "a.json", {"b": 1, "a": Path("x")})
    text = (tmp_path / "deep" / "a.json").read_text()
    assert json.loads(text) == {"a": "x", "b": 1} and text.endswith("}\n") and text.index('"a"') < text.index('"b"')


def test_garments_are_stored_under_their_tables_digest_and_earlier_ones_deleted(storage: Storage):
    pixels = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    storage.save_garments("one", pixels[:1])
    storage.save_garments("two", pixels)
    np.testing.assert_array_equal(storage.load_garments("two"), pixels)
    with pytest.raises(InputError, match="materialise garments again"):
        storage.load_garments("one")


def test_an_array_is_saved_under_exactly_its_name(tmp_path: Path):
    storage_module.save_array(tmp_path / "features.part", np.arange(3))
    np.testing.assert_array_equal(np.load(tmp_path / "features.part"), [0, 1, 2])
