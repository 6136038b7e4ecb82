"""A training process killed at a random step resumes and ends with the weights of an uninterrupted one."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.factors import Factors
from models.dvbpr import train as train_dvbpr
from models.training import checkpoint
from tests.models.dvbpr.test_train_dvbpr import weights
from tests.models.planted import planted

ROOT = Path(__file__).parents[3]
KILLING = """
import os, signal, sys
from models.dvbpr import train as train_dvbpr
loss, left = train_dvbpr.dvbpr.loss, iter(range(int(sys.argv.pop(1)), -1, -1))
def deadly(*args):
    if next(left) == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(*args)
train_dvbpr.dvbpr.loss = deadly
sys.exit(train_dvbpr.main())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_process_killed_at_a_random_step_resumes_to_equal_weights(tmp_path: Path) -> None:
    planted().save(tmp_path / "data")
    killed_at = int(np.random.default_rng().integers(24))  # three epochs of eight steps
    knobs = ["--k", "4", "--input-size", "16", "--padding", "same", "--width", "0.0625", "--hidden", "0.016"]
    knobs += ["--epochs", "3", "--batch-size", "32", "--learning-rate", "0.002", "--device", "cpu"]

    def call(out: str) -> list[str]:
        return ["--data", str(tmp_path / "data"), "--out", str(tmp_path / out), *knobs]

    assert train_dvbpr.main(call("whole")) == 0
    killed = subprocess.run([sys.executable, "-c", KILLING, str(killed_at), *call("cut")], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL, killed_at
    last = tmp_path / "cut" / "last.pt"
    assert (checkpoint.load(last)["epoch"] if last.exists() else 0) == killed_at // 8
    assert train_dvbpr.main(call("cut")) == 0
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(one[key], other[key]) for key in one), f"killed at step {killed_at}"
    factors = [Factors.load(tmp_path / out / "factors.npz") for out in ("whole", "cut")]
    np.testing.assert_array_equal(factors[0].phi, factors[1].phi)
