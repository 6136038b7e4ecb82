"""Training that starts from an earlier model takes over its network and user factors, or refuses it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.dataset import Dataset
from models.dvbpr.state import DvbprRun, build
from models.dvbpr.train import train
from models.training import checkpoint
from models.training.checkpoint import BEST
from tests.models.dvbpr.test_train_dvbpr import CPU, TINY, weights
from tests.models.planted import planted
from tests.models.training.killed import KilledError, kill_at


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    train(planted(), TINY, folder, CPU)
    return folder


def started(data: Dataset, start: Path) -> DvbprRun:
    cnn, theta = build(TINY, len(data.users), CPU)
    run = DvbprRun(TINY, data.digest(), data.users, cnn, theta, torch.optim.Adam([theta]), CPU)
    run.start_from(start)
    return run


def test_users_keep_their_factors_by_id_even_if_their_row_changes(earlier: Path):
    data = planted()
    there = dict(zip(data.users.tolist(), checkpoint.load(earlier / BEST)["theta"], strict=True))
    users = np.concatenate([[7], data.users[5:], [900]])  # two users are new, and five are gone
    moved = replace(planted(users=len(users)), users=users)
    run = started(moved, earlier)
    _, new = build(TINY, len(users), CPU)
    for row, user in enumerate(users.tolist()):
        wanted = there[user] if user in there else new[row]
        assert torch.equal(run.theta[row].detach(), wanted.detach()), user


def test_the_network_is_taken_over_and_moments_and_epochs_start_at_zero(earlier: Path):
    run = started(planted(), earlier)
    known = checkpoint.load(earlier / BEST)["cnn"]
    assert all(torch.equal(value, known[name]) for name, value in run.cnn.state_dict().items())
    assert (run.epoch, run.history, run.adam.state_dict()["state"]) == (0, [], {})


def test_a_warm_start_begins_where_the_earlier_training_ended(earlier: Path, tmp_path: Path):
    data = planted(seed=0)
    cold = train(data, replace(TINY, epochs=1), tmp_path / "cold", CPU)
    warm = train(data, replace(TINY, epochs=1), tmp_path / "warm", CPU, start=earlier)
    assert warm.history[0]["loss"] < cold.history[0]["loss"]


def test_an_interrupted_warm_start_ends_with_the_weights_of_an_uninterrupted_one(earlier: Path, tmp_path: Path):
    train(planted(), TINY, tmp_path / "whole", CPU, start=earlier)
    with pytest.raises(KilledError):
        train(planted(), TINY, tmp_path / "cut", CPU, on_progress=kill_at(2), start=earlier)
    assert train(planted(), TINY, tmp_path / "cut", CPU, start=earlier).resumed_from > 0
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_model_of_another_shape_or_method_is_refused(earlier: Path, tmp_path: Path):
    for other in (replace(TINY, k=8), replace(TINY, theta_decay=0.5)):
        with pytest.raises(ValueError, match=r"(shape: k 4 there, 8 here|method: theta_decay 0.01 there, 0.5 here)"):
            train(planted(), other, tmp_path, CPU, start=earlier)
    with pytest.raises(FileNotFoundError):
        train(planted(), TINY, tmp_path, CPU, start=tmp_path / "nowhere")
