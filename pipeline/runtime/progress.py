"""Progress of long stages: a bar on the terminal of `pipeline.run`, and a Dagster log line every few seconds.

Stages report plain numbers; this module formats them.
"""

import time
from collections.abc import Callable

import dagster as dg
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LOG_EVERY = 5.0  # seconds

Report = Callable[[int, int, str], None]  # done, total, note


class Terminal:
    """The terminal's progress bar; inactive until `pipeline.run` opens it."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def open(self, console: Console) -> None:
        """Start to show bars on a console."""
        self._progress = Progress(
            TextColumn("  {task.description:<34}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._progress.start()

    def close(self) -> None:
        """Remove the bars."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def show(self, what: RenderableType) -> None:
        """Print above the bars, if a terminal is open."""
        if self._progress is not None:
            self._progress.console.print(what, highlight=False)

    def reporter(self, title: str) -> Report | None:
        """Add a bar and return a function that moves it; None if no terminal is open."""
        progress = self._progress
        if progress is None:
            return None
        task = progress.add_task(title, total=None, note="")

        def report(done: int, total: int, note: str) -> None:
            progress.update(task, completed=done, total=total, note=note, visible=done < total)

        return report


terminal = Terminal()


def reporter(context: dg.AssetExecutionContext, title: str) -> Report:
    """Make a function `(done, total, note)` that reports the progress of the stage `title`; cheap to call often."""
    if context.has_partition_key:
        title = f"{title} [{context.partition_key}]"
    bar = terminal.reporter(title)
    last = started = time.monotonic()

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal last
        if bar is not None:
            bar(done, total, note)
        now = time.monotonic()
        if now - last >= LOG_EVERY or done == total:
            last = now
            left = (now - started) / done * (total - done) if done else 0.0
            context.log.info(f"{title}: {done:,} of {total:,}, {left:.0f} s left. {note}")

    return report
