"""The two networks match their description: counts, shapes, TensorFlow's padding, initialisation, losses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.data.pictures import to_pixels
from models.lsgan.networks import (
    Discriminator,
    Generator,
    SameConv,
    SameTransposedConv,
    discriminator_loss,
    generator_loss,
    normalise,
    sample_z,
)
from models.lsgan.settings import PRESETS, LsganSettings

TINY = LsganSettings(width=0.0625, z_dim=8)


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("preset", "expected"), [("paper", 3_810_563), ("kang2017", 3_811_075), ("modern", 3_811_075)])
def test_the_generator_has_the_number_of_parameters_in_the_reference(preset: str, expected: int) -> None:
    assert count(Generator(PRESETS[preset])) == expected


@pytest.mark.parametrize("preset", list(PRESETS))
def test_the_discriminator_has_4460545_parameters_in_every_preset(preset: str) -> None:
    assert count(Discriminator(PRESETS[preset])) == 4_460_545


def test_every_layer_has_the_shape_of_the_reference() -> None:
    shapes: list[tuple[int, ...]] = []
    settings = PRESETS["kang2017"]
    generator, discriminator = Generator(settings), Discriminator(settings)
    for module in [*generator.modules(), *discriminator.modules()]:
        if isinstance(module, (SameConv, SameTransposedConv, torch.nn.Linear)):
            module.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    z, labels = torch.zeros(2, 256), torch.tensor([0, 5])
    with torch.no_grad():
        realism = discriminator(generator(z, labels), labels)
    assert shapes == [
        (4096,),
        *[(256, 8, 8)] * 2,
        *[(256, 16, 16)] * 2,
        (128, 32, 32),
        (64, 64, 64),
        (3, 64, 64),
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
        (1,),
    ]
    assert realism.shape == (2,)


def test_a_stride_2_convolution_pads_one_before_and_two_after_and_sees_the_class_as_maps() -> None:
    rng = np.random.default_rng(0)
    layer = SameConv(2, 3, 4).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.normal(size=(4, 5, 5, 5))))
        layer.bias.copy_(torch.from_numpy(rng.normal(size=4)))
    x, classes = rng.normal(size=(2, 2, 8, 8)), [2, 0]
    maps = np.zeros((2, 3, 8, 8))
    for row, c in enumerate(classes):
        maps[row, c] = 1
    padded = np.pad(np.concatenate([x, maps], axis=1), ((0, 0), (0, 0), (1, 2), (1, 2)))
    expected = np.zeros((2, 4, 4, 4))
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    for n, o, i, j in np.ndindex(*expected.shape):
        expected[n, o, i, j] = (padded[n, :, 2 * i : 2 * i + 5, 2 * j : 2 * j + 5] * weight[o]).sum() + bias[o]
    one_hot = torch.eye(3, dtype=torch.float64)[classes]
    np.testing.assert_allclose(layer(torch.from_numpy(x), one_hot).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_transposed_convolution_crops_like_tensorflow(stride: int) -> None:
    rng = np.random.default_rng(1)
    layer = SameTransposedConv(2, 3, stride).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.normal(size=(2, 3, 3, 3))))
        layer.bias.copy_(torch.from_numpy(rng.normal(size=3)))
    x = rng.normal(size=(2, 2, 4, 4))
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    full = np.zeros((2, 3, 4 * stride + 3 - stride, 4 * stride + 3 - stride))
    for n, c, o, i, j in np.ndindex(2, 2, 3, 4, 4):
        full[n, o, i * stride : i * stride + 3, j * stride : j * stride + 3] += x[n, c, i, j] * weight[c, o]
    # stride 2: padding 0, last row and column dropped; stride 1: one dropped on each side
    kept = full[:, :, :-1, :-1] if stride == 2 else full[:, :, 1:-1, 1:-1]
    expected = kept + bias[None, :, None, None]
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach().numpy(), expected, atol=1e-12)


def test_batch_norm_is_missing_on_the_first_and_last_layers_only() -> None:
    generator, discriminator = Generator(PRESETS["paper"]), Discriminator(PRESETS["paper"])
    norms = [m for m in generator.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert [n.num_features for n in norms] == [256, 256, 256, 256, 128, 64]
    assert isinstance(generator.input_norm, torch.nn.Identity)
    assert isinstance(Generator(PRESETS["kang2017"]).input_norm, torch.nn.BatchNorm2d)
    assert [getattr(n, "num_features", None) for n in discriminator.norms] == [None, 128, 256, 512]
    assert {(n.momentum, n.eps) for n in norms} == {(0.1, 1e-5)}


def test_weights_start_at_sd_002_biases_at_0_gamma_at_1() -> None:
    generator, discriminator = Generator(PRESETS["kang2017"]), Discriminator(PRESETS["kang2017"])
    for network in (generator, discriminator):
        for module in network.modules():
            if isinstance(module, (SameTransposedConv, torch.nn.Linear)) and module.weight.numel() > 5000:
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.03)
                assert module.weight.abs().max().item() > 0.05  # not truncated
            if isinstance(module, SameConv):
                assert module.weight.abs().max().item() <= 0.04
                assert module.weight.std().item() == pytest.approx(0.0176, rel=0.03)  # 0.02, cut at two sd
            if isinstance(module, (SameConv, SameTransposedConv, torch.nn.Linear)):
                assert not module.bias.any()
            if isinstance(module, torch.nn.BatchNorm2d):
                assert (module.weight == 1).all()
                assert not module.bias.any()


def test_the_initial_weights_depend_only_on_the_seed() -> None:
    torch.manual_seed(1)
    first = Generator(TINY).input.weight
    torch.manual_seed(2)
    assert torch.equal(first, Generator(TINY).input.weight)
    assert not torch.equal(first, Generator(replace(TINY, seed=5)).input.weight)


def test_losses_equal_hand_computed_values() -> None:
    real, fake = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 1.0])
    assert discriminator_loss(real, fake).item() == pytest.approx((0.125 + 0.5) / 2)
    assert generator_loss(fake).item() == pytest.approx(0.5)


def test_a_loss_refuses_a_column_that_would_broadcast() -> None:
    with pytest.raises(AssertionError):
        discriminator_loss(torch.zeros(4, 1), torch.zeros(4))


def test_both_networks_depend_on_the_class() -> None:
    generator, discriminator = Generator(TINY), Discriminator(TINY)
    z, x = torch.randn(4, 8), torch.rand(4, 3, 64, 64)
    one, two = torch.tensor([0, 1, 2, 3]), torch.tensor([5, 1, 2, 3])
    changed = (generator(z, one) - generator(z, two)).abs().amax(dim=(1, 2, 3)) > 0
    assert changed[0]
    assert discriminator.eval()(x, one)[0] != discriminator(x, two)[0]
    assert torch.equal(discriminator(x, one)[1:], discriminator(x, two)[1:])


def test_uniform_latents_stay_within_one_and_normal_ones_do_not() -> None:
    uniform = sample_z(PRESETS["paper"], 1000, torch.Generator().manual_seed(0))
    normal = sample_z(PRESETS["kang2017"], 1000, torch.Generator().manual_seed(0))
    assert uniform.abs().max() <= 1
    assert uniform.std().item() == pytest.approx(1 / 3**0.5, rel=0.01)
    assert normal.std().item() == pytest.approx(1, rel=0.01)


def test_width_narrows_every_layer() -> None:
    half = Discriminator(replace(PRESETS["paper"], width=0.5))
    biases = [value for name, value in half.named_parameters() if name.startswith("convs") and value.ndim == 1]
    assert [len(bias) for bias in biases[:4]] == [32, 64, 128, 256]


def test_normalising_and_converting_back_preserves_every_grey_level() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).repeat_interleave(3).view(1, 16, 16, 3)
    pictures = normalise(pixels)
    assert pictures.min() == -1
    assert pictures.max() == 1
    assert torch.equal(to_pixels(pictures), pixels)


@pytest.mark.parametrize(
    ("field", "value"),
    [("z_distribution", "gauss"), ("width", 0), ("batch_size", 1), ("augment", "zoom"), ("beta1", 1.0), ("steps", 0)],
)
def test_the_error_for_an_invalid_setting_names_it(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(LsganSettings(), **{field: value})  # type: ignore[arg-type]
