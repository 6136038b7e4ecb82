"""A machine that goes down in a training: after an epoch was written, before the next one is."""

from collections.abc import Callable

from models.dvbpr import train as train_dvbpr
from models.modern import train as train_modern


class KilledError(Exception):
    """The machine is down."""


def kill_at(epoch: int) -> Callable[[train_dvbpr.Progress | train_modern.Progress], None]:
    """An on_progress that raises when `epoch` has been written."""

    def on_progress(progress: train_dvbpr.Progress | train_modern.Progress) -> None:
        if progress.metrics["epoch"] == epoch:
            raise KilledError

    return on_progress
