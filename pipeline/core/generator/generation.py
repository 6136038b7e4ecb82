"""From a trained generator to the pictures people look at: samples, galleries, and what GARMENTS says of its rows.

Its figures are `generator_figures.py`; Dagster and MLflow are the assets' business.
"""

import numpy as np
import pyarrow as pa
import torch

from models.data.picture_grid import grid
from models.lsgan.networks import Generator, sample_z, to_pixels
from models.lsgan.settings import LsganSettings
from models.metrics.memorisation import nearest_l1
from pipeline.core.generator.garment_classes import classes_of
from pipeline.core.generator.garments import Discarded
from pipeline.views.metadata import table_digest

BATCH = 256


def classes(garments: pa.Table) -> tuple[str, ...]:
    """The classes that GARMENTS was made with; a class's number is its place."""
    return classes_of(garments, "garments")


def inputs(garments: pa.Table) -> dict[str, str]:
    """What a generator is made from, for its folder's name and manifest: the table's digest, and the classes in order.

    The classes count apart: in another order the same rows have other numbers.
    """
    return {"garments": table_digest(garments), "classes": ", ".join(classes(garments))}


def labels(garments: pa.Table) -> np.ndarray:
    """The class number of every row of GARMENTS, int64 [N]."""
    number = {name: place for place, name in enumerate(classes(garments))}
    return np.array([number[name] for name in garments["garment_class"].to_pylist()], np.int64)


def sample(
    generator: Generator, settings: LsganSettings, wanted: np.ndarray, seed: int, device: torch.device
) -> np.ndarray:
    """Garments of the wanted classes, int64 [n] -> uint8 [n, 64, 64, 3]; z as in training."""
    noise = torch.Generator().manual_seed(seed)
    made = []
    with torch.inference_mode():
        for start in range(0, len(wanted), BATCH):
            label = torch.from_numpy(wanted[start : start + BATCH])
            z = sample_z(settings, len(label), noise)
            made.append(to_pixels(generator(z.to(device), label.to(device))).cpu().numpy())
    return np.concatenate(made)


def examples(garments: pa.Table, seed: int, count: int) -> np.ndarray:
    """Rows of `count` seeded pictures of each class, int64 [classes, count]; few are shown again."""
    rng, label = np.random.default_rng(seed), labels(garments)
    rows = [np.flatnonzero(label == number) for number in range(len(classes(garments)))]
    return np.stack([rng.choice(found, count, replace=len(found) < count) for found in rows])


def one_of_each_class(garments: pa.Table, count: int, seed: int) -> np.ndarray:
    """Rows of `count` vendor pictures, the classes taking turns, int64 [count]."""
    rng, label = np.random.default_rng(seed), labels(garments)
    vendor = np.array([source == "vendor" for source in garments["source"].to_pylist()], bool)
    count_of_classes = len(classes(garments))
    picked = [rng.permutation(np.flatnonzero((label == number) & vendor)) for number in range(count_of_classes)]
    rounds = [rows[turn] for turn in range(max(map(len, picked))) for rows in picked if turn < len(rows)]
    return np.array(rounds[:count], np.int64)


def discarded_sheet(discarded: Discarded, columns: int) -> np.ndarray | None:
    """A row for each class and reason, the clearest cases first; None where nothing was discarded."""
    rows: dict[str, list[int]] = {}
    for row, (name, reason) in enumerate(zip(discarded.garment_class, discarded.reason, strict=True)):
        rows.setdefault(f"{name} - {reason}", []).append(row)
    if not rows:
        return None
    pictures = np.full((len(rows), columns, *discarded.pixels.shape[1:]), 255, np.uint8)
    for place, found in enumerate(rows.values()):
        shown = found[:columns]
        pictures[place, : len(shown)] = discarded.pixels[shown]
    return grid(pictures, row_labels=[f"{label} ({len(found)})" for label, found in rows.items()])


def gallery(
    generator: Generator,
    settings: LsganSettings,
    pixels: np.ndarray,
    garments: pa.Table,
    columns: int,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixed-seed garments and the training pictures nearest to them in L1 (NAF's check on novelty).

    Returns:
        Garments uint8 [classes, columns, 64, 64, 3], their nearest training pictures likewise, and the distance
        [classes, columns] in grey levels.
    """
    names = classes(garments)
    wanted = np.repeat(np.arange(len(names)), columns)
    fakes = sample(generator, settings, wanted, 0, device)
    training = pixels[~np.asarray(garments["held_out"])]
    index, distance = nearest_l1(fakes, training)
    shape = (len(names), columns, *pixels.shape[1:])
    return fakes.reshape(shape), training[index].reshape(shape), distance.reshape(len(names), columns)


def beside(fakes: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Rows of garments with the row of their nearest pictures under each: [2 * classes, columns, H, W, 3]."""
    return np.stack([fakes, nearest], axis=1).reshape(2 * len(fakes), *fakes.shape[1:])


def equal_draws(
    held: np.ndarray, label: np.ndarray, classes: int, most: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of as many held-out as training pictures of each class, at most `most` of it: (held-out, training)."""
    rng = np.random.default_rng(seed)
    real, training = [], []
    for number in range(classes):
        sides = [rng.permutation(np.flatnonzero((held == side) & (label == number))) for side in (True, False)]
        count = min(most, *map(len, sides))
        real.append(sides[0][:count])
        training.append(sides[1][:count])
    return np.concatenate(real), np.concatenate(training)
