"""`python -m pipeline.generator.study`: the generator's presets and their switches, trained alike and measured alike.

The home's garments are only read, and no pointer moves: the current generator stays current. What a figure is belongs
to `generation.py`; how a network is trained to `models/train_lsgan.py`.
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

from models.generation_metrics import (
    ClassClassifier,
    class_agreement,
    diversity,
    frechet_distance,
    kernel_distance,
    protocol,
)
from models.lsgan import Generator
from models.lsgan_settings import PRESETS, LsganSettings
from models.memorisation import memorisation_ratio
from models.train_lsgan import Progress, train
from pipeline import environment
from pipeline.command import DONE, EXIT_CODES, ended, leave
from pipeline.config import LsganConfig
from pipeline.core import parquet as pq
from pipeline.core.durable import sole_writer, write_whole
from pipeline.core.images import features
from pipeline.core.raw.sources import BadInput
from pipeline.generator import generation
from pipeline.generator.measure import kernel_to_training
from pipeline.method import Method
from pipeline.resources import Compute
from pipeline.storage import Storage, digest, write_json

# The presets, and `modern` with one switch turned at a time.
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
  Every row has the same number of steps and the same --set; what a row names itself wins over --set.

The study is $ATELIER_HOME/generator-study/NAME/: a folder a run, and report.md and report.json over all of them.
The same command goes on where it was stopped; with another --half nothing is trained again.

{EXIT_CODES}"""


@dataclass(frozen=True)
class Run:
    """One training: a row of the table under one seed."""

    row: str
    settings: LsganSettings

    def folder(self, root: Path) -> Path:
        """Its place: the row in words a folder may be named by, and its seed."""
        name = "".join(letter if letter.isalnum() or letter in "+-=.," else "_" for letter in self.row)
        return root / f"{name}-s{self.settings.seed}"


def run_of(row: str, common: dict[str, Any], seed: int, classes: int) -> Run:
    """The run that `row` names, `common` settings under it.

    Raises:
        BadInput: there is no such preset or setting, or a value does not fit.
    """
    preset, *changes = row.split("+")
    settings = Method(preset=preset).settings(LsganSettings, "lsgan", _config({**common, **_pairs(changes, row)}))
    return Run(row, replace(settings, classes=classes, seed=seed))


def _config(values: dict[str, Any]) -> LsganConfig:
    unknown = [name for name in values if name not in LsganConfig.model_fields]
    if unknown:
        raise BadInput(
            f"{', '.join(unknown)}: no setting of the generator; there are: {', '.join(LsganConfig.model_fields)}."
        )
    try:
        return LsganConfig(**values)
    except ValueError as error:
        raise BadInput(f"{values}: {error}") from error


def _pairs(changes: list[str], where: str) -> dict[str, Any]:
    pairs = [change.partition("=") for change in changes]
    if not all(sign for _, sign, _ in pairs):
        raise BadInput(f"{where!r}: give settings as name=value.")
    return {name: yaml.safe_load(text) for name, _, text in pairs}


