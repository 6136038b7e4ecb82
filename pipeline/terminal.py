"""What `pipeline.run` shows while it works: a line a finished stage, a bar for the one that is running.

A Dagster logger, so that it hears of every step as it ends; the same lines are in the UI's event log.
"""

import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg
from rich.console import Console
from rich.markup import escape

from pipeline.core.quoting import printable_lines
from pipeline.progress import terminal

LOGGER = "terminal"

# Of an asset's metadata, what is worth a word on the terminal.
TELLING = (
    "dagster/row_count", "requests", "images_ok", "item_images", "triplets_per_epoch", "validation_auc", "epochs",
    "users", "preference_gain_mean",
)  # fmt: skip


class StageLines(logging.Handler):
    """Prints a line for each step that ended and remembers how long it took."""

    def __init__(self, console: Console):
        super().__init__(logging.DEBUG)
        self.console = console
        self.seconds: dict[str, float] = {}
        self._made: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take one log record; those that are no step's end are passed over, warnings are shown."""
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
            self._made.append((name, _telling(materialization.metadata)))
        elif event.is_step_success:
            seconds = (event.step_success_data.duration_ms or 0) / 1000
            for name, told in self._made:
                self.seconds[name] = each = seconds / len(self._made)
                line = f"  [green]✓[/] {escape(f'{name:<42}')}{each:>8.1f} s  {told}"
                self.console.print(line, highlight=False, soft_wrap=True)
            self._made.clear()


def _telling(metadata: Mapping[str, Any]) -> str:
    words = []
    for key in TELLING:
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
        """The logger to give to the definitions."""

        def start(_: dg.InitLoggerContext) -> logging.Logger:
            made = logging.Logger("atelier", logging.DEBUG)
            made.addHandler(self.lines)
            return made

        return dg.LoggerDefinition(start, config_schema={}, description="Lines on the terminal of pipeline.run")
