"""CNN-F has the published shape, padding and initial weights."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dvbpr.cnnf import CNNF, same_padding


def convolve(
    picture: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, before: int, after: int
) -> np.ndarray:
    """Convolve [C, H, W] with [F, C, k, k] by plain loops."""
    padded = np.pad(picture, ((0, 0), (before, after), (before, after)))
    kernel = weight.shape[2]
    side = (padded.shape[1] - kernel) // stride + 1
    out = np.empty((len(weight), side, side))
    for row in range(side):
        for column in range(side):
            window = padded[:, row * stride : row * stride + kernel, column * stride : column * stride + kernel]
            out[:, row, column] = (weight * window).sum((1, 2, 3)) + bias
    return out


def pool(maps: np.ndarray, padding: str) -> np.ndarray:
    """Pool by the maximum over 2 x 2; with SAME an odd last row is pooled alone, otherwise it is dropped."""
    side = maps.shape[1]
    out = math.ceil(side / 2) if padding == "same" else side // 2
    windows = [[maps[:, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].max((1, 2)) for c in range(out)] for r in range(out)]
    return np.array(windows).transpose(2, 0, 1)


def slow_forward(cnn: CNNF, picture: np.ndarray) -> np.ndarray:
    weights = {name: value.detach().numpy() for name, value in cnn.named_parameters()}

    def layer(name: str, x: np.ndarray, stride: int, before: int, after: int) -> np.ndarray:
        return np.maximum(convolve(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, before, after), 0)

    total = max((math.ceil(picture.shape[1] / 4) - 1) * 4 + 11 - picture.shape[1], 0)  # TensorFlow's definition of SAME
    before = total // 2 if cnn.padding == "same" else 0
    after = total - total // 2 if cnn.padding == "same" else 0
    x = pool(layer("conv1", picture, 4, before, after), cnn.padding)
    x = pool(layer("conv2", x, 1, 2, 2), cnn.padding)
    x = layer("conv4", layer("conv3", x, 1, 1, 1), 1, 1, 1)
    x = pool(layer("conv5", x, 1, 1, 1), cnn.padding).reshape(-1)
    for name in ("full6", "full7"):
        x = np.maximum(weights[f"{name}.weight"] @ x + weights[f"{name}.bias"], 0)
    return weights["full8.weight"] @ x + weights["full8.bias"]


@pytest.mark.parametrize(
    ("k", "padding", "parameters"), [(50, "same", 70_573_874), (50, "valid", 56_942_386), (100, "same", 70_778_724)]
)
def test_the_network_has_exactly_the_published_number_of_parameters(k: int, padding, parameters: int) -> None:
    cnn = CNNF(k, padding=padding, device="meta")  # no storage: 70 M weights are only counted
    assert sum(parameter.numel() for parameter in cnn.parameters()) == parameters


@pytest.mark.parametrize(("padding", "sides"), [("same", [56, 28, 14, 14, 14]), ("valid", [54, 27, 13, 13, 13])])
def test_every_layers_output_has_the_published_shape(padding, sides: list[int]) -> None:
    full = CNNF(50, padding=padding, device="meta")
    filters = [64, 256, 256, 256, 256]
    assert [full.get_submodule(f"conv{n}").weight.shape[0] for n in range(1, 6)] == filters
    # conv5's maps are pooled to 7 x 7 (SAME) or 6 x 6 before they are flattened: 12,544 or 9,216 numbers.
    assert full.full6.in_features == 256 * {"same": 7, "valid": 6}[padding] ** 2
    assert [full.full6.out_features, full.full7.out_features, full.full8.out_features] == [4096, 4096, 50]
    cnn = CNNF(50, padding=padding, width=1 / 64, hidden=1 / 1024)  # the same sides at a sixty-fourth of the work
    seen = {}
    for name, layer in cnn.named_children():
        layer.register_forward_hook(lambda _layer, _input, out, name=name: seen.__setitem__(name, tuple(out.shape)))
    cnn(torch.zeros(2, 3, 224, 224))
    narrow = [1, 4, 4, 4, 4]
    convolutions = {f"conv{n + 1}": (2, narrow[n], sides[n], sides[n]) for n in range(5)}
    assert seen == {**convolutions, "full6": (2, 4), "full7": (2, 4), "full8": (2, 50)}


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("side", [39, 45, 64])
def test_the_forward_pass_equals_slow_loops_at_any_size_and_padding(padding, side: int) -> None:
    cnn = CNNF(3, input_size=side, padding=padding, width=1 / 32, hidden=1 / 512).double().eval()
    with torch.no_grad():
        for bias in cnn.biases():
            bias.uniform_(-0.1, 0.1)  # zero at first, which would hide a forgotten one
    picture = np.random.default_rng(0).uniform(-1, 1, (3, side, side))
    fast = cnn(torch.from_numpy(picture)[None])[0].detach().numpy()
    np.testing.assert_allclose(fast, slow_forward(cnn, picture), rtol=1e-9)


def test_same_pads_three_before_and_four_after_at_224_pixels() -> None:
    assert same_padding(224, 11, 4) == (3, 4)


@given(size=st.integers(11, 300), stride=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_same_padding_always_gives_the_ceiling_of_size_over_stride(size: int, stride: int) -> None:
    before, after = same_padding(size, 11, stride)
    assert (size + before + after - 11) // stride + 1 == math.ceil(size / stride)
    assert after - before in (0, 1)


def test_initial_weights_are_glorot_uniform_and_initial_biases_zero() -> None:
    cnn = CNNF(50, input_size=64, width=0.5, hidden=0.125, generator=torch.Generator().manual_seed(1))
    for weight in (parameter.detach() for parameter in cnn.weights()):
        receptive = weight[0, 0].numel() if weight.ndim == 4 else 1
        limit = math.sqrt(6 / (receptive * (weight.shape[0] + weight.shape[1])))
        assert 0.98 * limit < float(weight.abs().max()) <= limit
        # A uniform's standard deviation is limit / sqrt(3); with n draws it is off by about 0.45 / sqrt(n) of that.
        error = 4 * 0.45 / math.sqrt(weight.numel())
        assert float(weight.std()) == pytest.approx(limit / math.sqrt(3), rel=error)
        assert abs(float(weight.mean())) < 4 * limit / math.sqrt(3 * weight.numel())
    assert all(not bias.any() for bias in cnn.biases())
    assert (len(cnn.weights()), len(cnn.biases())) == (8, 8)


def test_two_copies_of_a_picture_in_a_batch_get_different_dropout_masks() -> None:
    cnn = CNNF(4, input_size=39, width=0.1, hidden=0.02).train()
    picture = torch.rand(1, 3, 39, 39).expand(2, -1, -1, -1)
    one, other = cnn(picture)
    assert not torch.equal(one, other)
    one, other = cnn.eval()(picture)
    torch.testing.assert_close(one, other)


def test_width_narrows_only_filters_and_hidden_only_units() -> None:
    cnn = CNNF(50, width=0.25, hidden=0.125, device="meta")
    assert [cnn.conv1.out_channels, cnn.conv5.out_channels, cnn.full6.out_features, cnn.full7.out_features] == [
        16,
        64,
        512,
        512,
    ]


@pytest.mark.parametrize(("padding", "size", "least"), [("valid", 38, "39"), ("same", 10, "11")])
def test_the_error_for_a_too_small_picture_gives_the_minimum_size(padding, size: int, least: str) -> None:
    with pytest.raises(ValueError, match=rf"input_size={size} is too small .*'{padding}'; give at least {least}"):
        CNNF(4, input_size=size, padding=padding, device="meta")
    smallest = CNNF(4, input_size=size + 1, padding=padding, width=1 / 64, hidden=1 / 1024)
    assert smallest(torch.zeros(1, 3, size + 1, size + 1)).shape == (1, 4)
