"""LSGAN training: one step equals a plain loop, runs resume bit for bit, failures name the tick, files are written."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.lsgan import train as module
from models.lsgan.batches import batch_order, total_steps
from models.lsgan.networks import Discriminator, Generator, discriminator_loss, generator_loss, sample_z
from models.lsgan.settings import LsganSettings
from models.lsgan.train import load_generator, main, train
from models.training import checkpoint
from models.training.divergence import DivergedError
from models.training.progress import Progress

NAMES = ("tops", "pants")
TINY = LsganSettings(
    width=0.0625, z_dim=6, classes=2, batch_size=4, steps=4, tick_steps=2, grid_columns=2, minimum_class=4,
    lr_generator=1e-3, lr_discriminator=1e-3,
)  # fmt: skip
EVERYTHING = replace(TINY, balanced=True, augment="color,translation,cutout", ema_half_life=20, input_batch_norm=True)


def garments() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (14, 64, 64, 3), dtype=np.uint8), np.array([0] * 9 + [1] * 5)


def weights(network: torch.nn.Module) -> list[torch.Tensor]:
    return list(network.state_dict().values())


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_one_step_equals_a_plain_loop_that_generates_the_fakes_twice(tmp_path: Path) -> None:
    pictures, labels = garments()
    settings = replace(TINY, steps=1, weight_decay=1e-3)
    trained = train(pictures, labels, NAMES, settings, tmp_path, "cpu")

    generator, discriminator = Generator(settings), Discriminator(settings)
    for_g = torch.optim.Adam(generator.parameters(), lr=1e-3, weight_decay=1e-3)
    for_d = torch.optim.Adam(discriminator.parameters(), lr=1e-3, weight_decay=1e-3)
    rows = batch_order(labels, settings)(0)
    x = (torch.from_numpy(pictures[rows]).permute(0, 3, 1, 2).float() - 127.5) / 127.5
    y = torch.from_numpy(labels[rows])
    z = sample_z(settings, 4, torch.Generator().manual_seed(settings.seed + 2))
    with torch.no_grad():
        fake = generator(z, y)
    discriminator_loss(discriminator(x, y), discriminator(fake, y)).backward()
    for_d.step()
    for_g.zero_grad()
    generator_loss(discriminator(generator(z, y), y)).backward()
    for_g.step()

    for plain, ours in ((generator, trained.generator), (discriminator, trained.discriminator)):
        for (name, wanted), found in zip(plain.named_parameters(), ours.parameters(), strict=True):
            # Adam's first step is the sign of the gradient, which for a bias before batch norm is only rounding
            flips = (wanted - found).abs() > 1e-4
            assert flips.float().mean() < 0.02 or "bias" in name, name


@pytest.mark.parametrize("settings", [TINY, EVERYTHING], ids=["paper", "every switch"])
def test_an_interrupted_run_resumes_bit_for_bit(tmp_path: Path, settings: LsganSettings) -> None:
    pictures, labels = garments()
    whole = train(pictures, labels, NAMES, settings, tmp_path / "whole", "cpu")
    train(pictures, labels, NAMES, replace(settings, steps=2), tmp_path / "parts", "cpu")
    torch.manual_seed(99)  # the global state must not matter
    resumed = train(pictures, labels, NAMES, settings, tmp_path / "parts", "cpu")
    assert resumed.resumed_from == 2
    assert same(whole.generator, resumed.generator)
    assert same(whole.discriminator, resumed.discriminator)
    ends = [checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "parts")]
    for optimiser in ("optimiser_generator", "optimiser_discriminator"):
        first, second = (end[optimiser]["state"] for end in ends)
        assert all(torch.equal(first[k]["exp_avg_sq"], second[k]["exp_avg_sq"]) for k in first)
    assert torch.equal(ends[0]["noise"], ends[1]["noise"])


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    pictures, labels = garments()
    first = train(pictures, labels, NAMES, TINY, tmp_path, "cpu")
    again = train(pictures, labels, NAMES, TINY, tmp_path, "cpu")
    assert again.resumed_from == 4
    assert same(first.generator, again.generator)
    assert again.history == first.history


def test_the_error_for_the_checkpoint_of_another_run_shows_both_values(tmp_path: Path) -> None:
    pictures, labels = garments()
    train(pictures, labels, NAMES, TINY, tmp_path, "cpu", data_digest="aaa")
    with pytest.raises(ValueError, match="data_digest 'aaa' there, 'bbb' here"):
        train(pictures, labels, NAMES, TINY, tmp_path, "cpu", data_digest="bbb")
    with pytest.raises(ValueError, match=r"lr_generator 0.001 there, 0.002 here"):
        train(pictures, labels, NAMES, replace(TINY, lr_generator=0.002), tmp_path, "cpu", data_digest="aaa")


def test_the_error_for_a_small_class_gives_its_name_count_and_the_minimum(tmp_path: Path) -> None:
    pictures, labels = garments()
    with pytest.raises(ValueError, match=r"pants has 5; the minimum is 6"):
        train(pictures, labels, NAMES, replace(TINY, minimum_class=6), tmp_path, "cpu")


@pytest.mark.parametrize(
    ("settings", "reason", "tick"),
    [
        (replace(TINY, lr_generator=1e38, lr_discriminator=1e38, steps=8), "nan|inf", None),
        (replace(TINY, vanished_loss=1e3, patience=2), "has won", 2),
        (replace(TINY, alike_spread=1e3, patience=2), "alike", 2),
    ],
    ids=["not a number", "discriminator won", "collapsed"],
)
def test_diverged_training_names_the_tick_and_keeps_the_one_before(
    tmp_path: Path, settings: LsganSettings, reason: str, tick: int | None
) -> None:
    pictures, labels = garments()
    with pytest.raises(DivergedError, match=reason) as failure:
        train(pictures, labels, NAMES, settings, tmp_path, "cpu")
    assert re.match(rf"tick {tick or 1} \(step {2 * (tick or 1)}\): ", str(failure.value))
    assert not (tmp_path / "meta.json").exists()
    if tick is not None:
        assert checkpoint.load(tmp_path / "last.pt")["step"] == settings.tick_steps * (tick - 1)


def test_reals_and_fakes_are_drawn_before_training_and_fakes_at_each_tick(tmp_path: Path) -> None:
    pictures, labels = garments()
    seen: list[tuple[int, tuple[int, ...]]] = []
    reports: list[Progress] = []

    def look(step: int, grid: np.ndarray) -> None:
        seen.append((step, grid.shape))

    train(pictures, labels, NAMES, TINY, tmp_path, "cpu", reports.append, look)
    assert [step for step, _ in seen] == [0, 2, 4]
    assert len({shape for _, shape in seen}) == 1
    pngs = ["fakes_000002.png", "fakes_000004.png", "fakes_init.png", "reals.png"]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == pngs
    assert not list(tmp_path.glob(".*"))
    assert [(report.done, report.total) for report in reports][-2:] == [(2, 4), (4, 4)]
    assert {"loss_discriminator", "loss_generator", "pictures_per_second"} <= reports[-1].metrics.keys()
    assert reports[-1].seconds_left == 0


def test_a_loaded_generator_equals_the_trained_one(tmp_path: Path) -> None:
    pictures, labels = garments()
    trained = train(pictures, labels, NAMES, EVERYTHING, tmp_path, "cpu", data_digest="abc")
    generator, discriminator, meta = load_generator(tmp_path)
    z, y = torch.randn(3, 6), torch.tensor([0, 1, 1])
    assert torch.equal(generator(z, y), trained.generator(z, y))
    assert torch.equal(discriminator(generator(z, y), y), trained.discriminator(generator(z, y), y))
    assert meta["counts"] == {"tops": 9, "pants": 5}
    assert (meta["data_digest"], meta["steps"], meta["settings"]["augment"]) == ("abc", 4, EVERYTHING.augment)


def test_the_error_for_a_folder_without_a_finished_generator_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished generator"):
        load_generator(tmp_path)


def test_averaged_weights_follow_the_ema_formula(tmp_path: Path) -> None:
    pictures, labels = garments()
    settings = replace(TINY, ema_half_life=1000.0, ema_ramp=0.2, steps=2)
    train(pictures, labels, NAMES, replace(settings, steps=1), tmp_path / "one", "cpu")
    train(pictures, labels, NAMES, settings, tmp_path / "two", "cpu")
    one, two = (checkpoint.load(tmp_path / name / "last.pt") for name in ("one", "two"))
    key, average = "input.weight", Generator(settings).input.weight.detach()
    for step, state in enumerate((one, two), start=1):
        decay = 0.5 ** (4 / (0.2 * step * 4))  # batch over a half-life of 20% of the pictures seen
        average = average * decay + state["generator"][key] * (1 - decay)
    torch.testing.assert_close(two["averaged"][key], average)


def test_one_pass_contains_every_picture_once() -> None:
    labels = np.zeros(12, dtype=np.int64)
    order = batch_order(labels, replace(TINY, classes=1))
    for first in (0, 3, 6):
        assert sorted(np.concatenate([order(first + step) for step in range(3)])) == list(range(12))
    assert not np.array_equal(order(0), order(3))


def test_balanced_batches_contain_every_class_equally_often() -> None:
    labels = np.array([0] * 20 + [1] * 3 + [2] * 7)
    order = batch_order(labels, replace(TINY, classes=3, balanced=True, batch_size=6))
    rows = np.concatenate([order(step) for step in range(10)])
    for batch in rows.reshape(10, 6):
        assert np.bincount(labels[batch], minlength=3).tolist() == [2, 2, 2]
    of_rare = rows[labels[rows] == 1]  # 20 draws from 3 pictures
    assert set(np.bincount(of_rare)[20:]) <= {6, 7}


def test_the_order_does_not_depend_on_the_step_it_starts_at() -> None:
    labels = np.array([0] * 11 + [1] * 5)
    for settings in (TINY, EVERYTHING):
        through = batch_order(labels, settings)
        steps = [through(step) for step in range(40)]
        assert np.array_equal(steps[37], batch_order(labels, settings)(37))


def test_the_run_of_the_paper_takes_8594_steps() -> None:
    assert total_steps(10_000, LsganSettings()) == 8594


def test_the_command_trains_and_names_the_fault_of_its_input(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pictures, labels = garments()
    np.save(tmp_path / "x.npy", pictures)
    np.save(tmp_path / "y.npy", labels)
    call = ["--pictures", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.npy"), "--out", str(tmp_path / "run")]
    call += ["--width", "0.0625", "--batch-size", "4", "--steps", "1", "--z-dim", "4", "--device", "cpu"]
    call += ["--balanced", "true"]
    assert main([*call, "--class-names", "tops,pants", "--minimum-class", "5"]) == 0
    meta = json.loads((tmp_path / "run" / "meta.json").read_text())
    assert (meta["class_names"], meta["settings"]["balanced"]) == (["tops", "pants"], True)
    assert main([*call, "--out", str(tmp_path / "other")]) == 1
    assert "class 1 has 5; the minimum is 32" in capsys.readouterr().err
    assert main([*call, "--width", "-1"]) == 2
    assert module.__doc__ is not None