class Garments:
    """The home's pictures of garments, and what fakes are held against; the features are computed once a study."""

    def __init__(self, storage: Storage, samples: int, device: torch.device, half: str = "both") -> None:
        """`half`: of the held-out products, those that distances are told of (`HALVES`).

        Raises BadInput where the home has none.
        """
        path = storage.tables / "garments.parquet"
        if not path.is_file():
            raise BadInput(f"{path} is missing: python -m pipeline.run --select '+key:garments' makes it.")
        self.table, self.device = pq.read_table(path), device
        self.version = generation.inputs(self.table)["garments"]
        self.names, self.labels = generation.classes(self.table), generation.labels(self.table)
        self.pixels = storage.load_garments(self.version)  # uint8 [N, 64, 64, 3]
        self.held = np.asarray(self.table["held_out"])
        self.samples, self.half = samples, half

    @functools.cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """As many held-out as training pictures of each class: the reals, and those that give the floor."""
        known = np.flatnonzero(~self.held | self._told())
        held, labels = self.held[known], self.labels[known]
        drawn = generation.equal_draws(held, labels, len(self.names), self.samples // len(self.names), 0)
        return known[drawn[0]], known[drawn[1]]

    def _told(self) -> np.ndarray:
        """Which held-out pictures are of the half's products, bool [N]."""
        if self.half == "both":
            return self.held
        product = np.asarray(self.table["asin"].to_pylist())
        products = np.random.default_rng(0).permutation(np.unique(product[self.held]))
        first = np.isin(product, products[: len(products) // 2])
        return self.held & (first if self.half == "first" else ~first)

    @functools.cached_property
    def reals(self) -> np.ndarray:
        """Features of held-out pictures."""
        return self.embed(self.pixels[self.rows[0]])

    @functools.cached_property
    def floor(self) -> np.ndarray:
        """Features of as many training pictures."""
        return self.embed(self.pixels[self.rows[1]])

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """ImageNet features of uint8 pictures."""
        return features.embed(pictures, size=FEATURE_SIZE, device=self.device)

    def halves(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the held-out pictures in two random halves: those that ask, and those whose distance is asked for."""
        first, second = np.array_split(np.random.default_rng(seed).permutation(np.flatnonzero(self.held)), 2)
        return first, second

    def memory(self, asking: np.ndarray, seed: int) -> float:
        """The distance of uint8 pictures to training pictures over that to the second half of the held-out ones."""
        return memorisation_ratio(asking, self.pixels[~self.held], self.pixels[self.halves(seed)[1]], seed)


def figures(generator: Generator, settings: LsganSettings, garments: Garments, draws: int) -> dict[str, float]:
    """A generator's figures, means over `draws` sets of fakes; `floor_` is real against real, `spread_` the sd.

    Features are EfficientNet-Lite0's. `memory` is asked of fakes and, as its floor, of held-out pictures.
    """
    wanted = garments.labels[garments.rows[0]]
    kernel, frechet = (
        protocol(name, f"{features.NAME}_{FEATURE_SIZE}px", len(wanted)) for name in ("kernel", "frechet")
    )
    judge = ClassClassifier.fit(garments.reals, wanted, len(garments.names))

    def of(fakes: np.ndarray, embedded: np.ndarray, asking: np.ndarray, seed: int) -> dict[str, float]:
        return {
            kernel: kernel_distance(garments.reals, embedded, seed=seed)[0],
            frechet: frechet_distance(garments.reals, embedded),
            "class_agreement": class_agreement(judge.predict, embedded, wanted, garments.names)["overall"],
            "diversity_ssim": diversity(fakes, wanted, garments.names, seed=seed)["overall"],
            "memory": garments.memory(asking, seed),
        }

    def drawn(seed: int) -> dict[str, float]:
        fakes = generation.sample(generator, settings, wanted, seed, garments.device)
        of_halves = garments.labels[garments.halves(seed)[0]]
        asking = generation.sample(generator, settings, of_halves, draws + seed, garments.device)
        return of(fakes, garments.embed(fakes), asking, seed)

    found = [drawn(seed) for seed in range(draws)]
    training = garments.pixels[garments.rows[1]]
    floors = [of(training, garments.floor, garments.pixels[garments.halves(seed)[0]], seed) for seed in range(draws)]
    made = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    made |= {f"spread_{name}": float(np.std([one[name] for one in found])) for name in found[0]}
    return made | {f"floor_{name}": float(np.mean([one[name] for one in floors])) for name in floors[0]}


def report(done: dict[str, list[dict]], about: str) -> str:
    """The table in Markdown: a row of the study each, means over its seeds."""
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
    """Train what is not trained, measure what is not measured, write the report. Raises BadInput for a wrong call."""
    storage = Storage(root=str(environment.writable_home()))
    device = Compute(device=environment.device()).resolve()
    garments = Garments(storage, options.samples, device, options.half)
    common = _pairs(options.set, "--set")
    runs = [run_of(row, common, seed, len(garments.names)) for row in options.rows for seed in range(options.seeds)]
    root = storage.home / "generator-study" / options.name
    pictures, labels = garments.pixels[~garments.held], garments.labels[~garments.held]
    done: dict[str, list[dict]] = {}
    with sole_writer(root):
        for number, run in enumerate(runs, 1):
            folder = run.folder(root)

            def told(now: Progress, run: Run = run, number: int = number) -> None:
                if now.note.startswith("tick"):
                    line = f"{number}/{len(runs)} {run.row} seed {run.settings.seed}: step {now.done} of {now.total}"
                    console.print(f"{line}, {now.seconds_left:.0f} s left", highlight=False, markup=False)

            measure = None  # a row that keeps its best checkpoint chooses it as the pipeline does
            if run.settings.select == "best":
                measure = kernel_to_training(pictures, labels, run.settings, device)
            trained = train(
                pictures, labels, garments.names, run.settings, folder, device, told,
                data_digest=garments.version, measure=measure,
            )  # fmt: skip
            made_by = digest(
                garments.version, run.settings, options.draws, options.samples, FEATURE_SIZE, options.half
            )  # fmt: skip
            path = folder / "figures.json"
            found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
            if found.get("made_by") != made_by:
                found = {**figures(trained.generator, run.settings, garments, options.draws), "made_by": made_by}
                write_json(path, found)
            done.setdefault(run.row, []).append(found)
    about = f"Garments {garments.version}: {len(pictures):,} train, {int(garments.held.sum()):,} held out."
    if options.half != "both":
        about += f" Distances to the {options.half} half of the held-out products."
    made = report(done, f"{about} {', '.join(options.set)}; {options.draws} draws of fakes a run.")
    write_whole(root / "report.md", lambda temporary: temporary.write_text(made))
    write_json(root / "report.json", done)
    console.print(made, highlight=False, markup=False, soft_wrap=True)
    return DONE


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.generator.study",
        description="Compare presets and switches of the generator on the garments of a home.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", default="study", help="the study's folder (default study)")
    parser.add_argument("--rows", nargs="+", default=list(USUAL), metavar="ROW", help=f"default {' '.join(USUAL)}")
    parser.add_argument(
        "--set", nargs="*", default=["width=0.25", "steps=1600"], metavar="NAME=VALUE",
        help="settings under all rows (default width=0.25 steps=1600)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings a row, seeds 0 to N-1 (default 1)")
    parser.add_argument("--draws", type=int, default=3, metavar="N", help="sets of fakes a training (default 3)")
    parser.add_argument("--samples", type=int, default=600, metavar="N", help="pictures of each side (default 600)")
    parser.add_argument(
        "--half", choices=HALVES, default="both",
        help="the held-out products that distances are told of: choose settings on the first half, tell the second's "
        "figures (default both)",
    )  # fmt: skip
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    options, console = arguments(argv), Console()
    return ended(lambda: study(options, console), console)


if __name__ == "__main__":
    leave(main())
