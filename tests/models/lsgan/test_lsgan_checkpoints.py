"""Checkpoints of LSGAN training: the best one by a metric, and a state from which any interrupted run resumes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.lsgan.networks import Generator
from models.lsgan.settings import LsganSettings
from models.lsgan.train import Measure, TrainedGenerator, load_generator, train
from models.training import checkpoint

NAMES = ("tops", "pants")
TINY = LsganSettings(
    width=0.0625, z_dim=6, classes=2, batch_size=4, steps=8, tick_steps=2, metric_ticks=1, grid_columns=2,
    minimum_class=4, lr_generator=1e-3, lr_discriminator=1e-3,
)  # fmt: skip
SWITCHES = {
    "spectral norm": {"spectral_norm": True},
    "R1": {"r1": 0.1, "r1_every": 3},
    "relativistic": {"loss": "relativistic"},
    "smooth upsampling": {"smooth_upsampling": True},
    "augmenting as needed, joint batches": {
        "augment": "color,mirror", "augment_target": 0.2, "augment_ramp": 40, "joint_batches": True,
    },
    "bf16 and contiguous": {"bf16": True, "channels_last": False},
    "all": {"spectral_norm": True, "r1": 0.1, "r1_every": 3, "loss": "relativistic", "bf16": True, "balanced": True,
            "augment": "color,translation,cutout", "ema_half_life": 20.0},
}  # fmt: skip


def garments() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (14, 64, 64, 3), dtype=np.uint8), np.array([0] * 9 + [1] * 5)


def trained(folder: Path, settings: LsganSettings = TINY, **more: object) -> TrainedGenerator:
    return train(*garments(), NAMES, settings, folder, "cpu", **more)  # type: ignore[arg-type]


def dip() -> tuple[Measure, list[dict[str, torch.Tensor]]]:
    """Return a metric that is best at the second tick, and the weights that it was called with."""
    shown: list[dict[str, torch.Tensor]] = []
    values = iter((3.0, 1.0, 2.0, 4.0))

    def of(generator: Generator) -> float:
        assert not generator.training
        shown.append({name: v.clone() for name, v in generator.state_dict().items()})
        return next(values)

    return Measure("dip_n4", of), shown


def state(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / "generator.pt")["generator"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("ema", [None, 20.0], ids=["weights", "averaged weights"])
def test_the_finished_generator_is_the_best_one_if_the_settings_select_it(tmp_path: Path, ema: float | None) -> None:
    measure, shown = dip()
    found = trained(tmp_path / "best", replace(TINY, select="best", ema_half_life=ema), measure=measure)
    assert (found.meta["selected_step"], found.meta["steps"]) == (4, 8)
    assert found.meta["best"] == {"step": 4, "metric": "dip_n4", "value": 1.0}
    assert [tick["dip_n4"] for tick in found.history] == [3.0, 1.0, 2.0, 4.0]
    assert same(state(tmp_path / "best"), shown[1])
    assert same(found.generator.state_dict(), shown[1])
    measure, shown = dip()
    last = trained(tmp_path / "last", replace(TINY, ema_half_life=ema), measure=measure)
    assert last.meta["selected_step"] == 8
    assert same(state(tmp_path / "last"), shown[3])
    assert checkpoint.load(tmp_path / "last" / "best.pt")["step"] == 4  # written nevertheless


def test_the_discriminator_is_from_the_same_checkpoint_as_the_generator(tmp_path: Path) -> None:
    measure, _ = dip()
    trained(tmp_path, replace(TINY, select="best"), measure=measure)
    _, discriminator, _ = load_generator(tmp_path)
    assert same(discriminator.state_dict(), checkpoint.load(tmp_path / "best.pt")["discriminator"])
    assert not same(discriminator.state_dict(), checkpoint.load(tmp_path / "last.pt")["discriminator"])


def test_without_a_metric_the_finished_generator_is_the_last_one(tmp_path: Path) -> None:
    found = trained(tmp_path, replace(TINY, select="best"))
    assert (found.meta["selected_step"], found.meta["best"]) == (8, None)
    assert not (tmp_path / "best.pt").exists()


def test_computing_the_metric_does_not_change_the_training(tmp_path: Path) -> None:
    measure, _ = dip()
    with_it = trained(tmp_path / "with", measure=measure)
    without = trained(tmp_path / "without")
    assert same(with_it.generator.state_dict(), without.generator.state_dict())


@pytest.mark.parametrize("switch", list(SWITCHES))
def test_a_run_interrupted_within_a_tick_resumes_bit_for_bit(tmp_path: Path, switch: str) -> None:
    settings = replace(TINY, steps=6, select="best", **SWITCHES[switch])
    values = {2: 2.0, 4: 1.0, 6: 3.0}
    steps: list[int] = []

    def measure(cut: bool) -> Measure:
        left = iter([2] if cut else [s for s in (2, 4, 6) if s not in steps])

        def of(_generator: Generator) -> float:
            step = next(left)  # StopIteration ends the interrupted run here, in its second tick
            if cut:
                steps.append(step)
            return values[step]

        return Measure("by_step", of)

    whole = trained(tmp_path / "whole", settings, measure=measure(cut=False))
    with pytest.raises(StopIteration):
        trained(tmp_path / "parts", settings, measure=measure(cut=True))
    assert checkpoint.load(tmp_path / "parts" / "last.pt")["step"] == 2
    torch.manual_seed(99)  # the global state must not matter
    resumed = trained(tmp_path / "parts", settings, measure=measure(cut=False))
    assert resumed.resumed_from == 2
    ends = [checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "parts")]
    for part in ("generator", "discriminator"):
        assert same(ends[0][part], ends[1][part])
    assert ends[0]["best"] == ends[1]["best"] == {"step": 4, "metric": "by_step", "value": 1.0}
    assert same(state(tmp_path / "whole"), state(tmp_path / "parts"))
    assert whole.meta["selected_step"] == resumed.meta["selected_step"] == 4


def test_another_setting_is_another_run(tmp_path: Path) -> None:
    trained(tmp_path)
    with pytest.raises(ValueError, match=r"loss 'least_squares' there, 'relativistic' here"):
        trained(tmp_path, replace(TINY, loss="relativistic"))
    again = trained(tmp_path, replace(TINY, resident=False, metric_ticks=2, select="best"))
    assert again.resumed_from == 8  # these settings may change within a run
