"""The output of `pipeline.run`: a line per finished stage, and a bar for the running one.

It is a Dagster logger, so that it receives every step's events; the same events are in the UI.
"""

import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg
from rich.console import Console
from rich.markup import escape

from pipeline.core.quoting import printable_lines
from pipeline.runtime.progress import terminal

LOGGER = "terminal"

# The metadata of an asset to show on its line, at most three values.
SHOWN = (
    "dagster/row_count", "requests", "images_ok", "item_images", "triplets_per_epoch", "validation_auc", "epochs",
    "users", "preference_gain_mean",
)  # fmt: skip


class StageLines(logging.Handler):
    """Prints a line for each asset whose step succeeded, and records its seconds."""

    def __init__(self, console: Console):
        super().__init__(logging.DEBUG)
        self.console = console
        self.seconds: dict[str, float] = {}
        self._made: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Print a finished step's assets, or a warning; ignore other records."""
        event: dg.DagsterEvent | None = getattr(record, "dagster_meta", {}).get("dagster_event")
        if event is None:
            if record.levelno >= logging.WARNING:
                message = getattr(record, "dagster_meta", {}).get("orig_message", record.getMessage())
                self.console.print(
                    f"  [yellow]![/] {escape(printable_lines(message))}", highlight=False, soft_wrap=True
                )
            return
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            name = materialization.asset_key.to_user_string()
            if materialization.partition:
                name = f"{name}[{materialization.partition}]"
            self._made.append((name, _shown(materialization.metadata)))
        elif event.is_step_success:
            seconds = (event.step_success_data.duration_ms or 0) / 1000
            for name, figures in self._made:
                self.seconds[name] = each = seconds / len(self._made)
                line = f"  [green]✓[/] {escape(f'{name:<42}')}{each:>8.1f} s  {figures}"
                self.console.print(line, highlight=False, soft_wrap=True)
            self._made.clear()


def _shown(metadata: Mapping[str, Any]) -> str:
    words = []
    for key in SHOWN:
        value = getattr(metadata.get(key), "value", None)
        if isinstance(value, int):
            words.append(f"{value:,} {key.removeprefix('dagster/').replace('row_count', 'rows').replace('_', ' ')}")
        elif isinstance(value, float):
            words.append(f"{key.replace('_', ' ')} {value:.3f}")
    return ", ".join(words[:3])


class Display:
    """The terminal during a run."""

    def __init__(self, console: Console):
        self.lines = StageLines(console)
        self._console = console

    def __enter__(self) -> "Display":
        terminal.open(self._console)
        return self

    def __exit__(self, *_: object) -> None:
        terminal.close()

    def logger(self) -> dg.LoggerDefinition:
        """Make the logger for the definitions."""

        def start(_: dg.InitLoggerContext) -> logging.Logger:
            logger = logging.Logger("atelier", logging.DEBUG)
            logger.addHandler(self.lines)
            return logger

        return dg.LoggerDefinition(start, config_schema={}, description="Lines on the terminal of pipeline.run")
