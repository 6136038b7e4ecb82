"""How a training run tells where it stands: steps done, pictures a second, seconds left.

Only counting and the clock; nothing here prints, and nothing here trains.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

_REPORT_EVERY = 1.0  # seconds between two reports inside an epoch


@dataclass(frozen=True)
class Progress:
    """Where training stands: `done` of `total` steps over all epochs."""

    done: int
    total: int
    note: str  # for people: "epoch 3 of 14"
    metrics: dict[str, float]  # epoch, loss, pictures_per_second, seconds_left; validation_auc when an epoch ends


class Clock:
    """Counts pictures and seconds of the training region alone (embedding and evaluation stand apart)."""

    def __init__(self, report: Callable[[Progress], None], steps: int, epochs: int, done: int, begun: int = 0) -> None:
        """`steps` an epoch, `done` of them all done; `begun` epochs went before the first of `epochs`."""
        self._report, self._total, self._epochs, self._done = report, steps * epochs, epochs, done
        self._begun = begun
        self._wall_start, self._done_start = time.perf_counter(), done
        self._epoch, self._pictures, self._rate, self._begin, self._told = 0, 0, 0.0, 0.0, 0.0

    def start(self, epoch: int) -> None:
        """An epoch begins."""
        self._epoch, self._pictures = epoch, 0
        self._begin = self._told = time.perf_counter()

    def tick(self, pictures: int) -> None:
        """A step of that many pictures was asked for."""
        self._done += 1
        self._pictures += pictures

    def due(self) -> bool:
        """Whether it is time to report again."""
        return time.perf_counter() - self._told >= _REPORT_EVERY

    def stop(self) -> dict[str, float]:
        """The epoch's figures; its losses were read just now, so the device has finished."""
        seconds = time.perf_counter() - self._begin
        self._rate = self._pictures / seconds
        return {"seconds": seconds, "pictures_per_second": self._rate}

    def tell(self, loss: float, **metrics: float) -> None:
        """Report where training stands."""
        now = time.perf_counter()
        self._told = now
        # Whole wall time a step, evaluation included: what the person who waits wants to know.
        left = (self._total - self._done) * (now - self._wall_start) / max(self._done - self._done_start, 1)
        rate = self._rate if metrics else self._pictures / (now - self._begin)
        figures = {"epoch": float(self._epoch), "loss": loss, "pictures_per_second": rate, "seconds_left": left}
        note = f"epoch {self._epoch} of {self._begun + self._epochs}"
        self._report(Progress(self._done, self._total, note, {**figures, **metrics}))
