"""Training techniques newer than the paper, one at a time: spectral norm, R1, the relativistic loss, learning rates,
smooth upsampling, adaptive augmentation, precision, memory layout.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.lsgan.batches import Batches, watched
from models.lsgan.networks import (
    Discriminator,
    Generator,
    SameTransposedConv,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    normalise,
    relativistic_loss,
    sample_z,
)
from models.lsgan.settings import LsganSettings
from models.lsgan.state import LsganRun
from models.lsgan.train import TrainingStep
from models.training import device as devices

TINY = LsganSettings(width=0.0625, z_dim=6, classes=2, batch_size=4, lr_generator=1e-3, lr_discriminator=1e-3)
CPU = torch.device("cpu")


def reals() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1, torch.tensor([0, 1, 1, 0])


def run(**changes: object) -> LsganRun:
    return LsganRun(replace(TINY, **changes), ("tops", "pants"), {}, "", CPU)  # type: ignore[arg-type]


def weights(found: LsganRun) -> list[torch.Tensor]:
    return [v for network in (found.generator, found.discriminator) for v in network.state_dict().values()]


def test_spectral_norm_is_1_for_every_layer_of_the_discriminator_and_not_applied_to_the_generator() -> None:
    settings = replace(TINY, spectral_norm=True)
    network = Discriminator(settings).train()
    for _ in range(60):  # power iterations
        network(*reals())
    for layer in [*network.convs, network.output]:
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2).item() == pytest.approx(1, abs=0.02)
    assert {name for name, _ in Generator(settings).named_parameters()} == dict(
        Generator(TINY).named_parameters()
    ).keys()


def test_spectral_norm_starts_from_the_seed_and_leaves_the_global_random_state_alone() -> None:
    settings = replace(TINY, spectral_norm=True)
    torch.manual_seed(1)
    Discriminator(TINY)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    first = Discriminator(settings).state_dict()
    assert torch.equal(after, torch.get_rng_state())
    torch.manual_seed(2)
    second = Discriminator(settings).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_relativistic_losses_equal_hand_computed_values() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([0.0, -2.0])  # means 1 and -1
    # D: reals against -1 + 1 = 0 -> 4, 0; fakes against 1 - 1 = 0 -> 0, 4
    assert relativistic_loss(real, fake).item() == pytest.approx((2 + 2) / 2)
    # G: fakes against 1 + 1 = 2 -> 4, 16; reals against -1 - 1 = -2 -> 16, 4
    assert relativistic_loss(fake, real).item() == pytest.approx((10 + 10) / 2)


def test_the_gradient_penalty_of_a_linear_discriminator_is_half_its_squared_weight_norm() -> None:
    weight = torch.full((3, 4, 4), 0.5, requires_grad=True)
    pictures = torch.rand(5, 3, 4, 4, requires_grad=True)
    penalty = gradient_penalty((pictures * weight).sum(dim=(1, 2, 3)), pictures)
    assert penalty.item() == pytest.approx(48 * 0.25 / 2)
    penalty.backward()
    torch.testing.assert_close(weight.grad, weight.detach())  # d (w^2 / 2) / dw


def test_r1_is_computed_every_r1_every_steps_and_weighted_by_that_number() -> None:
    plain, penalised = run(), run(r1=5e3, r1_every=2)
    for found in (plain, penalised):
        found.discriminator.eval()  # the same function at every call
        found.discriminator.train = lambda mode=True, d=found.discriminator: d  # type: ignore[method-assign]
    x, y = reals()
    shown = x.clone().requires_grad_()
    penalty = gradient_penalty(penalised.discriminator(shown, y), shown)
    extra = torch.autograd.grad(5e3 * 2 * penalty, penalised.discriminator.convs[3].weight)[0]
    gradients = []
    for found in (plain, penalised):
        found.adam_d.step = lambda *_, f=found: gradients.append(f.discriminator.convs[3].weight.grad.clone())  # type: ignore[method-assign]
        TrainingStep(found, CPU)(x, y)
    torch.testing.assert_close(gradients[1], gradients[0] + extra, rtol=1e-4, atol=1e-7)
    gradients.clear()
    for found in (plain, penalised):
        found.adam_g.step = lambda *_: None  # type: ignore[method-assign]
        found.step = 1
        found.noise.manual_seed(5)
        found.generator.load_state_dict(plain.generator.state_dict())
        TrainingStep(found, CPU)(x, y)
    torch.testing.assert_close(gradients[1], gradients[0])  # step 1: not due


def test_the_relativistic_step_equals_a_plain_loop() -> None:
    found, plain = run(loss="relativistic"), run(loss="relativistic")
    x, y = reals()
    for one in (found, plain):
        with torch.no_grad():
            one.discriminator.output.weight.mul_(100)  # initial outputs are nearly 0, which would hide a swapped order
    fake = plain.generator(sample_z(plain.settings, 4, plain.noise), y)
    loss_d = relativistic_loss(plain.discriminator(x, y), plain.discriminator(fake.detach(), y))
    plain.adam_d.zero_grad()
    loss_d.backward()
    plain.adam_d.step()
    loss_g = relativistic_loss(plain.discriminator(fake, y), plain.discriminator(x, y).detach())
    losses = TrainingStep(found, CPU)(x, y)[:2]
    torch.testing.assert_close(losses, torch.stack([loss_d, loss_g]).detach(), rtol=1e-4, atol=1e-5)


def doublings(smooth: bool) -> list[SameTransposedConv]:
    settings = replace(TINY, smooth_upsampling=smooth)
    return [m for m in Generator(settings).modules() if isinstance(m, SameTransposedConv) and m.stride == 2]


def test_smooth_upsampling_starts_without_the_grid_pattern_of_the_usual_start() -> None:
    def lattice(layer: SameTransposedConv) -> float:
        flat = layer(torch.ones(1, layer.weight.shape[0], 4, 4))[:, :, 2:-2, 2:-2]  # away from the border
        return (flat.std(dim=(2, 3)).mean() / flat.abs().mean()).item()

    assert all(lattice(layer) < 1e-5 for layer in doublings(smooth=True))
    assert all(lattice(layer) > 0.3 for layer in doublings(smooth=False))


def test_smooth_upsampling_starts_as_bilinear_interpolation() -> None:
    layer = doublings(smooth=True)[0]
    torch.nn.init.ones_(layer.weight)
    ramp = torch.arange(6.0).expand(1, layer.weight.shape[0], 6, 6)  # a pixel's value is its column
    made = layer(ramp)[0, 0, 3:-3, 3:-3] / layer.weight.shape[0]
    torch.testing.assert_close(made, (torch.arange(12.0)[3:-3] / 2 - 0.5).expand(6, 6))


def test_smooth_upsampling_learns_in_proportion_to_its_taps_and_keeps_all_shapes() -> None:
    found, plain = run(smooth_upsampling=True, lr_generator=1e-2), run()
    assert {n: v.shape for n, v in found.generator.state_dict().items()} == {
        n: v.shape for n, v in plain.generator.state_dict().items()
    }
    layer = next(m for m in found.generator.modules() if isinstance(m, SameTransposedConv) and m.stride == 2)
    assert layer.taps is not None
    before = (layer.weight * layer.taps).detach()
    TrainingStep(found, CPU)(*reals())
    moved = ((layer.weight * layer.taps).detach() - before).abs().flatten(0, 1).mean(dim=0)
    torch.testing.assert_close(moved, layer.taps * 1e-2, rtol=0.05, atol=0)  # Adam's first step is lr, whatever the tap


def test_joint_batches_show_the_discriminator_what_all_fakes_share_and_separate_batches_hide_it() -> None:
    x, y = reals()
    outputs = {}
    for joint in (False, True):
        step = TrainingStep(run(joint_batches=joint), CPU)
        with torch.no_grad():
            # The fakes are the reals, for which a second layer outputs a value higher by a constant.
            hidden = step.run.discriminator.norms[1].register_forward_pre_hook(
                lambda _, h, j=joint: (h[0] + 5 * (torch.arange(len(h[0])) >= 4).view(-1, 1, 1, 1) if j else h[0] + 5,)
            )
            outputs[joint] = step._outputs(x, x, y)
            hidden.remove()
    assert torch.allclose(*outputs[False])
    assert not torch.allclose(*outputs[True], rtol=0.1)


def test_the_joint_step_equals_a_plain_loop() -> None:
    found, plain = run(joint_batches=True), run(joint_batches=True)
    x, y = reals()
    for one in (found, plain):
        with torch.no_grad():
            one.discriminator.output.weight.mul_(100)
    twice = torch.cat([y, y])
    fake = plain.generator(sample_z(plain.settings, 4, plain.noise), y)
    out = plain.discriminator(torch.cat([x, fake.detach()]), twice)
    loss_d = discriminator_loss(out[:4], out[4:])
    plain.adam_d.zero_grad()
    loss_d.backward()
    plain.adam_d.step()
    loss_g = generator_loss(plain.discriminator(torch.cat([x, fake]), twice)[4:])
    losses = TrainingStep(found, CPU)(x, y)[:2]
    torch.testing.assert_close(losses, torch.stack([loss_d, loss_g]).detach(), rtol=1e-4, atol=1e-5)


def test_narrow_networks_use_the_full_learning_rates_divided_by_the_width() -> None:
    found = run(width=0.25, rates_by_width=True, lr_generator=1e-4, lr_discriminator=4e-4)
    rates = [[group["lr"] for group in adam.param_groups] for adam in (found.adam_g, found.adam_d)]
    assert rates == [[4e-4], [16e-4]]
    full = replace(TINY, width=1.0, rates_by_width=True)
    assert full.rate(1e-4) == replace(TINY, width=0.25).rate(1e-4) == 1e-4


def test_watched_pictures_are_a_share_of_every_class_and_are_never_trained_on() -> None:
    labels = np.repeat([0, 1], [60, 30])
    settings = replace(TINY, augment="color", augment_target=0.5, watched_share=0.1)
    apart = watched(labels, settings)
    assert np.bincount(labels[apart]).tolist() == [6, 3]
    pictures = np.arange(90, dtype=np.uint8)[:, None, None, None].repeat(64, 1).repeat(64, 2).repeat(3, 3)
    for balanced in (False, True):
        batches = Batches(pictures, labels, replace(settings, balanced=balanced), CPU)
        trained = {row for step in range(60) for row in batches.order(step).tolist()}
        assert trained == set(range(90)) - set(apart.tolist())
        shown, y = batches.watched(0)
        assert set(shown[:, 0, 0, 0].add(1).mul(127.5).round().int().tolist()) <= set(apart.tolist())
        assert len(y) == settings.batch_size
    assert len(watched(labels, replace(settings, augment_target=None))) == 0
    assert len(watched(labels, replace(settings, augment=""))) == 0


def test_pictures_are_augmented_more_often_if_the_discriminator_overfits_and_less_if_not() -> None:
    x, y = reals()
    often = []
    # Unseen pictures that look like fakes, then unseen pictures that are the reals of the step.
    fakes, same = lambda found: found.generator(sample_z(found.settings, 4, found.noise), y), lambda _: x
    for unseen, target in ((fakes, 0.1), (same, 0.9)):
        found = run(augment="mirror", augment_target=target, augment_ramp=160)
        found.augment_probability.fill_(0.5)
        with torch.no_grad():
            found.discriminator.output.weight.mul_(100)
            if found.discriminator(x, y).mean() < found.discriminator(found.generator(torch.zeros(4, 6), y), y).mean():
                found.discriminator.output.weight.neg_()
        step = TrainingStep(found, CPU, lambda _, u=unseen, f=found: (u(f).detach(), y))
        step(x, y)
        often.append(found.augment_probability.item())
        for _ in range(3):
            step(x, y)
        assert found.augment_probability.item() == often[-1]  # every fourth step
    assert often == pytest.approx([0.6, 0.4])  # 4 steps of 4 pictures, of 160


def test_each_loss_is_0_if_its_side_has_reached_its_goal() -> None:
    assert discriminator_loss(torch.ones(2), torch.zeros(2)) == relativistic_loss(torch.ones(2), torch.zeros(2)) == 0
    assert generator_loss(torch.ones(2)) == relativistic_loss(torch.ones(2), torch.zeros(2)) == 0


def test_bfloat16_is_close_to_float32_and_reported_in_the_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = reals()
    exact = TrainingStep(run(), CPU)(x, y)
    monkeypatch.setattr(devices, "precision", lambda name, _device: "bfloat16" if name == "auto" else name)
    step = TrainingStep(run(bf16=True), CPU)
    rounded = step(x, y)
    assert "bfloat16" in step.note
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, atol=0.02, rtol=0.02)
    assert all(
        v.dtype == torch.float32 for v in weights(step.run) if v.is_floating_point()
    )  # bfloat16 in products only


def test_without_bfloat16_support_training_uses_float32_and_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "precision", lambda _name, _device: "float32")
    step = TrainingStep(run(bf16=True), CPU)
    assert "in float32: bf16 was requested" in step.note
    assert torch.equal(step(*reals()), TrainingStep(run(), CPU)(*reals()))


def test_compiling_covers_both_networks_and_keeps_parameter_names(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []

    def through(network: torch.nn.Module) -> object:
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", through)
    found, plain = run(compile=True), run()
    TrainingStep(found, CPU)(*reals())
    TrainingStep(plain, CPU)(*reals())
    assert compiled == [found.generator, found.discriminator]
    assert all(torch.equal(a, b) for a, b in zip(weights(found), weights(plain), strict=True))


def test_batches_are_the_same_from_memory_or_a_memory_map_and_in_either_layout(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures, labels = rng.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8), np.arange(12) % 2
    np.save(tmp_path / "pictures.npy", pictures)
    mapped = np.load(tmp_path / "pictures.npy", mmap_mode="r")
    batches = [
        Batches(pictures, labels, TINY, CPU),
        Batches(mapped, labels, replace(TINY, resident=False), CPU),
        Batches(pictures, labels, replace(TINY, channels_last=False), CPU),
    ]
    rows = batches[0].order(3)
    expected = normalise(torch.from_numpy(pictures[rows]))
    for batch in batches:
        real, y = batch(3)
        assert torch.equal(real, expected)
        assert y.tolist() == labels[rows].tolist()
    assert batches[0](3)[0].is_contiguous(memory_format=torch.channels_last)
    assert batches[2](3)[0].is_contiguous()
    assert "12 pictures" in batches[1].note


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loss", "hinge"),
        ("select", "first"),
        ("r1", -1.0),
        ("r1_every", 0),
        ("metric_ticks", 0),
        ("augment_target", 1.0),
        ("ema_ramp", 0.0),
        ("augment_ramp", 0),
        ("watched_share", 0.0),
    ],
)
def test_the_error_for_an_invalid_switch_names_it(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(TINY, **{field: value})  # type: ignore[arg-type]
