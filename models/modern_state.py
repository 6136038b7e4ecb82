"""What a run of `modern` keeps on disk, and the terms on which it may be gone on with.

Two files: best.pt is the model, last.pt the whole state of training. How bytes reach the disk is `checkpoint.py`;
when they are written, `train_modern.py`.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from models import checkpoint
from models.modern import Modern, Space
from models.modern_settings import MAY_CHANGE, ModernSettings

LAST, BEST = "last.pt", "best.pt"
_FORMAT = 1


@dataclass
class Run:
    """One training run: the model, what trains it, how far it is, and its best epoch on validation."""

    settings: ModernSettings
    data_digest: str
    model: Modern
    adam: torch.optim.Optimizer
    epoch: int = 0  # finished epochs
    best_epoch: int = 0
    best_auc: float = -math.inf
    history: list[dict[str, float]] = field(default_factory=list)

    def note(self, row: dict[str, float]) -> bool:
        """Take an epoch's figures; True when it is the best so far (without validation pairs, the last one is)."""
        self.epoch += 1
        self.history.append(row)
        auc = row["validation_auc"]
        better = auc > self.best_auc or math.isnan(auc)
        if better:
            self.best_epoch, self.best_auc = self.epoch, auc
        return better

    def finished(self) -> bool:
        """Whether all epochs are done, or as many have passed without a better one as patience allows."""
        patience = self.settings.early_stopping_patience
        exhausted = patience is not None and self.epoch - self.best_epoch >= patience
        return exhausted or self.epoch >= self.settings.epochs

    def _common(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "settings": self.settings.plain(),
            "data_digest": self.data_digest,
            "epoch": self.epoch,
            "model": self.model.state_dict(),
        }

    def save_best(self, out: Path) -> None:
        """Write best.pt: what `load` gives, without the optimiser's state."""
        figures = {name: self.history[-1][name] for name in ("validation_auc", "popularity_weight")}
        checkpoint.save(out / BEST, {**self._common(), **figures})

    def save_last(self, out: Path) -> None:
        """Write last.pt: all that the next epoch depends on."""
        rest = {"best_epoch": self.best_epoch, "best_auc": self.best_auc, "history": self.history}
        checkpoint.save(out / LAST, {**self._common(), **rest, "optimiser": self.adam.state_dict()})

    def resume(self, out: Path) -> int:
        """Go on with out/last.pt where there is one; how many epochs it had done. ValueError lists differences."""
        path = out / LAST
        if not path.exists():
            return 0
        state = checkpoint.load(path)
        _refuse_other(path, state, self.settings, self.data_digest)
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["optimiser"])
        self.epoch, self.history = state["epoch"], state["history"]
        self.best_epoch, self.best_auc = state["best_epoch"], state["best_auc"]
        return self.epoch


def load(folder: Path, device: torch.device) -> tuple[Modern, dict[str, Any]]:
    """The model of a run's best epoch, in eval mode on `device`, and meta.

    meta: settings (ModernSettings), epoch, validation_auc, popularity_weight, data_digest. Raises FileNotFoundError or
    ValueError naming the file.
    """
    path = Path(folder) / BEST
    state = checkpoint.load(path)
    if state.get("format") != _FORMAT:
        raise ValueError(f"{path}: format {state.get('format')!r}, {_FORMAT} was expected; train the model again")
    settings = ModernSettings.from_plain(state["settings"])
    weights = state["model"]
    users = len(weights["gamma"]) if "gamma" in weights else 0
    items = max((len(weights[name]) for name in ("item_id", "item_bias") if name in weights), default=0)
    model = Modern(users, items, Space(weights["centre"].numpy(), weights["basis"].numpy()), settings)
    model.load_state_dict(weights)
    names = ("epoch", "validation_auc", "popularity_weight", "data_digest")
    return model.to(device).eval(), {"settings": settings, **{name: state[name] for name in names}}


def _refuse_other(path: Path, state: dict, settings: ModernSettings, data_digest: str) -> None:
    theirs, ours = state.get("settings", {}), settings.plain()
    differences = [
        f"{name} {theirs.get(name)!r} there, {ours[name]!r} here"
        for name in ours
        if name not in MAY_CHANGE and theirs.get(name) != ours[name]
    ]
    if state.get("data_digest") != data_digest:
        differences.append(f"data set or features: {str(state.get('data_digest'))[:12]} there, {data_digest[:12]} here")
    if state.get("format") != _FORMAT:
        differences.append(f"format: {state.get('format')!r} there, {_FORMAT} here")
    if differences:
        raise ValueError(
            f"{path} is a checkpoint of another run; give the new run a folder of its own, or mend these:\n  "
            + "\n  ".join(differences)
        )
