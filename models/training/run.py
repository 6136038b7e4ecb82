"""State that the training runs of all recommenders share: epochs done, the best of them, and early stopping."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.training import checkpoint
from models.training.deciding import AUC

FORMAT = 1  # version of last.pt and best.pt


@dataclass
class TrainingRun:
    """Epochs done and the best one on validation. `settings` has `epochs` and `early_stopping_patience`."""

    settings: Any
    data_digest: str
    epoch: int = field(default=0, kw_only=True)  # finished epochs
    best_epoch: int = field(default=0, kw_only=True)
    best_auc: float = field(default=-math.inf, kw_only=True)  # validation AUC of the best epoch
    selected_by: str = field(default=AUC, kw_only=True)  # figure that decides: `validation_<selected_by>` of a row
    best_value: float = field(default=-math.inf, kw_only=True)  # of that figure, if it is not the AUC
    history: list[dict[str, float]] = field(default_factory=list, kw_only=True)

    def note(self, row: dict[str, float]) -> bool:
        """Record an epoch's metrics; True if it is the best so far. Without validation pairs, the last one is."""
        self.epoch += 1
        self.history.append(row)
        value = row[f"validation_{self.selected_by}"]
        better = value > (self.best_auc if self.selected_by == AUC else self.best_value) or math.isnan(value)
        if better:
            self.best_epoch, self.best_auc, self.best_value = self.epoch, row["validation_auc"], value
        return better

    @property
    def planned(self) -> int:
        """Return the number of epochs to train."""
        return self.settings.epochs

    def finished(self) -> bool:
        """Return whether all epochs are done, or as many have passed without a better one as patience allows."""
        patience = self.settings.early_stopping_patience
        exhausted = patience is not None and self.epoch - self.best_epoch >= patience
        return exhausted or self.epoch >= self.planned

    def counters(self) -> dict[str, Any]:
        """Return the data digest, the epochs and the history, for last.pt."""
        counts = {"epoch": self.epoch, "best_epoch": self.best_epoch, "best_auc": self.best_auc}
        chosen = {"selected_by": self.selected_by, "best_value": self.best_value}
        return {"data_digest": self.data_digest, **counts, **chosen, "history": self.history}

    def restore_counters(self, state: Mapping[str, Any]) -> None:
        """Continue from what `counters` returned; a run from before `selected_by` goes on choosing by the AUC."""
        self.epoch, self.history = state["epoch"], state["history"]
        self.best_epoch, self.best_auc = state["best_epoch"], state["best_auc"]
        self.selected_by = state.get("selected_by", AUC)
        self.best_value = state.get("best_value", self.best_auc)


def refuse_other(
    path: Path,
    state: Mapping[str, Any],
    run: TrainingRun,
    may_change: tuple[str, ...],
    *,
    shown: Callable[[str], str] = str,
    data: str = "data set",
) -> None:
    """Raise ValueError listing every difference unless the checkpoint `state` from `path` belongs to `run`.

    `may_change`: settings that a resumed run may change. `shown`: formats the name of a setting.
    """
    theirs, ours = state.get("settings", {}), run.settings.plain()
    fixed = {name: value for name, value in ours.items() if name not in may_change}
    found = checkpoint.differences(theirs, fixed, shown)
    if state.get("data_digest") != run.data_digest:
        found.append(f"{data}: {str(state.get('data_digest'))[:12]} there, {run.data_digest[:12]} here")
    if state.get("format") != FORMAT:
        found.append(f"format: {state.get('format')!r} there, {FORMAT} here")
    checkpoint.refuse_differences(path, found)


def expect_format(path: Path, state: Mapping[str, Any]) -> None:
    """Raise ValueError if another version of this package wrote the file."""
    if state.get("format") != FORMAT:
        raise ValueError(f"{path}: format {state.get('format')!r}, {FORMAT} was expected; train the model again")
