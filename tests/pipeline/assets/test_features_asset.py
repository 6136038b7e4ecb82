"""The asset of frozen features with another network: what it keeps for the models that are fitted on them."""

from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import timm
import torch

from pipeline.assets.images import image_features
from pipeline.core.images import trunks
from pipeline.home.storage import Storage
from pipeline.recommenders.registry import get
from pipeline.runtime.resources import Compute, Engine
from pipeline.settings.method import Method
from tests.pipeline.little_shop import little_shop


def features(storage: Storage, **settings: object) -> tuple[np.ndarray, str]:
    """Materialise the asset; return the current features and what they were made by."""
    made = dg.materialize(
        [image_features],
        resources={"method": Method(), "engine": Engine(), "storage": storage, "compute": Compute(device="cpu")},
        run_config={"ops": {"image_features": {"config": settings}}},
    )
    assert made.success
    return np.load(storage.current_features()), storage.features_made_by()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return little_shop(tmp_path_factory.mktemp("home")).storage


def test_another_network_makes_other_features_and_is_kept_for_models(storage: Storage, tmp_path: Path):
    usual, by_usual = features(storage, feature_size=32)
    assert storage.current_feature_network() is None
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pth")
    settings = {"feature_size": 40, "network": "test_resnet", "weights": str(tmp_path / "weights.pth")}
    other, by_other = features(storage, **settings)
    assert by_other != by_usual and other.shape[0] == usual.shape[0] and other.shape[1] != usual.shape[1]
    (tmp_path / "weights.pth").unlink()  # from here on the home's copy is all there is

    trained, served = tmp_path / "trained", tmp_path / "served"
    for folder in (trained, served):
        folder.mkdir()
    trunks.keep(storage.current_feature_network(), trained)
    (trained / "modern.npz").write_bytes(b"parts")
    get("modern").pack(trained, served)
    for folder in (trained, served):
        network = trunks.load(trunks.kept_in(folder), torch.device("cpu"))
        assert network(torch.zeros(1, 3, 40, 40)).shape == (1, other.shape[1])
