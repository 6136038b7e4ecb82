"""Two ranks train like one: the same losses, the same weights up to rounding, one writer; a killed rank restarts.

torchrun starts real processes, once for the whole module, which exchange through gloo on loopback.
"""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.dvbpr import train as train_dvbpr
from models.dvbpr.cnnf import CNNF
from models.dvbpr.settings import DvbprSettings
from models.lsgan.settings import LsganSettings
from models.lsgan.train import Measure, train
from models.training import checkpoint
from models.training.ranks import ALONE, Ranks, here, joined
from tests.models.planted import planted

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
TRIPLETS, BATCH = 250, 33  # the shares are 17 and 16, in the last batch 10 and 9
DVBPR = DvbprSettings(
    k=4, input_size=16, padding="same", width=1 / 16, hidden=0.016, epochs=3, batch_size=BATCH, learning_rate=2e-3,
    theta_decay=0.01, precision="float32", embed_batch=40,
)  # fmt: skip
PLAIN = LsganSettings(
    width=0.0625, z_dim=6, classes=2, batch_size=8, steps=6, tick_steps=3, grid_columns=2, minimum_class=4,
    lr_generator=1e-3, lr_discriminator=1e-3, metric_ticks=1,
)  # fmt: skip
LSGAN = {
    "plain": PLAIN,
    "switched": replace(
        PLAIN, balanced=True, augment="color,translation,cutout,mirror", ema_half_life=20, input_batch_norm=True,
        loss="relativistic", spectral_norm=True, r1=1.0, r1_every=2, select="best",
    ),
    "joint": replace(
        PLAIN, balanced=True, augment="color,translation", augment_target=0.5, augment_ramp=50, joint_batches=True,
        smooth_upsampling=True, r1=1.0, r1_every=3,
    ),
}  # fmt: skip
NAMES = ("tops", "pants")


def garments() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (14, 64, 64, 3), dtype=np.uint8), np.array([0] * 9 + [1] * 5)


