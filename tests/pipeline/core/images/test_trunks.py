"""Another network than EfficientNet-Lite0: any of timm, with the weights of a file; kept beside a model as one file."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from pipeline.core.errors import InputError
from pipeline.core.images import trunks
from pipeline.core.images.features import embed

CPU = torch.device("cpu")
PICTURES = np.random.default_rng(0).integers(0, 255, (3, 40, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=7).eval()


@pytest.fixture
def weights(network: torch.nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    return path


def test_features_of_a_network_of_timm_are_its_own_before_the_classifier(
    network: torch.nn.Module, weights: Path, tmp_path: Path
):
    trunks.of_timm("test_resnet", str(weights)).save(tmp_path / "trunk.pt")
    found = embed(PICTURES, size=40, trunk=tmp_path / "trunk.pt")
    config = timm.data.resolve_model_data_config(network)
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    pixels = (torch.from_numpy(PICTURES).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(pixels), pre_logits=True)  # ty: ignore[not-callable]
    assert found.shape == (3, expected.shape[1])
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_the_default_network_kept_in_a_file_gives_the_features_of_the_installed_one(tmp_path: Path):
    trunks.packaged().save(tmp_path / "trunk.pt")
    np.testing.assert_array_equal(embed(PICTURES, size=32, trunk=tmp_path / "trunk.pt"), embed(PICTURES, size=32))


def test_weights_of_another_network_are_refused_with_the_first_that_does_not_fit(weights: Path):
    with pytest.raises(InputError, match=r"tensors of test_vit are missing .* the first is \w+: the file"):
        trunks.of_timm("test_vit", str(weights))


def test_a_network_that_timm_does_not_have_is_refused_by_name(weights: Path):
    with pytest.raises(InputError, match=r"image_features.network: no_such_net: .*give a name that timm lists"):
        trunks.of_timm("no_such_net", str(weights))


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path):
    (tmp_path / "notes.pth").write_text("no weights")
    with pytest.raises(InputError, match=r"image_features.weights: .*notes.pth: .*no file of weights"):
        trunks.of_timm("test_resnet", str(tmp_path / "notes.pth"))


def test_a_network_of_one_picture_size_refuses_another(tmp_path: Path):
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "vit.pth")
    trunks.of_timm("test_vit", str(tmp_path / "vit.pth")).save(tmp_path / "trunk.pt")
    trunks.expect_size(tmp_path / "trunk.pt", 160)
    with pytest.raises(InputError, match="feature_size is 224, and the network reads only pictures of 160 px"):
        trunks.expect_size(tmp_path / "trunk.pt", 224)
    trunks.expect_size(None, 64)


def test_the_version_changes_with_the_network_and_the_weights_but_not_with_their_place(weights: Path, tmp_path: Path):
    moved = tmp_path / "elsewhere.pth"
    moved.write_bytes(weights.read_bytes())
    first = trunks.version("test_resnet", str(weights))
    assert first == trunks.version("test_resnet", str(moved)) != trunks.version("test_vit", str(weights))
    moved.write_bytes(b"others")
    assert first != trunks.version("test_resnet", str(moved))
    assert trunks.version("efficientnet_lite0") == "efflite0"
    with pytest.raises(InputError, match="there is no such file"):
        trunks.version("test_resnet", str(tmp_path / "nothing"))
