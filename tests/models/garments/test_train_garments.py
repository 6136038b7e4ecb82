"""Training on frozen features: a step equals a plain one, runs resume bit for bit, failures are named."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.data.pictures import normalise
from models.garments import train as module
from models.garments.batches import PictureSet, sized
from models.garments.features import FrozenFeatures
from models.garments.settings import GarmentModelSettings
from models.garments.state import GarmentRun
from models.garments.step import TrainingStep
from models.garments.train import TrainedGarments, load_encoder, load_generator, main, train
from models.garments.warm import reordered
from models.training import checkpoint
from models.training.divergence import DivergedError
from models.training.progress import Progress
from tests.models.garments.tiny import NAMES, TINY, garments, same, trunk


def trained(out: Path, settings: GarmentModelSettings = TINY, **more) -> TrainedGarments:
    return train(*garments(), NAMES, settings, trunk(), out, "cpu", **more)


def begun(settings: GarmentModelSettings) -> tuple[GarmentRun, PictureSet]:
    """A run before its first step, and its data."""
    pictures, labels = garments()
    features, pixels = FrozenFeatures(trunk(), settings.mixed, settings.seed), sized(pictures, settings)
    features.calibrate(pixels)
    run = GarmentRun(settings, features, {}, torch.device("cpu"))
    data = PictureSet(pixels, labels, features, settings, torch.device("cpu"))
    run.encoder.standardise(data.features.summaries)
    return run, data


@pytest.mark.parametrize("heads", [False, True], ids=["before the heads train", "with heads"])
def test_one_step_equals_a_plain_one_that_computes_the_features_twice(heads: bool) -> None:
    settings = replace(TINY, heads_from=0.0 if heads else 1.0, heads_ramp=0.0, steps=1, warm_up=0)
    (ours, data), (plain, _) = begun(settings), begun(settings)
    batch = data.batch(data.order(settings, 0)(0))
    losses = TrainingStep(ours)(batch)

    count = 6 if heads else 8  # a quarter of the rows is made from z alone, for the heads
    noise = torch.randn(8, 6, generator=torch.Generator().manual_seed(settings.seed + 4))
    mean, log_variance = plain.encoder(batch.summaries[:count])
    codes = torch.cat([mean + torch.exp(0.5 * log_variance) * noise[:count], noise[count:]])
    fake = plain.generator.decode(codes, batch.labels)
    if heads:
        real, made = plain.heads(batch.features, batch.labels), plain.heads(plain.features(fake.detach()), batch.labels)
        loss_heads = sum((F.relu(1 - r).mean() + F.relu(1 + f).mean()) / 4 for r, f in zip(real, made, strict=True))
        loss_heads.backward()
        plain.adam_heads.step()
        torch.testing.assert_close(losses[3], loss_heads, atol=1e-4, rtol=1e-3)
    wanted = normalise(torch.from_numpy(garments()[0][data.order(settings, 0)(0)]))
    loss = 20 * (fake[:count] - wanted[:count]).abs().mean()
    for ours_at, theirs in zip(plain.features(fake), batch.features, strict=True):
        loss = loss + 2 * (ours_at[:count] - theirs[:count]).square().mean()
    loss = loss + 0.005 * (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2 / count
    if heads:
        loss = loss - sum(f.mean() / 4 for f in plain.heads(plain.features(fake), batch.labels))
    plain.adam.zero_grad()
    loss.backward()
    plain.adam.step()
    for network, other in ((ours.generator, plain.generator), (ours.encoder, plain.encoder), (ours.heads, plain.heads)):
        for (name, found), right in zip(network.named_parameters(), other.parameters(), strict=True):
            # Adam's first step is the sign of the gradient, which for a bias before batch norm is only rounding.
            flips = (found - right).abs() > 1e-4
            assert flips.float().mean() < 0.02 or "bias" in name, name


def test_a_run_cut_short_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(tmp_path / "whole")
    step = TrainingStep.__call__

    def killed(self: TrainingStep, batch: object) -> torch.Tensor:
        if self.run.step == 5:  # a step after the tick at 4
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingStep, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "parts")
    torch.manual_seed(99)  # the global state must not matter
    resumed = trained(tmp_path / "parts")
    assert resumed.resumed_from == 4
    for part in ("generator", "encoder", "realism"):
        assert same(getattr(whole, part), getattr(resumed, part)), part
    ends = [checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "parts")]
    for optimiser in ("adam", "adam_heads"):
        first, second = (end[optimiser]["state"] for end in ends)
        assert all(torch.equal(first[key]["exp_avg_sq"], second[key]["exp_avg_sq"]) for key in first)
    assert torch.equal(ends[0]["noise"], ends[1]["noise"])


def test_a_finished_run_is_not_trained_again_and_its_files_load(tmp_path: Path) -> None:
    first = trained(tmp_path, data_digest="abc")
    again = trained(tmp_path, data_digest="abc")
    assert again.resumed_from == 6
    assert again.history == first.history
    generator, meta = load_generator(tmp_path)
    encoder, realism, _ = load_encoder(tmp_path, trunk())
    assert same(generator, first.generator)
    assert same(encoder, first.encoder)
    assert same(realism, first.realism)
    assert (meta["data_digest"], meta["steps"], meta["counts"]) == ("abc", 6, {"tops": 9, "pants": 5})
    assert json.loads((tmp_path / "meta.json").read_text()) == meta


def test_a_picture_is_decoded_from_its_z_as_from_its_code(tmp_path: Path) -> None:
    run = trained(tmp_path)
    pictures, labels = garments()
    x, y = normalise(torch.from_numpy(pictures[:4])), torch.from_numpy(labels[:4])
    z = run.encoder(x, y)
    code = run.generator.prior.code(z, y)
    torch.testing.assert_close(run.generator(z, y), run.generator.decode(code, y))
    assert not any(weight.requires_grad for weight in run.generator.parameters())
    assert not run.generator.training


def test_training_lowers_the_error_of_reconstruction(tmp_path: Path) -> None:
    settings = replace(TINY, width=0.25, steps=30, tick_steps=5, lr=5e-3, heads_from=1.0)
    history = trained(tmp_path, settings).history
    assert history[-1]["l1_train"] < 0.8 * history[0]["l1_train"]


def test_the_checkpoint_of_another_run_is_refused_with_both_values(tmp_path: Path) -> None:
    trained(tmp_path, data_digest="aaa")
    with pytest.raises(ValueError, match="data_digest 'aaa' there, 'bbb' here"):
        trained(tmp_path, data_digest="bbb")
    with pytest.raises(ValueError, match=r"steps 6 there, 8 here"):
        trained(tmp_path, replace(TINY, steps=8), data_digest="aaa")


def test_a_small_class_is_named_with_its_count_and_the_minimum(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pants has 5; the minimum is 6"):
        trained(tmp_path, replace(TINY, minimum_class=6))


def test_one_picture_of_a_class_is_enough_if_the_minimum_says_so(tmp_path: Path) -> None:
    pictures, labels = garments()
    run = train(pictures[:10], labels[:10], NAMES, replace(TINY, minimum_class=1), trunk(), tmp_path, "cpu")
    assert run.meta["counts"] == {"tops": 9, "pants": 1}


@pytest.mark.parametrize(
    ("settings", "reason", "tick"),
    [(replace(TINY, lr=1e38), "not a number", 1), (replace(TINY, alike_spread=1e3, patience=2), "were alike", 2)],
    ids=["not a number", "collapsed"],
)
def test_diverged_training_names_the_tick_and_keeps_the_one_before(
    tmp_path: Path, settings: GarmentModelSettings, reason: str, tick: int
) -> None:
    with pytest.raises(DivergedError, match=reason) as failure:
        trained(tmp_path, settings)
    assert re.match(rf"tick {tick} \(step {2 * tick}\): ", str(failure.value))
    assert not (tmp_path / "meta.json").exists()
    assert (tmp_path / "last.pt").exists() == (tick > 1)


def test_pictures_are_drawn_before_training_and_at_each_tick(tmp_path: Path) -> None:
    seen: list[tuple[int, tuple[int, ...]]] = []
    reports: list[Progress] = []
    trained(tmp_path, on_progress=reports.append, on_images=lambda step, grid: seen.append((step, grid.shape)))
    assert [step for step, _ in seen] == [0, 2, 4, 6]
    assert len({shape for _, shape in seen}) == 1
    pngs = ["fakes_000002.png", "fakes_000004.png", "fakes_000006.png", "fakes_init.png", "reals.png"]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == pngs
    assert (reports[-1].done, reports[-1].total, reports[-1].seconds_left) == (6, 6, 0)


def test_held_out_pictures_are_measured_and_change_nothing(tmp_path: Path) -> None:
    pictures, labels = garments()
    alone = trained(tmp_path / "alone")
    run = trained(tmp_path / "both", held_out=(pictures[:3, ::-1], labels[:3]))
    assert same(run.generator, alone.generator)
    for entry in run.history:
        assert {"l1_train", "l1_held_out", "logit_train", "logit_held_out"} <= entry.keys()
    assert "l1_held_out" not in alone.history[0]
    x, y = normalise(torch.from_numpy(pictures)), torch.from_numpy(labels)
    again = (run.generator(run.encoder(x, y), y) - x).abs().mean(dim=(1, 2, 3)) * 127.5
    assert again.min() - 2 < run.history[-1]["l1_train"] < again.max() + 2


def test_averaged_weights_have_a_half_life_of_a_share_of_the_steps() -> None:
    run, data = begun(replace(TINY, ema_share=0.25))
    step, average = TrainingStep(run), run.generator.input.weight.detach().clone()
    for number in range(1, 4):
        step(data.batch(data.order(run.settings, 0)(number)))
        decay = 0.5 ** (1 / (0.25 * number))
        average = average * decay + run.generator.input.weight.detach() * (1 - decay)
    torch.testing.assert_close(run.averaged_generator.input.weight, average)


def test_schedules_follow_the_shares_of_the_run() -> None:
    settings = replace(TINY, steps=100, warm_up=10, decay_from=0.6, heads_from=0.45, heads_ramp=0.2, heads_weight=2.0)
    assert [settings.rate(step) for step in (0, 4, 9, 59, 80)] == pytest.approx([0.1, 0.5, 1, 1, 0.5])
    assert settings.rate(99) == pytest.approx(1 / 40)
    assert [settings.adversarial(step) for step in (0, 44, 54, 64, 99)] == pytest.approx([0, 0, 1, 2, 2])
    assert settings.adversarial(0, warm=True) == 2


def test_batches_contain_every_class_equally_often() -> None:
    _, data = begun(TINY)
    order = data.order(TINY, 0)
    for step in range(5):
        assert data.batch(order(step)).labels.bincount().tolist() == [4, 4]


def test_smaller_pictures_are_refused_unless_upscaling_is_chosen_and_larger_ones_shrink() -> None:
    pictures = garments(32)[0]
    with pytest.raises(
        ValueError, match=r"32 px wide and size is 64: .* set upscale to true to enlarge them, or size to 32"
    ):
        sized(pictures, replace(TINY, size=64))
    assert sized(pictures, replace(TINY, size=64, upscale=True)).shape == (14, 64, 64, 3)
    assert torch.equal(sized(pictures, TINY), torch.from_numpy(pictures))
    flat = np.full((2, 64, 64, 3), (10, 200, 30), np.uint8)
    assert torch.equal(sized(flat, TINY), torch.from_numpy(flat[:, :32, :32].copy()))
    for wrong in (pictures[..., 0], pictures[:, :20], pictures.astype(np.float32)):
        with pytest.raises(ValueError, match="the networks need square ones, uint8"):
            sized(wrong, TINY)


def test_a_run_starts_from_a_finished_one_and_a_new_class_from_the_mean_of_the_others(tmp_path: Path) -> None:
    first = trained(tmp_path / "first")
    pictures, labels = garments()
    three = replace(TINY, classes=3, steps=1)
    labels = np.where(np.arange(14) % 3 == 0, 2, labels)
    names = ("pants", "tops", "shoes")
    labels = np.array([1, 0, 2])[labels]
    settings = replace(three, minimum_class=2, lr=1e-30, lr_heads=1e-30)  # so that the weights stay those of the start
    second = train(
        pictures, labels, names, settings, trunk(), tmp_path / "second", "cpu", start_from=tmp_path / "first"
    )
    old, new = first.generator.embedding.weight, second.generator.embedding.weight
    torch.testing.assert_close(new, torch.stack([old[:, 1], old[:, 0], old.mean(dim=1)], dim=1))
    z, same_class = torch.randn(2, 6), torch.tensor([0, 1])
    first.generator.eval()
    ours, theirs = second.generator, first.generator
    for a, b in zip(ours.norms(), theirs.norms(), strict=True):
        b.norm.load_state_dict(a.norm.state_dict())
    torch.testing.assert_close(ours.decode(z, same_class), theirs.decode(z, 1 - same_class), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(second.encoder.encoder.hidden.weight, first.encoder.encoder.hidden.weight)
    assert second.history[0]["loss_heads"] > 0  # the heads train from the first step


def test_a_start_from_other_networks_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "first")
    with pytest.raises(ValueError, match="its networks differ: z_dim 6 there, 5 here"):
        trained(tmp_path / "second", replace(TINY, z_dim=5), start_from=tmp_path / "first")
    with pytest.raises(FileNotFoundError, match="no finished generator"):
        trained(tmp_path / "third", start_from=tmp_path / "nowhere")


def test_rows_of_classes_are_reordered_by_name() -> None:
    weight = torch.tensor([[1.0, 3.0], [2.0, 4.0]])
    assert reordered(weight, [1, None, 0], dim=1).tolist() == [[3.0, 2.0, 1.0], [4.0, 3.0, 2.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"size": 48}, "size is 48"), ({"lr": 0.0}, "lr is 0"), ({"batch_size": 2}, "batch_size is 2"),
     ({"decay_from": 1.0}, "decay_from is 1"), ({"heads_from": 1.5}, "heads_from is 1.5"), ({"kl": -1.0}, "kl is -1")],
)  # fmt: skip
def test_an_invalid_setting_is_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_the_command_line_trains_and_refuses_wrong_data(tmp_path: Path, capsys, monkeypatch) -> None:
    pictures, labels = garments()
    np.save(tmp_path / "x.npy", pictures)
    np.save(tmp_path / "y.npy", labels)
    files = ["--pictures", f"{tmp_path / 'x.npy'}", "--labels", f"{tmp_path / 'y.npy'}", "--device", "cpu"]
    monkeypatch.setattr(module, "PRESETS", {"modern": TINY})
    call = [*files, "--out", f"{tmp_path / 'run'}", "--steps", "2", "--no-bf16"]
    assert (
        main([*call, "--held-out-pictures", f"{tmp_path / 'x.npy'}", "--held-out-labels", f"{tmp_path / 'y.npy'}"]) == 0
    )
    shown = capsys.readouterr().out
    assert "features of random weights were used" in shown
    assert "2 steps" in shown
    assert main([*call, "--size", "64"]) == 2
    assert "or size to 32" in capsys.readouterr().err
    assert main([*call, "--class-names", "a,b,c"]) == 2
    assert "c has 0" in capsys.readouterr().err
    assert main([*call, "--held-out-labels", f"{tmp_path / 'y.npy'}"]) == 2
    assert "belong together" in capsys.readouterr().err
