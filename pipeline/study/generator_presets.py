"""Compare the generator's presets and switches at equal training: `python -m pipeline.study.generator_presets`.

Writes only its own folder: the home's garments are read, and its current generator stays current.
"""

import argparse
import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console

from models.lsgan.networks import Generator
from models.lsgan.settings import PRESETS, LsganSettings
from models.lsgan.train import train
from models.metrics.generation import (
    ClassClassifier,
    class_agreement,
    diversity,
    frechet_distance,
    kernel_distance,
    protocol,
)
from models.metrics.memorisation import memorisation_ratio
from models.training.progress import Progress
from pipeline.core import parquet as pq
from pipeline.core.durable import sole_writer, write_whole
from pipeline.core.errors import InputError
from pipeline.core.generator import generation
from pipeline.core.generator.measure import kernel_to_training
from pipeline.core.images import features
from pipeline.home import environment
from pipeline.home.storage import Storage, digest, write_json
from pipeline.runtime.arguments import command_parser
from pipeline.runtime.exits import DONE, EXIT_CODES, ended, leave
from pipeline.runtime.resources import Compute
from pipeline.settings.launchpad import LsganConfig
from pipeline.settings.method import Method

# The presets, and `modern` with one setting changed at a time.
USUAL = (
    "kang2017", "paper", "kang2017+batch_size=32", "modern", "modern+joint_batches=false",
    "modern+smooth_upsampling=false", "modern+lr_discriminator=1e-4", "modern+augment_target=null", "modern+augment=''",
    "modern+ema_half_life=null", "modern+ema_ramp=0.05", "modern+balanced=false", "modern+bf16=false",
    "modern+batch_size=64", "modern+spectral_norm=true", "modern+r1=0.1", "modern+loss=relativistic",
)  # fmt: skip
HALVES = ("both", "first", "second")  # of the held-out products
FEATURE_SIZE = 128  # pixels a side given to the frozen ImageNet network

EPILOG = f"""\
rows: a preset ({", ".join(PRESETS)}), or a variant of one: modern+augment=''+r1=0.1
  All rows train for the same number of steps with the same --set; a setting named in a row overrides --set.

Results are in $ATELIER_HOME/generator-study/NAME/: one folder per run, and report.md and report.json over all runs.
Repeat the command to continue an interrupted study. With another --half, nothing is trained again.

{EXIT_CODES}"""


@dataclass(frozen=True)
class PresetRun:
    """One training: a row of the report with one seed."""

    row: str
    settings: LsganSettings

    def folder(self, root: Path) -> Path:
        """Return the run's folder, named after the row (unsafe characters become `_`) and the seed."""
        name = "".join(letter if letter.isalnum() or letter in "+-=.," else "_" for letter in self.row)
        return root / f"{name}-s{self.settings.seed}"


def parse_row(row: str, common: dict[str, Any], seed: int, classes: int) -> PresetRun:
    """Parse `row`; its own settings override the `common` ones.

    Raises:
        InputError: the preset or a setting is unknown, or a value is invalid.
    """
    preset, *changes = row.split("+")
    settings = Method(preset=preset).settings(LsganSettings, "lsgan", _config({**common, **_pairs(changes, row)}))
    return PresetRun(row, replace(settings, classes=classes, seed=seed))


def _config(values: dict[str, Any]) -> LsganConfig:
    unknown = [name for name in values if name not in LsganConfig.model_fields]
    if unknown:
        raise InputError(
            f"{', '.join(unknown)}: no setting of the generator; there are: {', '.join(LsganConfig.model_fields)}."
        )
    try:
        return LsganConfig(**values)
    except ValueError as error:
        raise InputError(f"{values}: {error}") from error


def _pairs(changes: list[str], where: str) -> dict[str, Any]:
    pairs = [change.partition("=") for change in changes]
    if not all(sign for _, sign, _ in pairs):
        raise InputError(f"{where!r}: give settings as name=value.")
    return {name: yaml.safe_load(text) for name, _, text in pairs}


