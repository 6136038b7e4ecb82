"""`python -m pipeline.generator.source_comparison`: a generator on vendor pictures, and on customers' as well.

The re-run's abstract holds that customer pictures worsen generation. Here both are trained from a home's pictures with
the same settings, steps and seed, and held against the same unseen pictures: of the products that both leave out,
the vendor's, and all. The home's own generator and garments are neither read nor written.
"""

import argparse
import dataclasses
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from rich.console import Console
from rich.table import Table

from models.lsgan_settings import LsganSettings
from models.train_lsgan import load_generator, train
from pipeline import environment, profiles
from pipeline.command import DONE, EXIT_CODES, ended, leave
from pipeline.core import parquet as pq
from pipeline.core.generator import garments
from pipeline.core.generator.garments import Garments
from pipeline.core.generator.irrelevant import RelevanceSettings
from pipeline.core.images import features
from pipeline.core.images.ledger import PictureStore
from pipeline.core.raw.sources import BadInput
from pipeline.generator import figures, generation
from pipeline.method import Method
from pipeline.resources import Compute
from pipeline.settings import GarmentSettings, GenerationMetricSettings
from pipeline.storage import Storage, digest, write_json
from pipeline.views.metadata import table_digest

READ = ("image_urls", "image_ledger", "products")
SIDES = ("vendor", "vendor_customer")


@dataclass(frozen=True)
class Compared:
    """What was found: side of training -> side of the unseen pictures -> figure -> value; and of each, its pictures."""

    figures: dict[str, dict[str, dict[str, float]]]
    pictures: dict[str, dict[str, int]]
    path: str


def compare(storage: Storage, method: Method, device: torch.device, say: Console | None = None) -> Compared:
    """Train and judge both; the result is also written to `source_comparison/report.json` of the home.

    Raises:
        BadInput: a table is missing, or the home has no customer pictures of the garment classes.
    """
    missing = [name for name in READ if not (storage.tables / f"{name}.parquet").is_file()]
    if missing:
        raise BadInput(
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
        raise BadInput(
            f"the home {storage.home} has no customers' pictures of garments: there is nothing to compare. Its reviews "
            "must name some (`image`), and items with a garment class."
        )
    trained_with = method.settings(LsganSettings, "lsgan")
    names = generation.classes(built["vendor"].table)
    trained_with = dataclasses.replace(trained_with, classes=len(names))
    # An epoch of more pictures is more steps; both get those of the smaller set, so that steps are equal.
    if trained_with.steps is None:
        fewest = min(int((~np.asarray(made.table["held_out"])).sum()) for made in built.values())
        steps = max(1, round(trained_with.epochs * fewest / trained_with.batch_size))
        trained_with = dataclasses.replace(trained_with, steps=steps)
    metrics = method.settings(GenerationMetricSettings, "generator_evaluation")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for side, made in built.items():
        learns = ~np.asarray(made.table["held_out"])
        version = table_digest(made.table)
        folder = storage.home / "source_comparison" / digest(side, version, trained_with)
        if say is not None:
            say.print(f"training on {side}: {int(learns.sum()):,} pictures, {trained_with.steps:,} steps")
        if not (folder / "meta.json").is_file():
            labels = generation.labels(made.table)[learns]
            train(made.pixels[learns], labels, names, trained_with, folder, device, data_digest=version)
        generator, _, _ = load_generator(folder, device)
        found[side] = {
            f"unseen_{judge}": figures.evaluate(
                generator, trained_with, built[judge].pixels, built[judge].table, metrics, device
            ).overall
            for judge in SIDES
        }
    path = storage.home / "source_comparison" / "report.json"
    write_json(path, {"figures": found, "pictures": by_source, "settings": vars(trained_with)})
    return Compared(found, by_source, str(path))


def _by_source(table: pa.Table) -> dict[str, int]:
    learns = table.filter(pc.invert(table["held_out"]))
    counted = pc.value_counts(learns["source"]).to_pylist()
    return {row["values"]: row["counts"] for row in counted}


def shown(compared: Compared) -> Table:
    """The figures side by side: a row a figure and kind of unseen pictures, a column a generator, then the floor."""
    table = Table(title="Generators by the pictures they learnt from", title_justify="left")
    for column in ("figure", "against", *(f"{side}" for side in SIDES), "real pictures"):
        # The names of figures tell their protocol: none is cut off.
        table.add_column(column, justify="left" if column in ("figure", "against") else "right", overflow="fold")
    floor = figures.FLOOR
    for judge in (f"unseen_{side}" for side in SIDES):
        first = compared.figures[SIDES[0]][judge]
        for name in first:
            if name.startswith((floor, "class_agreement_")):
                continue
            values = [compared.figures[side][judge].get(name, float("nan")) for side in SIDES]
            floor_value = first.get(floor + name)
            table.add_row(
                name, judge.replace("_", " "), *(f"{value:.3f}" for value in values),
                "" if floor_value is None else f"{floor_value:.3f}",
            )  # fmt: skip
    return table


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.generator.source_comparison",
        description="Train the generator on vendor pictures and on vendor and customer pictures of the home "
        "(ATELIER_HOME), at equal steps, and hold both against the same unseen pictures.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", default="", help=f"{', '.join(profiles.names())}, or a path; as the home was made")
    parser.add_argument("--preset", default="", help="paper, kang2017 or modern; default: the profile's")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    options, console = arguments(argv), Console()

    def work() -> int:
        method = Method(preset=options.preset, profile=options.profile)
        method.chosen_preset()
        storage = Storage(root=str(environment.writable_home()))
        compared = compare(storage, method, Compute(device=environment.device()).resolve(), console)
        console.print(shown(compared))
        for side, counts in compared.pictures.items():
            console.print(f"{side}: " + ", ".join(f"{count:,} {source}" for source, count in counts.items()))
        console.print(f"[bold]Report[/]: {compared.path}")
        return DONE

    return ended(work, console)


if __name__ == "__main__":
    leave(main())
