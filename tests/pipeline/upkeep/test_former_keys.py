"""A recommender that an earlier version trained under another asset's key is known under its own, without training."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from pipeline.home.storage import Storage, write_json
from pipeline.upkeep.former_keys import carry_over

MODE = "vendor_all"
VERSIONS = {"dagster/data_version": "d1", "dagster/code_version": "1", "dagster/input_data_version/splits": "s1"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def home_with(folder: Path, asset: str, model: str) -> Storage:
    """A home whose current recommender was made by `asset` and is a `model`."""
    storage = Storage(root=str(folder))
    made = storage.model("recommender", "r1", MODE)
    inputs = {"catalogue": "c1", "splits": "s1", "image_features": "f1"}
    write_json(made.path / "manifest.json", {"asset": asset, "model": model, "inputs": inputs})
    made.make_current()
    return storage


def materialise(instance: dg.DagsterInstance, asset: str, **more: str) -> None:
    tags = {**VERSIONS, "dagster/input_data_version/triplets": "t1", **more}
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=MODE, tags=tags))


def latest(instance: dg.DagsterInstance, asset: str) -> dg.AssetMaterialization:
    found = instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey(asset)), limit=5).records
    assert len(found) == 1 and found[0].asset_materialization is not None
    return found[0].asset_materialization


def test_it_is_recorded_once_with_the_versions_of_its_data_code_and_own_inputs(instance, tmp_path: Path):
    storage = home_with(tmp_path, "dvbpr", "modern")
    materialise(instance, "dvbpr")
    assert carry_over(instance, storage) == ["modern[vendor_all]"]
    recorded = latest(instance, "modern")
    assert recorded.partition == MODE and recorded.description == "trained by an earlier version as dvbpr"
    assert {tag: value for tag, value in (recorded.tags or {}).items() if tag in VERSIONS} == VERSIONS
    assert "dagster/input_data_version/triplets" not in (recorded.tags or {})  # its own key has no such input
    assert carry_over(instance, storage) == []


def test_a_model_of_its_own_key_and_one_that_was_never_recorded_are_left_alone(instance, tmp_path: Path):
    assert carry_over(instance, Storage(root=str(tmp_path / "new"))) == []
    materialise(instance, "dvbpr")
    assert carry_over(instance, home_with(tmp_path / "own", "dvbpr", "dvbpr")) == []
    assert carry_over(instance, home_with(tmp_path / "unrecorded", "other", "modern")) == []


def test_a_manifest_that_names_no_model_is_one_of_dvbpr(instance, tmp_path: Path):
    storage = home_with(tmp_path, "dvbpr", "dvbpr")
    write_json(storage.current("recommender", MODE).path / "manifest.json", {"asset": "dvbpr", "inputs": {}})
    materialise(instance, "dvbpr")
    assert carry_over(instance, storage) == []