class RealGarments:
    """The home's garment pictures and the real features that fakes are compared with, computed once per study."""

    def __init__(self, storage: Storage, samples: int, device: torch.device, half: str = "both") -> None:
        """Load the garments.

        Args:
            storage: the home.
            samples: how many real pictures to compare with.
            device: where to compute features.
            half: which held-out products distances are measured to, one of `HALVES`.

        Raises:
            InputError: the home has no garments.
        """
        path = storage.tables / "garments.parquet"
        if not path.is_file():
            raise InputError(f"{path} is missing: python -m pipeline.run --select '+key:garments' makes it.")
        self.table, self.device = pq.read_table(path), device
        self.version = generation.inputs(self.table)["garments"]
        self.names, self.labels = generation.classes(self.table), generation.labels(self.table)
        self.pixels = storage.load_garments(self.version)  # uint8 [N, 64, 64, 3]
        self.held = np.asarray(self.table["held_out"])
        self.samples, self.half = samples, half

    @functools.cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Draw equally many held-out and training pictures of each class: the reals, and those for the floor."""
        known = np.flatnonzero(~self.held | self._held_of_half())
        held, labels = self.held[known], self.labels[known]
        drawn = generation.equal_draws(held, labels, len(self.names), self.samples // len(self.names), 0)
        return known[drawn[0]], known[drawn[1]]

    def _held_of_half(self) -> np.ndarray:
        """Mark the held-out pictures whose product is in the chosen half, bool [N]."""
        if self.half == "both":
            return self.held
        product = np.asarray(self.table["asin"].to_pylist())
        products = np.random.default_rng(0).permutation(np.unique(product[self.held]))
        first = np.isin(product, products[: len(products) // 2])
        return self.held & (first if self.half == "first" else ~first)

    @functools.cached_property
    def reals(self) -> np.ndarray:
        """Return the features of held-out pictures."""
        return self.embed(self.pixels[self.rows[0]])

    @functools.cached_property
    def floor(self) -> np.ndarray:
        """Return the features of as many training pictures."""
        return self.embed(self.pixels[self.rows[1]])

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """Compute ImageNet features of uint8 pictures."""
        return features.embed(pictures, size=FEATURE_SIZE, device=self.device)

    def halves(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Split the rows of the held-out pictures into two random halves: queries and references of `memory`."""
        first, second = np.array_split(np.random.default_rng(seed).permutation(np.flatnonzero(self.held)), 2)
        return first, second

    def memory(self, asking: np.ndarray, seed: int) -> float:
        """Divide the distance of uint8 pictures to training pictures by that to the reference half of the held-out."""
        return memorisation_ratio(asking, self.pixels[~self.held], self.pixels[self.halves(seed)[1]], seed)


def figures(generator: Generator, settings: LsganSettings, garments: RealGarments, draws: int) -> dict[str, float]:
    """Measure a generator, averaged over `draws` sets of fakes.

    `floor_` figures compare real pictures with real ones; `spread_` is the standard deviation between draws. Features
    are EfficientNet-Lite0's. `memory` is measured on fakes and, for its floor, on held-out pictures.
    """
    wanted = garments.labels[garments.rows[0]]
    kernel, frechet = (
        protocol(name, f"{features.NAME}_{FEATURE_SIZE}px", len(wanted)) for name in ("kernel", "frechet")
    )
    classifier = ClassClassifier.fit(garments.reals, wanted, len(garments.names))

    def of(fakes: np.ndarray, embedded: np.ndarray, asking: np.ndarray, seed: int) -> dict[str, float]:
        return {
            kernel: kernel_distance(garments.reals, embedded, seed=seed)[0],
            frechet: frechet_distance(garments.reals, embedded),
            "class_agreement": class_agreement(classifier.predict, embedded, wanted, garments.names)["overall"],
            "diversity_ssim": diversity(fakes, wanted, garments.names, seed=seed)["overall"],
            "memory": garments.memory(asking, seed),
        }

    def drawn(seed: int) -> dict[str, float]:
        fakes = generation.sample(generator, wanted, seed, garments.device)
        of_halves = garments.labels[garments.halves(seed)[0]]
        asking = generation.sample(generator, of_halves, draws + seed, garments.device)
        return of(fakes, garments.embed(fakes), asking, seed)

    of_draws = [drawn(seed) for seed in range(draws)]
    training = garments.pixels[garments.rows[1]]
    floors = [of(training, garments.floor, garments.pixels[garments.halves(seed)[0]], seed) for seed in range(draws)]
    means = {name: float(np.mean([one[name] for one in of_draws])) for name in of_draws[0]}
    spreads = {f"spread_{name}": float(np.std([one[name] for one in of_draws])) for name in of_draws[0]}
    return means | spreads | {f"floor_{name}": float(np.mean([one[name] for one in floors])) for name in floors[0]}


