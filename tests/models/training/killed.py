"""Simulate a crash of the machine after an epoch was written."""

from collections.abc import Callable

from models.training.progress import Progress


class KilledError(Exception):
    """The simulated crash."""


def kill_at(epoch: int) -> Callable[[Progress], None]:
    """Return an on_progress that raises KilledError when `epoch` has been written."""

    def on_progress(progress: Progress) -> None:
        if progress.metrics["epoch"] == epoch:
            raise KilledError

    return on_progress
