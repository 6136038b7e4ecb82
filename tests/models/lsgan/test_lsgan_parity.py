"""Both networks equal a plain float64 reference written from the description, and the presets the published values."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.lsgan.networks import Discriminator, Generator, SameConv
from models.lsgan.settings import PRESETS, LsganSettings

PUBLISHED = ["paper", "kang2017"]


def narrow(preset: str) -> LsganSettings:
    """Narrow the preset to a sixteenth of the filters; the wiring stays the same."""
    values = {**vars(PRESETS[preset]), "width": 0.0625, "z_dim": 8}
    return LsganSettings(**values)


def shaken(network: torch.nn.Module) -> torch.nn.Module:
    """Convert to float64, with large weights and unusual biases and gammas, so that a mistake shows."""
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.3 + (0.5 if parameter.ndim == 1 else 0))
    return network.double()


def normalised(x: np.ndarray, gamma: Tensor, beta: Tensor) -> np.ndarray:
    """Apply batch norm as in training: mean and biased variance of the batch over pictures and positions, eps 1e-5."""
    mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    gain, offset = (v.detach().numpy()[None, :, None, None] for v in (gamma, beta))
    return (x - mean) / np.sqrt(variance + 1e-5) * gain + offset


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.2 * x)


def transposed(x: np.ndarray, weight: Tensor, bias: Tensor, stride: int) -> np.ndarray:
    """Add a 3x3 patch for every input pixel; TensorFlow's SAME crops the last row and column, or one on each side."""
    w = weight.detach().numpy()
    n, _, side, _ = x.shape
    full = np.zeros((n, w.shape[1], side * stride + 3 - stride, side * stride + 3 - stride))
    for i, j in np.ndindex(3, 3):
        painted = np.einsum("nchw,co->nohw", x, w[:, :, i, j])
        full[:, :, i : i + side * stride : stride, j : j + side * stride : stride] += painted
    kept = full[:, :, :-1, :-1] if stride == 2 else full[:, :, 1:-1, 1:-1]
    return kept + bias.detach().numpy()[None, :, None, None]


def convolved(x: np.ndarray, weight: Tensor, bias: Tensor) -> np.ndarray:
    """Convolve 5x5 with stride 2, with one row and column of zeros before and two after."""
    w, side = weight.detach().numpy(), x.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (1, 2), (1, 2)))
    out = np.zeros((len(x), len(w), side, side))
    for i, j in np.ndindex(5, 5):
        out += np.einsum(
            "nchw,oc->nohw", padded[:, :, i : i + 2 * side - 1 : 2, j : j + 2 * side - 1 : 2], w[:, :, i, j]
        )
    return out + bias.detach().numpy()[None, :, None, None]


@pytest.mark.parametrize("preset", PUBLISHED)
def test_the_generator_equals_a_plain_implementation_of_the_description(preset: str) -> None:
    network = shaken(Generator(narrow(preset)))
    assert isinstance(network, Generator)
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(5, 8)), np.array([0, 5, 2, 2, 4])
    h = np.concatenate([z, np.eye(6)[labels]], axis=1) @ network.input.weight.detach().numpy().T
    h = (h + network.input.bias.detach().numpy()).reshape(5, 16, 4, 4)
    if preset == "kang2017":
        h = normalised(h, network.input_norm.weight, network.input_norm.bias)  # ty: ignore[invalid-argument-type]
    h = leaky(h)
    for place, stride in enumerate((2, 1, 2, 1, 2, 2)):
        layer, norm = network.blocks[3 * place], network.blocks[3 * place + 1]
        h = leaky(normalised(transposed(h, layer.weight, layer.bias, stride), norm.weight, norm.bias))  # ty: ignore[invalid-argument-type]
    expected = np.tanh(transposed(h, network.output.weight, network.output.bias, 1))
    found = network.train()(torch.from_numpy(z), torch.from_numpy(labels)).detach().numpy()
    assert found.shape == (5, 3, 64, 64)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("preset", PUBLISHED)