def call(folder: Path, out: str) -> list[str]:
    """Build the arguments of the command that trains with the settings `DVBPR`."""
    plain = {name: value for name, value in DVBPR.plain().items() if name not in ("betas", "early_stopping_patience")}
    plain.pop("compile")
    knobs = [word for name, value in plain.items() for word in ("--" + name.replace("_", "-"), str(value))]
    return ["--data", str(folder / "data"), "--out", str(folder / out), "--device", "cpu", *knobs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train with one rank into `one-*`, and with two ranks into the other folders."""
    folder = tmp_path_factory.mktemp("ranks")
    data = planted(triplets=TRIPLETS)
    data.save(folder / "data")
    for name in ("one-half", "half"):  # two ranks resume `half`
        train_dvbpr.train(data, replace(DVBPR, epochs=1), folder / name, CPU)
    train_dvbpr.train(data, DVBPR, folder / "one-dvbpr", CPU)
    for name, settings in LSGAN.items():
        values = iter((1.0, 2.0))
        measure = Measure("looks", lambda _, values=values: next(values))
        train(*garments(), NAMES, settings, folder / f"one-{name}", CPU, measure=measure)
    elastic = ["--nproc-per-node", "2", "--max-restarts", "1", "--rdzv-backend", "c10d", "--rdzv-id", "test"]
    elastic += ["--rdzv-endpoint", str(folder / "rendezvous"), "--rdzv-conf", "store_type=file"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *elastic, "-m", "tests.models.training.two_ranks", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def state(folder: Path, name: str) -> dict:
    return checkpoint.load(folder / name / "last.pt")


def test_two_ranks_have_the_losses_of_one_rank_even_with_dropout(folder: Path) -> None:
    one, two = state(folder, "one-dvbpr"), state(folder, "whole")
    for ours, theirs in zip(two["history"], one["history"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-6)
        assert ours["validation_auc"] == pytest.approx(theirs["validation_auc"], abs=2e-3)  # near ties may swap
    for name, weights in one["cnn"].items():
        torch.testing.assert_close(two["cnn"][name], weights, rtol=1e-4, atol=2e-6)
    torch.testing.assert_close(two["theta"], one["theta"], rtol=1e-4, atol=1e-6)
    assert torch.equal(one["rng"], two["rng"])  # the same number of random numbers was drawn


def test_a_rank_killed_in_an_epoch_restarts_and_ends_with_the_weights_of_an_undisturbed_run(
    folder: Path,
) -> None:
    assert {path.name for path in folder.glob("started-*")} == {f"started-{a}-{r}" for a in (0, 1) for r in (0, 1)}
    killed, whole = state(folder, "killed"), state(folder, "whole")
    assert killed["epoch"] == 3
    for name, weights in whole["cnn"].items():
        assert torch.equal(killed["cnn"][name], weights), name
    assert torch.equal(killed["theta"], whole["theta"])
    assert [row["loss"] for row in killed["history"]] == [row["loss"] for row in whole["history"]]
    assert {path.name for path in (folder / "killed").iterdir()} == {"best.pt", "last.pt", "factors.npz"}


def test_another_number_of_ranks_can_resume_a_checkpoint(folder: Path) -> None:
    one, two = state(folder, "one-dvbpr"), state(folder, "half")
    assert two["history"][0]["loss"] == one["history"][0]["loss"]
    assert [row["loss"] for row in two["history"]] == pytest.approx([row["loss"] for row in one["history"]], rel=1e-6)


def test_all_ranks_return_the_same_model(folder: Path) -> None:
    first, second = (np.load(folder / f"whole-returned-{rank}.npz") for rank in (0, 1))
    np.testing.assert_array_equal(first["phi"], second["phi"])
    np.testing.assert_array_equal(first["theta"], second["theta"])
    for name in LSGAN:
        one, other = (torch.load(folder / f"{name}-returned-{rank}.pt", weights_only=True) for rank in (0, 1))
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", LSGAN)
def test_two_ranks_train_the_generator_of_one_rank(folder: Path, name: str) -> None:
    one, two = (checkpoint.load(folder / which / "last.pt") for which in (f"one-{name}", name))
    # Rounding errors grow with the steps, because Adam normalises even gradients that are only rounding: those of the
    # level of the outputs under a relativistic loss, and of biases before batch norm.
    for ours, theirs, off in zip(two["history"], one["history"], (1e-5, 2e-3), strict=True):
        for row in (ours, theirs):
            row["apart"] = row["output_real"] - row["output_fake"]
        for figure in ("loss_discriminator", "loss_generator", "apart", "spread"):
            assert ours[figure] == pytest.approx(theirs[figure], rel=10 * off, abs=off), figure
    assert torch.equal(one["noise"], two["noise"])
    assert two["best"] == one["best"]
    for network in ("generator", "discriminator"):
        assert one[network].keys() == two[network].keys()
    files = [{path.name for path in (folder / which).iterdir()} for which in (f"one-{name}", name)]
    assert files[0] == files[1]


def test_ranks_with_different_data_train_nothing(folder: Path) -> None:
    said = [(folder / f"refused-{rank}").read_text() for rank in (0, 1)]
    assert all("the ranks do not have the same data, settings or weights" in text for text in said)
    assert not (folder / "other-data").exists()


def test_a_single_rank_returns_its_inputs() -> None:
    assert here() == ALONE
    values = torch.rand(5, 2, requires_grad=True)
    assert ALONE.gather(values, 5) is values
    assert ALONE.sum(values) is values
    assert ALONE.place(5) is None
    assert ALONE.share(5) == slice(0, 5)
    numbers, sizes = ALONE.epoch(10, 4)
    assert (numbers.tolist(), sizes) == (list(range(10)), [4, 4, 2])
    network = nn.Sequential(nn.BatchNorm2d(2))
    with joined(CPU) as device:
        assert (device, type(network[0])) == (CPU, nn.BatchNorm2d)


@pytest.mark.parametrize(("rows", "count", "unit"), [(10, 4, 1), (2, 3, 1), (9, 2, 3), (0, 2, 1), (128, 5, 2)])
def test_shares_cover_all_rows_in_order_and_in_whole_units(rows: int, count: int, unit: int) -> None:
    shares = [Ranks(rank, count).share(rows, unit) for rank in range(count)]
    assert np.concatenate([np.arange(rows)[share] for share in shares]).tolist() == list(range(rows))
    assert all(share.start % unit == 0 for share in shares if share.start < rows)


def test_the_shares_of_an_epoch_contain_every_row_once() -> None:
    of_each = [Ranks(rank, 3).epoch(10, 4) for rank in range(3)]
    assert sorted(np.concatenate([numbers for numbers, _ in of_each]).tolist()) == list(range(10))
    assert [sizes for _, sizes in of_each] == [[2, 2, 1], [2, 2, 1], [0, 0, 0]]
    assert of_each[1][0].tolist() == [2, 3, 6, 7, 9]


def test_a_share_gets_the_dropout_masks_that_its_rows_have_in_the_whole_batch() -> None:
    cnn = CNNF(4, input_size=16, width=1 / 16, hidden=0.01)
    pictures = torch.rand(6, 3, 16, 16)
    torch.manual_seed(3)
    whole = cnn(pictures)
    drawn = torch.get_rng_state()
    torch.manual_seed(3)
    part = cnn(pictures[2:5], (2, 6))
    torch.testing.assert_close(part, whole[2:5])
    assert torch.equal(torch.get_rng_state(), drawn)


def test_a_batch_that_cannot_be_shared_evenly_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("models.lsgan.train.here", lambda: Ranks(0, 3))
    with pytest.raises(ValueError, match="batch_size is 8; 3 ranks need a multiple of 3"):
        train(*garments(), NAMES, PLAIN, tmp_path, CPU)


@pytest.mark.parametrize("name", ["mps", "cuda:1"])
def test_a_device_that_ranks_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=f"device '{name}' cannot be shared by 2 ranks"), joined(torch.device(name)):
        pass


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL"),
]