def report(done: dict[str, list[dict]], about: str) -> str:
    """Format the results as a Markdown table, one line per row of the study, averaged over its seeds."""
    first = next(iter(done.values()))[0]
    kernel = next(name for name in first if name.startswith("kernel"))
    frechet = next(name for name in first if name.startswith("frechet"))
    columns = {
        kernel: ".4f", frechet: ".1f", "class_agreement": ".2f", "diversity_ssim": ".3f", "memory": ".3f",
    }  # fmt: skip
    lines = [about, "", f"| row | seeds | {' | '.join(columns)} |", "|---|---|" + "---:|" * len(columns)]
    for row, runs in done.items():
        shown = [format(float(np.mean([run[name] for run in runs])), how) for name, how in columns.items()]
        lines.append(f"| {row} | {len(runs)} | {' | '.join(shown)} |")
    shown = [format(first[f"floor_{name}"], how) for name, how in columns.items()]
    lines.append(f"| real pictures | | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def study(options: argparse.Namespace, console: Console) -> int:
    """Train and measure the runs that are missing, and write the report. Raises InputError for a wrong call."""
    storage = Storage(root=str(environment.writable_home()))
    device = Compute(device=environment.device()).resolve()
    garments = RealGarments(storage, options.samples, device, options.half)
    common = _pairs(options.set, "--set")
    runs = [parse_row(row, common, seed, len(garments.names)) for row in options.rows for seed in range(options.seeds)]
    root = storage.home / "generator-study" / options.name
    pictures, labels = garments.pixels[~garments.held], garments.labels[~garments.held]
    done: dict[str, list[dict]] = {}
    with sole_writer(root):
        for number, run in enumerate(runs, 1):
            folder = run.folder(root)

            def on_progress(now: Progress, run: PresetRun = run, number: int = number) -> None:
                if now.note.startswith("tick"):
                    line = f"{number}/{len(runs)} {run.row} seed {run.settings.seed}: step {now.done} of {now.total}"
                    console.print(f"{line}, {now.seconds_left:.0f} s left", highlight=False, markup=False)

            measure = None  # a row that keeps its best checkpoint selects it as the pipeline does
            if run.settings.select == "best":
                measure = kernel_to_training(pictures, labels, run.settings, device)
            trained = train(
                pictures, labels, garments.names, run.settings, folder, device, on_progress,
                data_digest=garments.version, measure=measure,
            )  # fmt: skip
            made_by = digest(
                garments.version, run.settings, options.draws, options.samples, FEATURE_SIZE, options.half
            )  # fmt: skip
            path = folder / "figures.json"
            measured: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
            if measured.get("made_by") != made_by:
                measured = {**figures(trained.generator, run.settings, garments, options.draws), "made_by": made_by}
                write_json(path, measured)
            done.setdefault(run.row, []).append(measured)
    about = f"Garments {garments.version}: {len(pictures):,} train, {int(garments.held.sum()):,} held out."
    if options.half != "both":
        about += f" Distances to the {options.half} half of the held-out products."
    markdown = report(done, f"{about} {', '.join(options.set)}; {options.draws} draws of fakes a run.")
    write_whole(root / "report.md", lambda temporary: temporary.write_text(markdown))
    write_json(root / "report.json", done)
    console.print(markdown, highlight=False, markup=False, soft_wrap=True)
    return DONE


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(
        "pipeline.study.generator_presets",
        "Compare presets and settings of the generator on a home's garments.",
        EPILOG,
    )
    parser.add_argument("--name", default="study", help="the study's folder (default study)")
    parser.add_argument("--rows", nargs="+", default=list(USUAL), metavar="ROW", help=f"default {' '.join(USUAL)}")
    parser.add_argument(
        "--set", nargs="*", default=["width=0.25", "steps=1600"], metavar="NAME=VALUE",
        help="settings of all rows (default width=0.25 steps=1600)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings per row, seeds 0..N-1 (default 1)")
    parser.add_argument("--draws", type=int, default=3, metavar="N", help="sets of fakes per training (default 3)")
    parser.add_argument(
        "--samples", type=int, default=600, metavar="N", help="how many fakes and how many real pictures (default 600)"
    )
    parser.add_argument(
        "--half", choices=HALVES, default="both",
        help="held-out products that distances are measured to: choose settings on the first half, report figures of "
        "the second (default both)",
    )  # fmt: skip
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options, console = arguments(argv), Console()
    return ended(lambda: study(options, console), console)


if __name__ == "__main__":
    leave(main())
