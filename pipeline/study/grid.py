"""Train and measure recommenders over models x protocols x image modes x splits x seeds: `python -m pipeline.study`.

This module orders the grid of cells, runs it and shows the progress. It writes only the study's own folder: the home's
assets are read, and its current models stay current.
"""

import argparse
import os
import traceback
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from pipeline.core.durable import sole_writer
from pipeline.core.errors import InputError
from pipeline.core.schemas import IMAGE_MODES
from pipeline.home import environment
from pipeline.home.storage import Storage
from pipeline.recommenders.contract import FitProgress, NotApplicableError
from pipeline.runtime.exits import DONE, FAILED, ended, explained, leave
from pipeline.runtime.progress import terminal
from pipeline.runtime.resources import Compute
from pipeline.settings.assets import EvaluationSettings, SplitSettings
from pipeline.settings.method import Method
from pipeline.study import one_cell, report, weeks
from pipeline.study.arguments import RANDOM, StudyPlan, arguments, plan_of
from pipeline.study.data import HomeData, ModeData, mode_data, open_home
from pipeline.study.entries import entry
from pipeline.study.estimates import Times, duration
from pipeline.study.one_cell import Cell
from pipeline.study.weeks import TIME, WEEKS


def cells(plan: StudyPlan, root: Path, method: Method) -> list[Cell]:
    """List the cells in the order in which they run: those of one split follow each other.

    Models without randomness and models on shuffled labels get one seed. Raises InputError as `entry` does.
    """
    entries = [entry(name, method) for name in plan.models]
    sanity = [entry(name, method) for name in plan.shuffled]

    def of_split(protocol: str, mode: str, split: int) -> Iterator[Cell]:
        for seed in range(plan.seeds):
            for one in entries:
                if one.recommender.seeded or seed == 0:
                    yield Cell(root, protocol, mode, split, seed, one.seeded(seed))
        for one in sanity if protocol != WEEKS else ():
            yield Cell(root, protocol, mode, split, 0, one.seeded(0), shuffled=True)

    return [
        cell
        for protocol in plan.protocols
        for mode in plan.modes
        for split in plan.splits_of(protocol)
        for cell in of_split(protocol, mode, split)
    ]


