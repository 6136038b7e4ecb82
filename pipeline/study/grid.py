"""Train and measure recommenders over models x image modes x splits x seeds: `python -m pipeline.study`.

This module parses the arguments, orders the grid of cells, runs it and shows the progress. It writes only the study's
own folder: the home's assets are read, and its current models stay current.
"""

import argparse
import os
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape

from pipeline.core.durable import sole_writer
from pipeline.core.errors import InputError
from pipeline.core.schemas import IMAGE_MODES
from pipeline.home import environment
from pipeline.home.storage import Storage
from pipeline.recommenders.contract import FitProgress
from pipeline.recommenders.registry import in_studies
from pipeline.runtime.arguments import add_preset, add_profile, command_parser
from pipeline.runtime.exits import DONE, EXIT_CODES, FAILED, ended, explained, leave
from pipeline.runtime.progress import terminal
from pipeline.runtime.resources import Compute
from pipeline.settings.assets import EvaluationSettings, SplitSettings
from pipeline.settings.method import Method
from pipeline.study import one_cell, report
from pipeline.study.data import HomeData, ModeData, mode_data, open_home
from pipeline.study.entries import entry
from pipeline.study.one_cell import Cell

# Models that run by default: all that need neither pixels nor another package.
USUAL = tuple(name for name, one in in_studies().items() if one.usual)
REFERENCE = next(name for name, one in in_studies().items() if one.reference)

EPILOG = f"""\
models: {", ".join(in_studies())}
  A variant is model+field=value[+field=value]: vbpr+k=64, dvbpr+theta_decay=0.1+user_sampling=interaction.
  A model named after a preset, such as paper or kang2017, uses that preset whatever --preset says. The sizes of the
  profile apply to all models.
  cornac_vbpr (as released) and cornac_vbpr_tuned (tuned like vbpr) install Cornac into the home on first use.

examples:
  python -m pipeline.study --name baselines --splits 5 --seeds 2
  python -m pipeline.study --name baselines --models vbpr cornac_vbpr --modes vendor_single   # adds cells to it
  python -m pipeline.study --name pixels --profile cpu --models vbpr dvbpr dvbpr+theta_decay=0.1 --splits 5

Results are in $ATELIER_HOME/studies/NAME/: one folder per cell, and report.md, report.json and report.png over all.
Repeat the command to continue an interrupted study: finished cells are not run again. Split s holds out with seed s.
Every choice is made on validation. Test figures are computed with each cell, but only the report reads them.

{EXIT_CODES}"""


@dataclass(frozen=True)
class StudyPlan:
    """The parsed and checked arguments of a study."""

    name: str
    models: tuple[str, ...]
    modes: tuple[str, ...]
    splits: int
    seeds: int
    reference: str
    shuffled: tuple[str, ...] = ()


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(
        "pipeline.study",
        "Compare recommenders over several splits and seeds. The home needs its pictures, features and tables\n"
        "(python -m pipeline.run makes them). Only its folder studies is written.",
        EPILOG,
    )
    parser.add_argument("--name", default="study", help="the study's folder (default study)")
    parser.add_argument("--models", nargs="+", default=list(USUAL), metavar="MODEL", help=f"default {' '.join(USUAL)}")
    parser.add_argument(
        "--modes", nargs="+", default=list(IMAGE_MODES), metavar="MODE", help=f"default {' '.join(IMAGE_MODES)}"
    )
    parser.add_argument("--splits", type=int, default=5, metavar="N", help="hold-outs, seeds 0 to N-1 (default 5)")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="trainings per split, 0..N-1 (default 2)")
    add_preset(parser)
    add_profile(parser)
    parser.add_argument(
        "--reference",
        default="",
        metavar="MODEL",
        help=f"model that the others are compared with (default {REFERENCE}, else the first)",
    )
    parser.add_argument(
        "--shuffled-labels", nargs="*", default=None, metavar="MODEL",
        help="also train these models (default: the reference) with random items for every user; their AUC must be 0.5",
    )  # fmt: skip
    parser.add_argument("--report-only", action="store_true", help="train nothing; report the finished cells")
    parser.add_argument("--dry-run", action="store_true", help="show the cells that would run, and stop")
    return parser.parse_args(argv)


def plan_of(options: argparse.Namespace) -> StudyPlan:
    """Check the arguments as far as possible without a home.

    Raises:
        InputError: a name is unknown or a number is too small.
    """
    for name in options.modes:
        if name not in IMAGE_MODES:
            raise InputError(f"--modes: {name!r} is unknown; there are: {', '.join(IMAGE_MODES)}.")
    for name in ("splits", "seeds"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} must be at least 1.")
    if not options.name or Path(options.name).name != options.name or options.name.startswith("."):
        raise InputError(f"--name: {options.name!r} is no folder name.")
    models = tuple(dict.fromkeys(options.models))
    reference = options.reference or (REFERENCE if REFERENCE in models else models[0])
    shuffled = () if options.shuffled_labels is None else tuple(options.shuffled_labels or [reference])
    return StudyPlan(
        options.name, models, tuple(dict.fromkeys(options.modes)), options.splits, options.seeds, reference, shuffled
    )


def cells(plan: StudyPlan, root: Path, method: Method) -> list[Cell]:
    """List the cells in the order in which they run: those of one split follow each other.

    Models without randomness and models on shuffled labels get one seed. Raises InputError as `entry` does.
    """
    entries = [entry(name, method) for name in plan.models]
    sanity = [entry(name, method) for name in plan.shuffled]

    def of_split(mode: str, split: int) -> Iterator[Cell]:
        for seed in range(plan.seeds):
            for one in entries:
                if one.recommender.seeded or seed == 0:
                    yield Cell(root, mode, split, seed, one.seeded(seed))
        for one in sanity:
            yield Cell(root, mode, split, 0, one.seeded(0), shuffled=True)

    return [cell for mode in plan.modes for split in range(plan.splits) for cell in of_split(mode, split)]


