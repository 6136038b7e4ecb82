"""`python -m pipeline.study`: models x image modes x splits x seeds, each trained and measured in a folder of its own.

The home's assets are only read, and no pointer moves: what is current stays current. Here are the arguments, the grid
and its order, and what is said meanwhile; a cell is `one_cell.py`, the report `report.py`.
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

from pipeline import environment, profiles
from pipeline.command import DONE, EXIT_CODES, FAILED, ended, explained, leave
from pipeline.core.durable import sole_writer
from pipeline.core.raw.sources import BadInput
from pipeline.core.schemas import IMAGE_MODES
from pipeline.method import Method
from pipeline.progress import terminal
from pipeline.resources import Compute
from pipeline.settings import EvaluationSettings, SplitSettings
from pipeline.storage import Storage
from pipeline.study import one_cell, report
from pipeline.study.contenders import CONTENDERS, Step, entry
from pipeline.study.data import HomeData, ModeData, mode_data, open_home
from pipeline.study.one_cell import Cell

# What runs when no models are named: everything that needs no pixels and no other package.
USUAL = ("random", "popularity", "picture_count", "bpr_mf", "visual_neighbours", "vbpr")
REFERENCE = "vbpr"

EPILOG = f"""\
models: {", ".join(CONTENDERS)}
  A variant is model+field=value[+field=value]: vbpr+k=64, dvbpr+theta_decay=0.1+user_sampling=interaction.
  paper, kang2017 and the like follow that preset whatever --preset says; the profile's sizes hold for all.
  cornac_vbpr, as released, and cornac_vbpr_tuned, tuned as vbpr is, install Cornac into the home at their first use.

examples:
  python -m pipeline.study --name baselines --splits 5 --seeds 2
  python -m pipeline.study --name baselines --models vbpr cornac_vbpr --modes vendor_single   # adds to it
  python -m pipeline.study --name pixels --profile cpu --models vbpr dvbpr dvbpr+theta_decay=0.1 --splits 5

A study is $ATELIER_HOME/studies/NAME/: a folder a cell, and report.md, report.json and report.png over all of them.
The same command goes on where it was stopped; a finished cell is never run again. Split s is the hold-out with seed s.
Every choice is made on validation; test figures are computed with a cell, and read by the report alone.

