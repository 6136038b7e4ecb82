"""The state of a run of `modern` on disk, and the conditions for resuming it.

best.pt holds the model, last.pt the whole state of training.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.modern.model import ModernNetwork, Space
from models.modern.settings import MAY_CHANGE, ModernSettings
from models.modern.trunk import Pixels
from models.training import checkpoint
from models.training.checkpoint import BEST, LAST
from models.training.run import FORMAT, TrainingRun, expect_format, refuse_other


@dataclass
class ModernRun(TrainingRun):
    """A training run of `modern`, on frozen features or with the trunk: the model and its optimiser."""

    settings: ModernSettings
    model: ModernNetwork
    adam: torch.optim.Optimizer
    pixels: Pixels | None = None  # set if the trunk is trained too

    @property
    def planned(self) -> int:
        """Return the number of epochs to train."""
        return self.settings.epochs if self.pixels is None else self.settings.trunk_epochs

    def _common(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "settings": self.settings.plain(),
            "data_digest": self.data_digest,
            "epoch": int(self.history[-1]["epoch"]),
            "model": self.model.state_dict(),
            "trunk": {} if self.pixels is None else self.pixels.weights(),
        }

    def save_best(self, out: Path) -> None:
        """Write best.pt: the model as `load` reads it, without the optimiser's state."""
        figures = {name: self.history[-1][name] for name in ("validation_auc", "popularity_weight")}
        checkpoint.save(out / BEST, {**self._common(), **figures})

    def save_last(self, out: Path) -> None:
        """Write last.pt, all that the next epoch depends on."""
        checkpoint.save(out / LAST, {**self._common(), **self.counters(), "optimiser": self.adam.state_dict()})

    def resume(self, out: Path) -> int:
        """Load out/last.pt if it exists, and return the number of finished epochs.

        Raises ValueError listing every difference if it belongs to another run.
        """
        path = out / LAST
        if not path.exists():
            return 0
        state = checkpoint.load(path)
        refuse_other(path, state, self, MAY_CHANGE, data="data set or features")
        with checkpoint.restoring(path):
            self.model.load_state_dict(state["model"])
            if self.pixels is not None:
                self.pixels.restore(state["trunk"])
            self.adam.load_state_dict(state["optimiser"])
            self.restore_counters(state)
        return self.epoch


def load(folder: Path, device: torch.device) -> tuple[ModernNetwork, dict[str, Any]]:
    """Load the model of a run's best epoch, in eval mode on `device`, and meta.

    meta: settings (ModernSettings), epoch, validation_auc, popularity_weight, data_digest, and trunk: the trunk's
    weights that training changed, by name (empty for frozen features). Raises FileNotFoundError or ValueError naming
    the file.
    """
    path = Path(folder) / BEST
    state = checkpoint.load(path)
    expect_format(path, state)
    with checkpoint.restoring(path):
        settings = ModernSettings.from_plain(state["settings"])
        weights = state["model"]
        users = len(weights["gamma"]) if "gamma" in weights else 0
        items = max((len(weights[name]) for name in ("item_id", "item_bias") if name in weights), default=0)
        model = ModernNetwork(users, items, Space(weights["centre"].numpy(), weights["basis"].numpy()), settings)
        model.load_state_dict(weights)
        names = ("epoch", "validation_auc", "popularity_weight", "data_digest")
        meta = {"settings": settings, "trunk": state.get("trunk", {}), **{name: state[name] for name in names}}
    return model.to(device).eval(), meta