class Times:
    """Estimates of how long cells take, from finished cells of the same model."""

    def __init__(self, grid: list[Cell]) -> None:
        self._took: dict[tuple[str, str], list[float]] = {}
        for cell in grid:
            if cell.finished:
                self.note(cell, cell.manifest()["seconds"])

    def note(self, cell: Cell, seconds: float) -> None:
        """Record how long a cell took."""
        self._took.setdefault((cell.mode, cell.entry.label), []).append(seconds)

    def of(self, cell: Cell) -> float | None:
        """Average the cells of the same model, in the same mode if there are any; None if no cell has finished."""
        own = self._took.get((cell.mode, cell.entry.label))
        took = own or [s for (_, label), all_ in self._took.items() if label == cell.entry.label for s in all_]
        return sum(took) / len(took) if took else None

    def left(self, waiting: list[Cell]) -> str:
        """Say how long the waiting cells will take."""
        known = [self.of(cell) for cell in waiting]
        unknown = sum(seconds is None for seconds in known)
        words = f"{duration(sum(s for s in known if s is not None))} left"
        return f"{words}, and {unknown} cells of which none has run yet" if unknown else words


def duration(seconds: float) -> str:
    """Format seconds for a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Study:
    """A study: its folder, its home, its grid of cells and the console that it reports to."""

    def __init__(self, storage: Storage, method: Method, plan: StudyPlan, console: Console) -> None:
        self.storage, self.method, self.plan, self.console = storage, method, plan, console
        self.root = storage.home / "studies" / plan.name
        self.split_settings = method.settings(SplitSettings, "splits")
        self.evaluation = method.settings(EvaluationSettings, "recommender_evaluation")
        self.grid = cells(plan, self.root, method)
        self._data: tuple[tuple[str, int, bool], ModeData] | None = None

    def say(self, line: str) -> None:
        """Print a line on the console."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def protocol(self) -> dict[str, object]:
        """Return the settings by which every cell is split and measured."""
        splits = {k: v for k, v in asdict(self.split_settings).items() if k != "seed"}
        return {**asdict(self.evaluation), **splits}

    def check(self, home: HomeData) -> None:
        """Raise InputError if finished cells were made with other inputs, settings or evaluation than this call's."""
        wrong: dict[str, Path] = {}
        for cell in self.grid:
            if cell.finished:
                for difference in cell.differences(home.of(cell.mode), self.protocol()):
                    wrong.setdefault(f"{cell.label}: {difference}", cell.folder)
        if wrong:
            shown = "; ".join(list(wrong)[:8])
            raise InputError(
                f"{self.root} has finished cells that differ from this call ({shown}; the first in "
                f"{next(iter(wrong.values()))}): give this study another --name, or repeat the call that made them."
            )

    def data(self, home: HomeData, cell: Cell) -> ModeData:
        """Return the cell's split. The last one is kept, because the cells of one split follow each other."""
        key = (cell.mode, cell.split, cell.shuffled)
        if self._data is None or self._data[0] != key:
            settings = replace(self.split_settings, seed=cell.split)
            self._data = (key, mode_data(home, cell.mode, settings, cell.shuffled))
        return self._data[1]

    def run(self, home: HomeData, device: torch.device) -> list[str]:
        """Run the unfinished cells; return a message for each that failed."""
        waiting = [cell for cell in self.grid if not cell.finished]
        done, times, failed = len(self.grid) - len(waiting), Times(self.grid), []
        self.say(f"[bold]study {escape(self.plan.name)}[/]: {len(self.grid)} cells, {done} finished before; {device}")
        for number, cell in enumerate(waiting, done + 1):
            name = f"{cell.mode} split {cell.split} seed {cell.seed} {cell.label}"
            try:
                manifest = self._cell(home, cell, device, times, f"  {number}/{len(self.grid)} {name}")
            except (ValueError, RuntimeError, OSError) as error:
                if os.environ.get("ATELIER_TRACEBACK"):
                    traceback.print_exc()
                failed.append(f"{name}: {explained(error)}")
                self.say(f"  [red]✗[/] {escape(failed[-1])}")
                continue
            times.note(cell, manifest["seconds"])
            result = f"validation AUC {manifest['validation_auc']:.4f}, {duration(manifest['seconds'])}"
            left = times.left(waiting[number - done :])
            self.say(f"  [green]✓[/] {number}/{len(self.grid)} {escape(name)}: {result}; {left}")
        return failed

    def _cell(self, home: HomeData, cell: Cell, device: torch.device, times: Times, title: str) -> dict:
        bar = terminal.reporter(title.strip())

        def report(step: FitProgress) -> None:
            if bar is not None:
                bar(step.done, step.total, step.note)

        task = cell.task(self.data(home, cell), device, home.home, report)
        estimate, measures = times.of(cell), cell.entry.recommender.measures_seconds
        if estimate is None and measures:
            estimate = task.seconds(cell.entry)
        if measures and estimate is not None:
            self.say(f"{escape(title)}: about {duration(estimate)} ...")
        try:
            return one_cell.run(cell, task, self.protocol())
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
    plan = plan_of(options)
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
        made = report.write(study.root, plan.reference, study.evaluation)
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
