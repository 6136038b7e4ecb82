"""Compare a generator of vendor pictures with one of vendor and customer pictures.

Run as `python -m pipeline.study.generator_sources`. It tests a claim of the re-run's abstract: customer pictures worsen
generation. Both generators train with the same settings, steps and seed, and are compared with the same unseen
pictures of products that neither has seen: vendor pictures alone, then all. The home's own generator and garments are
neither read nor written.
"""

import argparse
import dataclasses
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from rich.console import Console
from rich.table import Table

from models.lsgan.networks import Generator
from models.lsgan.settings import LsganSettings
from models.lsgan.train import load_generator, train
from pipeline.core import parquet as pq
from pipeline.core.errors import InputError
from pipeline.core.generator import figures, garments, generation
from pipeline.core.generator.garments import Garments
from pipeline.core.generator.independent import REAL
from pipeline.core.generator.irrelevant import RelevanceSettings
from pipeline.core.generator.metric_settings import GenerationMetricSettings
from pipeline.core.images import features
from pipeline.core.images.ledger import PictureStore
from pipeline.core.tables import table_digest
from pipeline.home import environment
from pipeline.home.storage import Storage, digest, write_json
from pipeline.runtime.arguments import add_preset, add_profile, command_parser
from pipeline.runtime.exits import DONE, ended, leave
from pipeline.runtime.resources import Compute
from pipeline.settings.assets import GarmentSettings
from pipeline.settings.method import Method

READ = ("image_urls", "image_ledger", "products")
SIDES = ("vendor", "vendor_customer")


@dataclass(frozen=True)
class SourceComparison:
    """The result of the comparison."""

    figures: dict[str, dict[str, dict[str, float]]]  # side trained on -> unseen side -> figure -> value
    pictures: dict[str, dict[str, int]]  # side trained on -> source -> number of training pictures
    path: str


def compare(storage: Storage, method: Method, device: torch.device, say: Console | None = None) -> SourceComparison:
    """Train and evaluate both generators, and write `source_comparison/report.json` in the home.

    Raises:
        InputError: a table is missing, or the home has no customer pictures of the garment classes.
    """
    missing = [name for name in READ if not (storage.tables / f"{name}.parquet").is_file()]
    if missing:
        raise InputError(
            f"the home {storage.home} lacks {', '.join(missing)}: materialise them first (python -m pipeline.run)."
        )
    urls, ledger, products = (pq.read_table(storage.tables / f"{name}.parquet") for name in READ)
    settings = method.settings(GarmentSettings, "garments")
    relevance = method.settings(RelevanceSettings, "garments")
    store = PictureStore(storage.pictures)
    built: dict[str, Garments] = {}
    for side in SIDES:
        chosen = dataclasses.replace(settings, sources=side)
        built[side] = garments.build(
            urls, ledger, products, store, relevance=relevance, **vars(chosen),
            embed=lambda pixels: features.embed(pixels, size=relevance.feature_size, device=device),
        )  # fmt: skip
    by_source = {side: _by_source(built[side].table) for side in SIDES}
    if not by_source["vendor_customer"].get("customer"):
        raise InputError(
            f"the home {storage.home} has no customers' pictures of garments: there is nothing to compare. It needs "
            "reviews with pictures (`image`) of items that have a garment class."
        )
    trained_with = method.settings(LsganSettings, "lsgan")
    names = generation.classes(built["vendor"].table)
    trained_with = dataclasses.replace(trained_with, classes=len(names))
    # An epoch of the larger set has more steps. Both train for the steps of the smaller set, to be comparable.
    if trained_with.steps is None:
        fewest = min(int((~np.asarray(of_side.table["held_out"])).sum()) for of_side in built.values())
        steps = max(1, round(trained_with.epochs * fewest / trained_with.batch_size))
        trained_with = dataclasses.replace(trained_with, steps=steps)
    metrics = method.settings(GenerationMetricSettings, "generator_evaluation")
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for side, of_side in built.items():
        trains = ~np.asarray(of_side.table["held_out"])
        version = table_digest(of_side.table)
        folder = storage.home / "source_comparison" / digest(side, version, trained_with)
        if say is not None:
            say.print(f"training on {side}: {int(trains.sum()):,} pictures, {trained_with.steps:,} steps")
        if not (folder / "meta.json").is_file():
            labels = generation.labels(of_side.table)[trains]
            train(of_side.pixels[trains], labels, names, trained_with, folder, device, data_digest=version)
        generator, _, _ = load_generator(folder, device)
        draw = partial(_draw, generator, metrics.seed, device)
        measured[side] = {
            f"unseen_{unseen}": figures.evaluate(
                draw, built[unseen].pixels, built[unseen].table, metrics, device
            ).overall
            for unseen in SIDES
        }
    path = storage.home / "source_comparison" / "report.json"
    write_json(path, {"figures": measured, "pictures": by_source, "settings": vars(trained_with)})
    return SourceComparison(measured, by_source, str(path))


def _draw(generator: Generator, seed: int, device: torch.device, wanted: np.ndarray) -> np.ndarray:
    return generation.sample(generator, wanted, seed, device)


def _by_source(table: pa.Table) -> dict[str, int]:
    training = table.filter(pc.invert(table["held_out"]))
    counts = pc.value_counts(training["source"]).to_pylist()
    return {row["values"]: row["counts"] for row in counts}


def to_table(compared: SourceComparison) -> Table:
    """Lay out the figures: one row per figure and kind of unseen pictures, one column per generator, then the floor."""
    table = Table(title="Generators by the pictures they learnt from", title_justify="left")
    for column in ("figure", "against", *(f"{side}" for side in SIDES), "real pictures"):
        # A figure's name contains its protocol, so fold it rather than cut it off.
        table.add_column(column, justify="left" if column in ("figure", "against") else "right", overflow="fold")
    for unseen in (f"unseen_{side}" for side in SIDES):
        first = compared.figures[SIDES[0]][unseen]
        for name in first:
            if name.startswith(REAL):
                continue
            values = [compared.figures[side][unseen].get(name, float("nan")) for side in SIDES]
            floor_value = first.get(REAL + name)
            table.add_row(
                name, unseen.replace("_", " "), *(f"{value:.3f}" for value in values),
                "" if floor_value is None else f"{floor_value:.3f}",
            )  # fmt: skip
    return table


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(
        "pipeline.study.generator_sources",
        "Train the generator on vendor pictures and on vendor and customer pictures of the home (ATELIER_HOME), for\n"
        "equal steps, and measure both against the same unseen pictures.",
    )
    add_profile(parser)
    add_preset(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options, console = arguments(argv), Console()

    def work() -> int:
        method = Method(preset=options.preset, profile=options.profile)
        method.chosen_preset()
        storage = Storage(root=str(environment.writable_home()))
        compared = compare(storage, method, Compute(device=environment.device()).resolve(), console)
        console.print(to_table(compared))
        for side, counts in compared.pictures.items():
            console.print(f"{side}: " + ", ".join(f"{count:,} {source}" for source, count in counts.items()))
        console.print(f"[bold]Report[/]: {compared.path}")
        return DONE

    return ended(work, console)


if __name__ == "__main__":
    leave(main())
