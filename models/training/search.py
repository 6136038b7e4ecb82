"""How a range of settings is written down: data beside the settings, for whoever searches.

Only the notation: a search, its sampler and its store are elsewhere.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """From `low` to `high`, both included; whole numbers where both are. `log`: evenly by factors, not by steps."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"a span from {self.low} to {self.high}{', in logarithms' if self.log else ''}: no range")

    @property
    def whole(self) -> bool:
        """Whether it is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Choice:
    """One of a few values without an order."""

    values: tuple[bool | int | float | str, ...]


Space = dict[str, Span | Choice]  # field of a settings dataclass -> what it may be
