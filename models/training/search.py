"""Ranges of settings for a hyperparameter search, declared next to the settings. The search itself is elsewhere."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Values from `low` to `high` inclusive; integers if both ends are. `log`: uniform in the logarithm."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"a span from {self.low} to {self.high}{', in logarithms' if self.log else ''}: no range")

    @property
    def whole(self) -> bool:
        """Return whether the values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Choice:
    """One of a few values, in no order."""

    values: tuple[bool | int | float | str, ...]


Space = dict[str, Span | Choice]  # field of a settings dataclass to its range
