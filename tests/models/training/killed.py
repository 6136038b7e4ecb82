"""A machine that goes down in a training: after an epoch was written, before the next one is."""

from collections.abc import Callable

from models.training.progress import Progress


class KilledError(Exception):
    """The machine is down."""


def kill_at(epoch: int) -> Callable[[Progress], None]:
    """An on_progress that raises when `epoch` has been written."""

    def on_progress(progress: Progress) -> None:
        if progress.metrics["epoch"] == epoch:
            raise KilledError

    return on_progress
