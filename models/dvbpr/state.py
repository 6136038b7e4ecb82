"""The state of a DVBPR run on disk, and the conditions for resuming it.

best.pt holds the model (weights, theta, settings), last.pt the whole state of training.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.dvbpr.cnnf import CNNF
from models.dvbpr.objective import initial_theta
from models.dvbpr.settings import ARCHITECTURE, MAY_CHANGE, DvbprSettings
from models.training import checkpoint
from models.training.checkpoint import BEST, LAST
from models.training.ranks import ALONE, Ranks
from models.training.run import FORMAT, TrainingRun, expect_format, refuse_other


def build(settings: DvbprSettings, users: int, device: torch.device) -> tuple[CNNF, nn.Parameter]:
    """Build the untrained network and theta; a seed gives the same values on every device."""
    generator = torch.Generator().manual_seed(settings.seed)
    cnn = CNNF(
        settings.k,
        input_size=settings.input_size,
        padding=settings.padding,
        width=settings.width,
        hidden=settings.hidden,
        dropout=settings.dropout,
        generator=generator,
    )
    theta = initial_theta(users, settings.k, generator)
    # channels_last is the bank's own order; measured 10 % faster on two AVX2 cores, more on a GPU.
    cnn = cnn.to(memory_format=torch.channels_last).to(device)
    return cnn, nn.Parameter(theta.detach().to(device))


@dataclass
class DvbprRun(TrainingRun):
    """A training run of DVBPR: the model, its optimiser and its device. All ranks must call the same methods."""

    settings: DvbprSettings
    users: np.ndarray  # [U] int32, global ids of theta's rows
    cnn: CNNF
    theta: nn.Parameter  # [U, k]
    adam: torch.optim.Optimizer
    device: torch.device
    ranks: Ranks = ALONE  # the first one writes

    def expect_same(self) -> None:
        """Raise RuntimeError unless all ranks have the same data, settings, weights and number of epochs."""
        weights = [*self.cnn.parameters(), self.theta]
        self.ranks.expect_same("data, settings or weights", weights, f"{self.data_digest} {self.settings} {self.epoch}")

    def save_best(self, out: Path) -> None:
        """Write best.pt: the model as `load` reads it, without the optimiser's state."""
        if not self.ranks.first:
            return
        state = {
            "format": FORMAT,
            "settings": self.settings.plain(),
            "epoch": self.epoch,
            "validation_auc": self.best_auc,
            "data_digest": self.data_digest,
            "cnn": self.cnn.state_dict(),
            "theta": self.theta.detach(),
            "users": torch.from_numpy(self.users),
        }
        checkpoint.save(out / BEST, state)

    def save_last(self, out: Path) -> None:
        """Write last.pt, all that the next epoch depends on, after checking that all ranks have the same weights."""
        self.expect_same()
        if self.ranks.first:
            self._write_last(out)
        self.ranks.wait()

    def _write_last(self, out: Path) -> None:
        state = {
            "format": FORMAT,
            "settings": self.settings.plain(),
            **self.counters(),
            "cnn": self.cnn.state_dict(),
            "theta": self.theta.detach(),
            "optimiser": self.adam.state_dict(),
            "rng": torch.get_rng_state(),
            "rng_device": _device_rng(self.device),
        }
        checkpoint.save(out / LAST, state)

    @torch.no_grad()
    def start_from(self, folder: Path) -> None:
        """Start from the model in `folder`: its network, and its theta by user id.

        Users that it does not know keep a new user's factors. Adam's moments and the epoch count start at zero. Raises
        ValueError listing every difference if the model has another shape or method, FileNotFoundError without a model.
        """
        path = Path(folder) / BEST
        state = checkpoint.load(path)
        refuse_other(path, {**state, "data_digest": self.data_digest}, self, MAY_CHANGE, shown=_shown)
        with checkpoint.restoring(path):
            self.cnn.load_state_dict(state["cnn"])
            _, here, there = np.intersect1d(self.users, state["users"].numpy(), return_indices=True)
            self.theta[torch.from_numpy(here).to(self.device)] = state["theta"][torch.from_numpy(there)].to(self.device)

    @torch.no_grad()
    def resume(self, out: Path) -> int:
        """Load out/last.pt if it exists, and return the number of finished epochs.

        Raises ValueError listing every difference if it has another architecture, method or data set.
        """
        path = out / LAST
        if not path.exists():
            return 0
        state = checkpoint.load(path)
        refuse_other(path, state, self, MAY_CHANGE, shown=_shown)
        with checkpoint.restoring(path):
            self.cnn.load_state_dict(state["cnn"])
            self.theta.copy_(state["theta"])
            self.adam.load_state_dict(state["optimiser"])
            torch.set_rng_state(state["rng"])
            if state["rng_device"] is not None and self.device.type == "cuda":
                torch.cuda.set_rng_state(state["rng_device"], self.device)
            elif state["rng_device"] is not None and self.device.type == "mps":
                torch.mps.set_rng_state(state["rng_device"])
            self.restore_counters(state)
        return self.epoch


def load(folder: Path, device: torch.device) -> tuple[CNNF, Tensor, dict]:
    """Load the model of a run's best epoch: (network in eval mode, theta [users, k], meta), on `device`.

    meta: settings (DvbprSettings), epoch, validation_auc, data_digest, users (global ids of theta's rows, int32),
    input_size, resize_filter. Raises FileNotFoundError or ValueError naming the file.
    """
    path = Path(folder) / BEST
    state = checkpoint.load(path)
    expect_format(path, state)
    with checkpoint.restoring(path):
        settings = DvbprSettings.from_plain(state["settings"])
        theta = state["theta"].to(device)
        cnn, _ = build(settings, 0, device)
        cnn.load_state_dict(state["cnn"])
        meta = {
            "settings": settings,
            "epoch": state["epoch"],
            "validation_auc": state["validation_auc"],
            "data_digest": state["data_digest"],
            "users": state["users"].numpy(),
            "input_size": settings.input_size,
            "resize_filter": settings.resize_filter,
        }
    return cnn.eval(), theta, meta


def _device_rng(device: torch.device) -> Tensor | None:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


def _shown(setting: str) -> str:
    return f"{'shape' if setting in ARCHITECTURE else 'method'}: {setting}"
