"""Progress of long work, and the clock that measures a training loop. Printing does not belong here."""

import time
from collections.abc import Callable
from dataclasses import dataclass

_REPORT_EVERY = 1.0  # seconds between two reports inside an epoch or a tick


@dataclass(frozen=True)
class Progress:
    """How far the work is: `done` of `total` steps, settings or latents."""

    done: int
    total: int
    note: str  # e.g. "epoch 3 of 14"
    metrics: dict[str, float]
    seconds_left: float | None = None


class Clock:
    """Count a training's steps, pictures and seconds, and report its progress.

    A lap, i.e. an epoch or a tick, runs from `start` to `stop`. The work after `stop`, e.g. evaluation and checkpoints,
    does not lower the speed but counts towards the time left.
    """

    def __init__(self, on_progress: Callable[[Progress], None] | None, total: int, done: int) -> None:
        """`done` of `total` steps were taken before, by the run that this one resumes."""
        self._on_progress, self._total, self._done = on_progress, total, done
        self._resumed_at, self._created = done, time.perf_counter()
        self.start()

    def start(self) -> None:
        """Start a lap."""
        self.steps, self._pictures = 0, 0
        self._speed: float | None = None
        self._started = self._reported = time.perf_counter()

    def step(self, pictures: int) -> None:
        """Count a step of this many pictures; `steps` counts those of the lap."""
        self._done += 1
        self.steps += 1
        self._pictures += pictures

    def stop(self) -> dict[str, float]:
        """End the lap and return its seconds and pictures per second.

        Read the losses first: that waits until the device has finished.
        """
        seconds = time.perf_counter() - self._started
        self._speed = self._pictures / seconds
        return {"seconds": seconds, "pictures_per_second": self._speed}

    @property
    def pictures_per_second(self) -> float:
        """Compute the speed of the lap: up to now, or up to `stop`."""
        return self._pictures / (time.perf_counter() - self._started) if self._speed is None else self._speed

    def due(self) -> bool:
        """Return whether the last report is a second old."""
        return time.perf_counter() - self._reported >= _REPORT_EVERY

    def report_epoch(self, epoch: int, epochs: int, loss: float, **more: float) -> None:
        """Report the progress within or after an epoch, from 1; `more` are metrics of a finished epoch."""
        metrics = {"epoch": float(epoch), "loss": loss, "pictures_per_second": self.pictures_per_second, **more}
        self.report(f"epoch {epoch} of {epochs}", metrics)

    def report(self, note: str, metrics: dict[str, float]) -> None:
        """Report the progress, if anybody asked for it."""
        self._reported = time.perf_counter()
        seconds_per_step = (self._reported - self._created) / max(self._done - self._resumed_at, 1)
        if self._on_progress is not None:
            left = (self._total - self._done) * seconds_per_step
            self._on_progress(Progress(self._done, self._total, note, metrics, left))