class Study:
    """A study: its folder, its home, its grid of cells and the console that it reports to."""

    def __init__(self, storage: Storage, method: Method, plan: StudyPlan, console: Console) -> None:
        self.storage, self.method, self.plan, self.console = storage, method, plan, console
        self.root = storage.home / "studies" / plan.name
        self.split_settings = method.settings(SplitSettings, "splits")
        self.evaluation = method.settings(EvaluationSettings, "recommender_evaluation")
        self.grid = cells(plan, self.root, method)
        self._data: tuple[tuple[str, str, int, bool], ModeData] | None = None
        self._skipped: dict[tuple[str, str, str], str] = {}  # (protocol, mode, model) -> reason

    def say(self, line: str) -> None:
        """Print a line on the console."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def settings_of(self, home: HomeData, cell: Cell) -> SplitSettings:
        """Return the settings of the cell's split.

        Raises:
            InputError: the profile's settings of `splits` do not go with the protocol, or too few weeks are covered.
        """
        changes: dict[str, Any] = {"seed": cell.split, "hold_out": cell.protocol}
        if cell.protocol == WEEKS:
            changes = {"seed": 0, "hold_out": TIME, **weeks.split_changes(home.by_mode, cell.mode, cell.split)}
        try:
            return replace(self.split_settings, **changes)
        except ValueError as error:
            raise InputError(f"{cell.protocol}: {error} (the profile's ops: splits)") from error

    def evaluated(self, home: HomeData, cell: Cell) -> dict[str, Any]:
        """Return the settings by which the cell is split and measured."""
        splits = {k: v for k, v in asdict(self.settings_of(home, cell)).items() if k != "seed"}
        return {**asdict(self.evaluation), **splits}

    def check(self, home: HomeData) -> None:
        """Check that the home has what the protocols need, and that finished cells go with this call.

        Raises:
            InputError: purchases have no times, too few weeks are covered, or finished cells were made by an earlier
                version or with other inputs, settings or evaluation.
        """
        old = [mode for mode in IMAGE_MODES if next((self.root / mode).glob("split-*"), None)]
        if old:
            raise InputError(
                f"{self.root} was made by an earlier version, which had one protocol and other metrics (cells in"
                f" {', '.join(old)}): give this study another --name; its report.md and report.json stay readable."
            )
        for mode in {cell.mode for cell in self.grid}:
            times = home.surviving(mode).pairs["time"]
            timed = [protocol for protocol in self.plan.protocols if protocol != RANDOM]
            if timed and times.null_count == len(times):
                raise InputError(
                    f"--protocols {' '.join(timed)}: no purchase of this home has a time; use --protocols random."
                )
            if self.plan.weeks:
                weeks.cut(home.surviving(mode).pairs, self.plan.weeks)
        wrong: dict[str, Path] = {}
        for cell in self.grid:
            evaluated = self.evaluated(home, cell)
            if cell.finished:
                for difference in cell.differences(home.of(cell.mode), evaluated):
                    wrong.setdefault(f"{cell.label}: {difference}", cell.folder)
        if wrong:
            shown = "; ".join(list(wrong)[:8])
            raise InputError(
                f"{self.root} has finished cells that differ from this call ({shown}; the first in "
                f"{next(iter(wrong.values()))}): give this study another --name, or repeat the call that made them."
            )

    def data(self, home: HomeData, cell: Cell) -> ModeData:
        """Return the cell's split. The last one is kept, because the cells of one split follow each other."""
        key = (cell.protocol, cell.mode, cell.split, cell.shuffled)
        if self._data is None or self._data[0] != key:
            self._data = (key, mode_data(home, cell.mode, self.settings_of(home, cell), cell.shuffled))
        return self._data[1]

    def run(self, home: HomeData, device: torch.device) -> list[str]:
        """Run the unfinished cells; return a message for each that failed. Skip models that cannot be trained here."""
        waiting = [cell for cell in self.grid if not cell.finished]
        done, times, failed = len(self.grid) - len(waiting), Times(self.grid), []
        self.say(f"[bold]study {escape(self.plan.name)}[/]: {len(self.grid)} cells, {done} finished before; {device}")
        if done and waiting:
            self.say(f"  {times.left(waiting)}")
        for number, cell in enumerate(waiting, done + 1):
            try:
                manifest = self._cell(home, cell, device, times, f"  {number}/{len(self.grid)} {cell.title}")
            except NotApplicableError as error:
                self._skipped[cell.protocol, cell.mode, cell.label] = str(error)
                one_cell.skip(cell, str(error))
                self.say(
                    f"  [yellow]-[/] {number}/{len(self.grid)} {escape(cell.title)}: skipped: {escape(str(error))}"
                )
                continue
            except (ValueError, RuntimeError, OSError) as error:
                if os.environ.get("ATELIER_TRACEBACK"):
                    traceback.print_exc()
                failed.append(f"{cell.title}: {explained(error)}")
                self.say(f"  [red]✗[/] {escape(failed[-1])}")
                continue
            times.note(cell, manifest["seconds"])
            result = f"validation AUC {manifest['validation_auc']:.4f}, {duration(manifest['seconds'])}"
            left = times.left(waiting[number - done :])
            self.say(f"  [green]✓[/] {number}/{len(self.grid)} {escape(cell.title)}: {result}; {left}")
        return failed

    def _cell(self, home: HomeData, cell: Cell, device: torch.device, times: Times, title: str) -> dict[str, Any]:
        reason = self._skipped.get((cell.protocol, cell.mode, cell.label))
        if reason is not None:
            raise NotApplicableError(reason)  # trying again would fail again, and may take as long
        bar = terminal.reporter(title.strip())

        def report(step: FitProgress) -> None:
            if bar is not None:
                bar(step.done, step.total, step.note)

        data = self.data(home, cell)
        task = cell.task(data, device, home.home, report)
        after = weeks.weeks_after(data, home.surviving(cell.mode).pairs, cell.split) if cell.protocol == WEEKS else []
        estimate, measures = times.of(cell), cell.entry.recommender.measures_seconds
        try:
            if estimate is None and measures:
                estimate = task.seconds(cell.entry)
            if measures and estimate is not None:
                self.say(f"{escape(title)}: about {duration(estimate)} ...")
            return one_cell.run(cell, task, self.evaluated(home, cell), after)
        finally:
            if bar is not None:
                bar(1, 1, "")  # removes the bar


def run(options: argparse.Namespace, console: Console) -> list[str]:
    """Run the study and write its report; return a message for each cell that failed.

    Raises:
        InputError: the call, the configuration or the home is wrong.
    """
    method = Method(preset=options.preset, profile=options.profile)
    method.chosen_preset()
    plan = plan_of(options, method)
    storage = Storage(root=str(environment.writable_home()))
    study = Study(storage, method, plan, console)
    failed: list[str] = []
    if not options.report_only:
        home = open_home(storage, method)
        study.check(home)
        if options.dry_run:
            for cell in study.grid:
                study.say(f"{cell.folder.relative_to(study.root)}{'  (finished)' if cell.finished else ''}")
            return []
        device = Compute(device=environment.device()).resolve()
        with sole_writer(study.root):
            terminal.open(console)
            try:
                failed = study.run(home, device)
            finally:
                terminal.close()
    try:
        made = report.write(study.root, plan.reference, study.evaluation, plan.sort)
    except InputError:
        if failed:
            return failed  # no cell finished, so there is nothing to report
        raise
    console.print(made.markdown, highlight=False, soft_wrap=True, markup=False)
    study.say(f"[bold]Report[/]: {made.path}")
    return failed


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options, console = arguments(argv), Console()

    def work() -> int:
        failed = run(options, console)
        if failed:
            others = f" (and {len(failed) - 1} more cells, listed above)" if failed[1:] else ""
            console.print(f"[red]failed:[/] {escape(failed[0] + others)}", highlight=False, soft_wrap=True)
            console.print("The same command tries again what failed, and goes on from there.")
        return FAILED if failed else DONE

    return ended(work, console)


if __name__ == "__main__":
    leave(main())
