"""What every recommender's training run shares: epochs counted and the best one known, a checkpoint of another run
refused, a loss that is no number stopped.

What a run trains and keeps is its own state module's; the loops themselves are `train_dvbpr.py` and `train_modern.py`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LAST, BEST = "last.pt", "best.pt"  # the whole state of training; the model alone
FORMAT = 1  # of both files


class DivergedError(RuntimeError):
    """The loss is no number any more. The checkpoints of the last good epoch are untouched."""


@dataclass
class TrainingRun:
    """How far a run is, and its best epoch on validation. `settings` has epochs and early_stopping_patience."""

    settings: Any
    data_digest: str
    epoch: int = field(default=0, kw_only=True)  # finished epochs
    best_epoch: int = field(default=0, kw_only=True)
    best_auc: float = field(default=-math.inf, kw_only=True)
    history: list[dict[str, float]] = field(default_factory=list, kw_only=True)

    def note(self, row: dict[str, float]) -> bool:
        """Take an epoch's figures; True when it is the best so far (without validation pairs, the last one is)."""
        self.epoch += 1
        self.history.append(row)
        auc = row["validation_auc"]
        better = auc > self.best_auc or math.isnan(auc)
        if better:
            self.best_epoch, self.best_auc = self.epoch, auc
        return better

    @property
    def planned(self) -> int:
        """How many epochs there are to be."""
        return self.settings.epochs

    def finished(self) -> bool:
        """Whether all epochs are done, or as many have passed without a better one as patience allows."""
        patience = self.settings.early_stopping_patience
        exhausted = patience is not None and self.epoch - self.best_epoch >= patience
        return exhausted or self.epoch >= self.planned

    def standing(self) -> dict[str, Any]:
        """What last.pt keeps of the above."""
        figures = {"epoch": self.epoch, "best_epoch": self.best_epoch, "best_auc": self.best_auc}
        return {"data_digest": self.data_digest, **figures, "history": self.history}

    def stand(self, state: Mapping[str, Any]) -> None:
        """Be where `standing` says."""
        self.epoch, self.history = state["epoch"], state["history"]
        self.best_epoch, self.best_auc = state["best_epoch"], state["best_auc"]


def refuse_other(
    path: Path,
    state: Mapping[str, Any],
    run: TrainingRun,
    may_change: tuple[str, ...],
    *,
    shown: Callable[[str], str] = str,
    data: str = "data set",
) -> None:
    """Raise ValueError, listing every difference, unless the checkpoint at `path` is one of `run`.

    `may_change`: settings in which the parts of one run may differ. `shown`: how a setting's name is printed.
    """
    theirs, ours = state.get("settings", {}), run.settings.plain()
    differences = [
        f"{shown(name)} {theirs.get(name)!r} there, {ours[name]!r} here"
        for name in ours
        if name not in may_change and theirs.get(name) != ours[name]
    ]
    if state.get("data_digest") != run.data_digest:
        differences.append(f"{data}: {str(state.get('data_digest'))[:12]} there, {run.data_digest[:12]} here")
    if state.get("format") != FORMAT:
        differences.append(f"format: {state.get('format')!r} there, {FORMAT} here")
    if differences:
        raise ValueError(
            f"{path} is a checkpoint of another run; give the new run a folder of its own, or mend these:\n  "
            + "\n  ".join(differences)
        )


def expect_format(path: Path, state: Mapping[str, Any]) -> None:
    """Raise ValueError when a file was written by another version."""
    if state.get("format") != FORMAT:
        raise ValueError(f"{path}: format {state.get('format')!r}, {FORMAT} was expected; train the model again")


def stop_if_diverged(losses: Tensor, epoch: int, out: Path, mend: str) -> None:
    """Raise DivergedError, naming the step, when one of an epoch's losses [steps] is not finite; waits for it."""
    finite = torch.isfinite(losses)
    if not bool(finite.all()):
        step = int(finite.logical_not().nonzero()[0]) + 1
        raise DivergedError(
            f"epoch {epoch}, step {step} of {len(losses)}: the loss is not a number; {kept(out)}. {mend}"
        )


def kept(out: Path) -> str:
    """What is on disk after a divergence, in words."""
    last = out / LAST
    return f"the last good epoch is kept in {last}" if last.is_file() else "no epoch was finished, nothing was written"