{EXIT_CODES}"""


@dataclass(frozen=True)
class Plan:
    """What a call asks for."""

    name: str
    models: tuple[str, ...]
    modes: tuple[str, ...]
    splits: int
    seeds: int
    reference: str
    shuffled: tuple[str, ...] = ()


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.study",
        description="Compare recommenders over several splits and seeds of a home whose pictures, features and tables "
        "are there (python -m pipeline.run makes them). Nothing of the home is changed but its studies folder.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", default="study", help="the study's folder (default study)")
    parser.add_argument("--models", nargs="+", default=list(USUAL), metavar="MODEL", help=f"default {' '.join(USUAL)}")
    parser.add_argument(
        "--modes", nargs="+", default=list(IMAGE_MODES), metavar="MODE", help=f"default {' '.join(IMAGE_MODES)}"
    )
    parser.add_argument("--splits", type=int, default=5, metavar="N", help="hold-outs, seeds 0 to N-1 (default 5)")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="trainings on each, 0 to N-1 (default 2)")
    parser.add_argument("--preset", default="", help="paper, kang2017, modern (default: the profile's, else paper)")
    parser.add_argument(
        "--profile", default="", metavar="NAME", help=f"sizes and knobs: {', '.join(profiles.names())}, or a YAML file"
    )
    parser.add_argument(
        "--reference", default="", metavar="MODEL", help=f"differences are to it (default {REFERENCE}, else the first)"
    )
    parser.add_argument(
        "--shuffled-labels", nargs="*", default=None, metavar="MODEL",
        help="rows that must read 0.5: these models (default: the reference) where every user's items are random",
    )  # fmt: skip
    parser.add_argument("--report-only", action="store_true", help="train nothing, write the report of what is there")
    parser.add_argument("--dry-run", action="store_true", help="show the cells that would run, and stop")
    return parser.parse_args(argv)


def plan_of(options: argparse.Namespace) -> Plan:
    """The call, checked as far as it can be without a home.

    Raises:
        BadInput: a name is unknown or a number too small.
    """
    for name in options.modes:
        if name not in IMAGE_MODES:
            raise BadInput(f"--modes: {name!r} is unknown; there are: {', '.join(IMAGE_MODES)}.")
    for name in ("splits", "seeds"):
        if getattr(options, name) < 1:
            raise BadInput(f"--{name} must be at least 1.")
    if not options.name or Path(options.name).name != options.name or options.name.startswith("."):
        raise BadInput(f"--name: {options.name!r} is no folder name.")
    models = tuple(dict.fromkeys(options.models))
    reference = options.reference or (REFERENCE if REFERENCE in models else models[0])
    shuffled = () if options.shuffled_labels is None else tuple(options.shuffled_labels or [reference])
    return Plan(
        options.name, models, tuple(dict.fromkeys(options.modes)), options.splits, options.seeds, reference, shuffled
    )


def cells(plan: Plan, root: Path, method: Method) -> list[Cell]:
    """The grid in the order in which it runs: what shares a split stands together.

    A model that no seed changes has one seed, and so has a row of shuffled labels. Raises BadInput as `entry` does.
    """
    entries = [entry(name, method) for name in plan.models]
    sanity = [entry(name, method) for name in plan.shuffled]

    def of_split(mode: str, split: int) -> Iterator[Cell]:
        for seed in range(plan.seeds):
            for one in entries:
                if one.contender.seeded or seed == 0:
                    yield Cell(root, mode, split, seed, one.seeded(seed))
        for one in sanity:
            yield Cell(root, mode, split, 0, one.seeded(0), shuffled=True)

    return [cell for mode in plan.modes for split in range(plan.splits) for cell in of_split(mode, split)]


class Times:
    """How long cells take: what their like took, else what a few steps say."""

    def __init__(self, grid: list[Cell]) -> None:
        self._took: dict[tuple[str, str], list[float]] = {}
        for cell in grid:
            if cell.finished:
                self.note(cell, cell.manifest()["seconds"])

    def note(self, cell: Cell, seconds: float) -> None:
        """A cell took that long."""
        self._took.setdefault((cell.mode, cell.entry.label), []).append(seconds)

    def of(self, cell: Cell) -> float | None:
        """What its like took on average, in its own mode if it can be, or None."""
        own = self._took.get((cell.mode, cell.entry.label))
        took = own or [s for (_, label), all_ in self._took.items() if label == cell.entry.label for s in all_]
        return sum(took) / len(took) if took else None

    def left(self, waiting: list[Cell]) -> str:
        """How long the rest will take, in words."""
        known = [self.of(cell) for cell in waiting]
        unknown = sum(seconds is None for seconds in known)
        words = f"{duration(sum(s for s in known if s is not None))} left"
        return f"{words}, and {unknown} cells of which none has run yet" if unknown else words


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Study:
    """A study's folder, the home behind it and the console before it."""

    def __init__(self, storage: Storage, method: Method, plan: Plan, console: Console) -> None:
        self.storage, self.method, self.plan, self.console = storage, method, plan, console
        self.root = storage.home / "studies" / plan.name
        self.split_settings = method.settings(SplitSettings, "splits")
        self.evaluation = method.settings(EvaluationSettings, "recommender_evaluation")
        self.grid = cells(plan, self.root, method)
        self._data: tuple[tuple[str, int, bool], ModeData] | None = None

    def say(self, line: str) -> None:
        """A line on the console."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def protocol(self) -> dict[str, object]:
        """How every cell is split and measured."""
        splits = {k: v for k, v in asdict(self.split_settings).items() if k != "seed"}
        return {**asdict(self.evaluation), **splits}

    def check(self, home: HomeData) -> None:
        """Refuse to go on with a study that was made of something else. Raises BadInput with all differences."""
        wrong: dict[str, Path] = {}
        for cell in self.grid:
            if cell.finished:
                for difference in cell.differences(home.of(cell.mode), self.protocol()):
                    wrong.setdefault(f"{cell.label}: {difference}", cell.folder)
        if wrong:
            shown = "; ".join(list(wrong)[:8])
            raise BadInput(
                f"{self.root} holds finished cells that were made otherwise ({shown}; the first in "
                f"{next(iter(wrong.values()))}): give this study another --name, or call it as it was called."
            )

    def data(self, home: HomeData, cell: Cell) -> ModeData:
        """The cell's split, made once for all cells that stand together."""
        key = (cell.mode, cell.split, cell.shuffled)
        if self._data is None or self._data[0] != key:
            settings = replace(self.split_settings, seed=cell.split)
            self._data = (key, mode_data(home, cell.mode, settings, cell.shuffled))
        return self._data[1]

    def run(self, home: HomeData, device: torch.device) -> list[str]:
        """Run what is not finished; what failed, in words."""
        waiting = [cell for cell in self.grid if not cell.finished]
        done, times, failed = len(self.grid) - len(waiting), Times(self.grid), []
        self.say(f"[bold]study {escape(self.plan.name)}[/]: {len(self.grid)} cells, {done} finished before; {device}")
        for number, cell in enumerate(waiting, done + 1):
            name = f"{cell.mode} split {cell.split} seed {cell.seed} {cell.label}"
            try:
                made = self._cell(home, cell, device, times, f"  {number}/{len(self.grid)} {name}")
            except (ValueError, RuntimeError, OSError) as error:
                if os.environ.get("ATELIER_TRACEBACK"):
                    traceback.print_exc()
                failed.append(f"{name}: {explained(error)}")
                self.say(f"  [red]✗[/] {escape(failed[-1])}")
                continue
            times.note(cell, made["seconds"])
            told = f"validation AUC {made['validation_auc']:.4f}, {duration(made['seconds'])}"
            left = times.left(waiting[number - done :])
            self.say(f"  [green]✓[/] {number}/{len(self.grid)} {escape(name)}: {told}; {left}")
        return failed

    def _cell(self, home: HomeData, cell: Cell, device: torch.device, times: Times, title: str) -> dict:
        bar = terminal.reporter(title.strip())

        def report(step: Step) -> None:
            if bar is not None:
                bar(step.done, step.total, step.note)

        task = cell.task(self.data(home, cell), device, home.home, report)
        estimate, found = times.of(cell), cell.entry.contender.estimate
        if estimate is None and found is not None:
            estimate = found(task, cell.entry.settings)
        if found is not None and estimate is not None:
            self.say(f"{escape(title)}: about {duration(estimate)} ...")
        try:
            return one_cell.run(cell, task, self.protocol())
        finally:
            if bar is not None:
                bar(1, 1, "")  # takes the bar away


def run(options: argparse.Namespace, console: Console) -> list[str]:
    """The study and its report; what failed, in words.

    Raises:
        BadInput: the call, the configuration or the home is wrong.
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
    except BadInput:
        if failed:
            return failed  # that nothing can be reported comes of it
        raise
    console.print(made.markdown, highlight=False, soft_wrap=True, markup=False)
    study.say(f"[bold]Report[/]: {made.path}")
    return failed


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    options, console = arguments(argv), Console()

    def work() -> int:
        failed = run(options, console)
        if failed:
            others = f" (and {len(failed) - 1} more cells, told above)" if failed[1:] else ""
            console.print(f"[red]failed:[/] {escape(failed[0] + others)}", highlight=False, soft_wrap=True)
            console.print("The same command tries again what failed, and goes on from there.")
        return FAILED if failed else DONE

    return ended(work, console)


if __name__ == "__main__":
    leave(main())
