"""How LSGAN training tells where it stands: steps done, pictures a second, seconds left.

Only counting and the clock; nothing here prints, and nothing here trains.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from models.lsgan.state import LsganRun


@dataclass(frozen=True)
class Progress:
    """Where a run stands: `done` of `total` steps; `metrics` are means over the last whole tick."""

    done: int
    total: int
    note: str
    metrics: dict[str, float]
    seconds_left: float


class Clock:
    """Seconds of training and of upkeep, apart; reports about once a second between ticks, and at each of them."""

    def __init__(self, report: Callable[[Progress], None] | None, total: int, run: LsganRun) -> None:
        self.report, self.total, self.run = report, total, run
        self.metrics: dict[str, float] = dict(run.history[-1]) if run.history else {}
        self.begin, self.first, self.seconds_a_step = time.perf_counter(), run.step, 0.0
        self.told = self.begin

    @property
    def steps(self) -> int:
        """Steps of this tick so far."""
        return self.run.step - self.first

    def between_ticks(self) -> None:
        """A step was taken that ends no tick."""
        now = time.perf_counter()
        if self.report is not None and now - self.told > 1:
            self.told = now
            self._tell("training", self.seconds_a_step or (now - self.begin) / self.steps)

    def read(self, means: list[float]) -> dict[str, float]:
        """The tick's means under their names, with the speed of training alone."""
        names = ("loss_discriminator", "loss_generator", "output_real", "output_fake")
        pictures = self.steps * self.run.settings.batch_size
        return {
            **dict(zip(names, means, strict=True)),
            "pictures_per_second": pictures / (time.perf_counter() - self.begin),
        }

    def tick(self, tick: int, metrics: dict[str, float]) -> None:
        """A tick's upkeep is done; the next begins."""
        self.metrics = metrics
        self.seconds_a_step = (time.perf_counter() - self.begin) / self.steps  # upkeep included: what the waiting takes
        if self.report is not None:
            self._tell(f"tick {tick}", self.seconds_a_step)
        self.begin = self.told = time.perf_counter()
        self.first = self.run.step

    def _tell(self, note: str, seconds_a_step: float) -> None:
        assert self.report is not None
        left = (self.total - self.run.step) * seconds_a_step
        self.report(Progress(self.run.step, self.total, note, self.metrics, left))
