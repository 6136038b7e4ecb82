"""The error of every trainer whose loss is no longer a number, and the check for it."""

from pathlib import Path

import torch
from torch import Tensor

from models.training.checkpoint import LAST


class DivergedError(RuntimeError):
    """Training diverged. The checkpoint of the last good epoch or tick is untouched."""


def stop_if_diverged(losses: Tensor, epoch: int, out: Path, advice: str) -> None:
    """Raise DivergedError naming the step if one of an epoch's losses [steps] is not finite; waits for the device."""
    finite = torch.isfinite(losses)
    if not bool(finite.all()):
        step = int(finite.logical_not().nonzero()[0]) + 1
        raise DivergedError(
            f"epoch {epoch}, step {step} of {len(losses)}: the loss is not a number; {last_good_epoch(out)}. {advice}"
        )


def last_good_epoch(out: Path) -> str:
    """Say in words what is left on disk after a divergence."""
    last = out / LAST
    return f"the last good epoch is kept in {last}" if last.is_file() else "no epoch was finished, nothing was written"
