"""Training on several ranks, as the assets start it: what is heard, a rank killed, a fault that no restart mends."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from models.data.dataset import Dataset
from models.dvbpr import train as train_dvbpr
from models.lsgan import train as train_lsgan
from models.training.progress import Progress
from pipeline.core.generator.measure import kernel_to_training
from pipeline.multi_gpu import launch as ranked
from tests.models.planted import planted
from tests.models.training.test_ranks import CPU, DVBPR, NAMES, PLAIN, garments, state
from tests.pipeline.conftest import made, materialise

ROOT = Path(__file__).parents[2]
LONG = """
import sys
from pathlib import Path
from models.data.dataset import Dataset
from pipeline.multi_gpu import launch as ranked
from tests.models.training.test_ranks import CPU, DVBPR
folder = Path(sys.argv[1])
hear = lambda progress: print("training", flush=True)
ranked.train_recommender(Dataset.load(folder / "bank"), DVBPR, folder / "out", CPU, hear, None, 2)
"""


def mapped(folder: Path, triplets: int = 256) -> Dataset:
    """The planted shop with its pictures in a file of somebody else's."""
    planted(triplets=triplets).save(folder)
    return Dataset.load(folder)


def kill_one_rank() -> None:
    (agent,) = psutil.Process().children()
    workers = agent.children()
    assert len(workers) == 2
    workers[-1].send_signal(signal.SIGKILL)


def test_a_rank_killed_from_outside_costs_an_epoch_at_most_and_the_curve_is_one_ranks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = mapped(tmp_path / "bank", triplets=4000)  # an epoch is long enough to be killed in
    heard: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        heard.append(progress)
        if progress.note.startswith("epoch 1") and "validation_auc" in progress.metrics:
            kill_one_rank()

    before = (tmp_path / "bank" / "bank.npy").read_bytes()
    trained = ranked.train_recommender(data, DVBPR, tmp_path / "two", CPU, on_progress, None, ranks=2)
    one = train_dvbpr.train(data, DVBPR, tmp_path / "one", CPU)
    assert (tmp_path / "bank" / "bank.npy").read_bytes() == before
    assert [row["loss"] for row in trained.history] == pytest.approx([row["loss"] for row in one.history], rel=1e-6)
    torch.testing.assert_close(state(tmp_path, "two")["theta"], state(tmp_path, "one")["theta"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(trained.factors.phi, one.factors.phi, rtol=1e-3, atol=1e-5)
    assert trained.notes[-1] == "by 2 ranks"
    assert [p.note for p in heard if "validation_auc" in p.metrics] == [f"epoch {n} of 3" for n in (1, 2, 3)]
    assert "a rank was lost; all 2 begin again at the last checkpoint (1 of 3 times)" in caplog.text
    assert not psutil.Process().children(recursive=True)


def test_a_generators_lost_rank_changes_no_bit_and_its_pictures_and_measure_are_heard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, (pixels, labels) = replace(PLAIN, steps=40, tick_steps=4, ema_half_life=20), garments()

    def made(name: str, on_progress: Callable[[Progress], None]) -> tuple[list[torch.Tensor], dict]:
        pictures: dict[int, np.ndarray] = {}
        ranked.train_generator(
            pixels, labels, NAMES, settings, tmp_path / name, CPU, on_progress, pictures.__setitem__, "digest", ranks=2
        )
        assert sorted(pictures) == list(range(0, 41, 4))
        assert all(picture.dtype == np.uint8 for picture in pictures.values())
        generator, _, meta = train_lsgan.load_generator(tmp_path / name)
        return list(generator.state_dict().values()), meta

    def deadly(progress: Progress) -> None:
        if progress.note == "tick 2":
            kill_one_rank()

    undisturbed, meta = made("undisturbed", lambda _: None)
    killed, _ = made("killed", deadly)
    assert "a rank was lost; all 2 begin again" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(undisturbed, killed, strict=True))
    measure = kernel_to_training(pixels, labels, settings, CPU)
    short = replace(settings, steps=4)
    one = train_lsgan.train(pixels, labels, NAMES, short, tmp_path / "one", CPU, data_digest="digest", measure=measure)
    assert meta["history"][0][measure.name] == pytest.approx(one.history[0][measure.name], rel=1e-2)


def test_a_fault_of_the_training_is_said_and_not_tried_again(tmp_path: Path) -> None:
    data = mapped(tmp_path / "bank")
    out = tmp_path / "out"
    train_dvbpr.train(data, replace(DVBPR, epochs=1), out, CPU)
    with pytest.raises(ranked.RanksFailedError, match=r"(?s)last\.pt is a checkpoint of another run.*learning_rate"):
        ranked.train_recommender(data, replace(DVBPR, learning_rate=1.0), out, CPU, lambda _: None, None, ranks=2)
    assert not psutil.Process().children(recursive=True)


def test_ranks_that_fail_every_time_are_heard_with_what_went_wrong_there(tmp_path: Path) -> None:
    data, too_wide = mapped(tmp_path / "bank"), replace(DVBPR, k=10**13)
    with pytest.raises(ranked.RanksFailedError, match=r"(?s)after 3 restarts.*allocate memory"):
        ranked.train_recommender(data, too_wide, tmp_path / "out", CPU, lambda _: None, None, ranks=2)


@pytest.mark.parametrize("killed", ["the process that started them", "their agent"])
def test_ranks_end_with(killed: str, tmp_path: Path) -> None:
    mapped(tmp_path / "bank", triplets=60_000)
    asking = subprocess.Popen([sys.executable, "-c", LONG, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert asking.stdout is not None
    assert asking.stdout.readline() == "training\n"
    (agent,) = psutil.Process(asking.pid).children()
    ranks = agent.children()
    assert len(ranks) == 2
    (asking if killed.startswith("the process") else agent).send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs([agent, *ranks], timeout=60)
    asking.wait(60)
    assert (len(gone), alive) == (3, [])


def test_the_assets_train_by_two_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictured = made(monkeypatch, tmp_path, "+key:catalogue")
    monkeypatch.setenv("ATELIER_RANKS", "2")
    materialise("key:triplets or key:dvbpr or key:garments or key:lsgan")
    for mode in ("vendor_single", "vendor_customer"):
        manifest = json.loads((pictured.model("recommender", mode) / "manifest.json").read_text())
        assert manifest["notes"][-1] == "by 2 ranks"
        assert [row["epoch"] for row in manifest["history"]] == [1, 2]
    run = json.loads((pictured.folder / "generator" / "current.json").read_text())["run"]
    _, _, meta = train_lsgan.load_generator(pictured.folder / "generator" / run)
    assert meta["steps"] == 4
    assert [name for name in meta["history"][-1] if name.startswith("kernel_to_training")]
