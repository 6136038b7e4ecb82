"""The source of a figure: the materialisation that it was read from."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Source:
    """The materialisation that a figure came from."""

    asset: str
    partition: str | None
    dagster_run: str
    mlflow_run: str | None
    when: datetime
    mlflow_page: str | None = None  # the run's page, relative to the address of MLflow's UI

    @property
    def id(self) -> str:
        """Return its anchor on the page of sources."""
        return f"{self.asset}.{self.partition}" if self.partition else self.asset

    @property
    def name(self) -> str:
        """Return its name as Dagster writes it."""
        return f"{self.asset}[{self.partition}]" if self.partition else self.asset