def test_the_discriminator_equals_a_plain_implementation_of_the_description(preset: str) -> None:
    network = shaken(Discriminator(narrow(preset)))
    assert isinstance(network, Discriminator)
    rng = np.random.default_rng(1)
    x, labels = rng.uniform(-1, 1, (3, 3, 64, 64)), np.array([1, 3, 3])
    h = x
    for place, (layer, norm) in enumerate(zip(network.convs, network.norms, strict=True)):
        # The class is appended to the picture, h0, h1 and h2 as constant maps.
        maps = np.broadcast_to(np.eye(6)[labels][:, :, None, None], (3, 6, *h.shape[2:]))
        h = convolved(np.concatenate([h, maps], axis=1), layer.weight, layer.bias)  # ty: ignore[invalid-argument-type]
        h = leaky(h if place == 0 else normalised(h, norm.weight, norm.bias))  # ty: ignore[invalid-argument-type]
    expected = h.reshape(3, -1) @ network.output.weight.detach().numpy()[0] + network.output.bias.item()
    found = network.train()(torch.from_numpy(x), torch.from_numpy(labels)).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_batch_norm_keeps_nine_tenths_of_its_running_statistics_and_uses_them_in_eval_mode() -> None:
    network = Discriminator(narrow("paper")).double()
    norm = network.norms[1]
    seen: list[np.ndarray] = []
    norm.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach().numpy()))
    mean, variance = np.zeros(norm.num_features), np.ones(norm.num_features)
    x, y = torch.rand(4, 3, 64, 64, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    for scale in (1.0, 0.1):  # real and fake batches go through apart, each moving the statistics once
        network.train()(x * scale, y)
        mean = 0.9 * mean + 0.1 * seen[-1].mean((0, 2, 3))
        variance = 0.9 * variance + 0.1 * seen[-1].var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, atol=1e-12)
    np.testing.assert_allclose(norm.running_var.numpy(), variance, atol=1e-12)
    alone = network.eval()(x[:1], y[:1])
    torch.testing.assert_close(alone[0], network(x, y)[0])  # no picture depends on its batch


def test_the_class_enters_the_generator_at_its_input_and_the_discriminator_at_four_layers() -> None:
    generator, discriminator = Generator(PRESETS["paper"]), Discriminator(PRESETS["paper"])
    assert generator.input.in_features == 256 + 6
    assert [layer.weight.shape[1] for layer in discriminator.convs] == [3 + 6, 64 + 6, 128 + 6, 256 + 6]


@pytest.mark.parametrize("place", range(4))
def test_the_class_reaches_the_discriminator_through_each_of_the_four_layers(place: int) -> None:
    network = Discriminator(narrow("paper")).double().eval()
    x, classes = torch.rand(2, 3, 64, 64, dtype=torch.float64), (torch.tensor([0, 0]), torch.tensor([5, 5]))
    with torch.no_grad():
        for number, layer in enumerate(network.convs):
            assert isinstance(layer, SameConv)
            if number != place:
                layer.weight[:, layer.channels :] = 0
    assert not torch.equal(network(x, classes[0]), network(x, classes[1]))


def test_the_published_presets_have_the_published_values() -> None:
    paper, kang = PRESETS["paper"], PRESETS["kang2017"]
    names = ("lr_generator", "lr_discriminator", "beta1", "beta2", "weight_decay", "batch_size", "epochs", "z_dim")
    assert [getattr(paper, name) for name in names] == [1e-5, 1e-5, 0.9, 0.999, 1e-5, 64, 55, 256]
    assert [getattr(kang, name) for name in names] == [1e-4, 1e-4, 0.5, 0.99, 0.0, 16, 30, 256]
    for preset in (paper, kang):  # none of what came later
        assert (preset.loss, preset.augment, preset.ema_half_life) == ("least_squares", "", None)
        assert not (preset.joint_batches or preset.smooth_upsampling or preset.rates_by_width or preset.adaptive)
        assert not (preset.balanced or preset.spectral_norm or preset.r1 or preset.bf16 or preset.compile)
        assert preset.select == "last"


@pytest.mark.parametrize("make", [Generator, Discriminator])
def test_the_memory_layout_does_not_change_results(make: Callable[[LsganSettings], torch.nn.Module]) -> None:
    last, first = (make(LsganSettings(**{**vars(narrow("kang2017")), "channels_last": on})) for on in (True, False))
    weights = [p for p in last.parameters() if p.ndim == 4 and p.shape[1] > 1]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    assert all(p.is_contiguous() for p in first.parameters())
    for one, other in zip(last.parameters(), first.parameters(), strict=True):
        assert torch.equal(one, other)
    given = torch.rand(2, 8) if make is Generator else F.hardtanh(torch.randn(2, 3, 64, 64))
    torch.testing.assert_close(last(given, torch.tensor([1, 2])), first(given, torch.tensor([1, 2])))
