"""Adapt the resumable training loops of `models/` to the contract."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.recommenders.contract import FitContext, FitProgress, Fitted

if TYPE_CHECKING:
    from models.training.progress import Progress


def step_reporter(context: FitContext) -> "Callable[[Progress], None]":
    """Make the callback of a training loop: its progress becomes the context's steps."""

    from models.metrics import selection

    decides = f"validation_{selection.name_of(len(context.data.validation))}"

    def report(now: "Progress") -> None:
        auc = now.metrics.get("validation_auc")
        epoch = None if auc is None else int(now.metrics["epoch"])
        context.report(FitProgress(now.done, now.total, now.note, epoch, now.metrics.get(decides, auc)))

    return report


def fitted(trained: Any) -> Fitted:
    """Convert the result of a training loop to the contract's record."""
    details = {"history": trained.history, "best_epoch": trained.best_epoch, "resumed_from": trained.resumed_from}
    selected_by = getattr(trained, "selected_by", "auc")
    return Fitted(
        trained.factors,
        trained.history,
        trained.best_epoch,
        trained.validation_auc,
        getattr(trained, "notes", []),
        details | {"selected_by": selected_by},
        selected_by,
    )
