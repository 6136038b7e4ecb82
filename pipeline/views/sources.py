"""The materialisation that a figure came from."""

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
    mlflow_page: str | None = None  # of the run, behind the address of MLflow's UI

    @property
    def id(self) -> str:
        """Its anchor on the page of sources."""
        return f"{self.asset}.{self.partition}" if self.partition else self.asset

    @property
    def name(self) -> str:
        """As Dagster writes it."""
        return f"{self.asset}[{self.partition}]" if self.partition else self.asset
