"""Make samples and galleries of a trained generator, and read classes and labels from GARMENTS.

Nothing here may import Dagster or MLflow.
"""

import numpy as np
import pyarrow as pa
import torch

from models.data.picture_grid import grid
from models.data.pictures import to_pixels
from models.design.networks import AnyGenerator
from models.lsgan.networks import sample_z
from models.metrics.memorisation import nearest_l1
from pipeline.core.generator.garment_classes import classes_of
from pipeline.core.generator.garments import Discarded
from pipeline.core.tables import table_digest

BATCH = 256


def classes(garments: pa.Table) -> tuple[str, ...]:
    """Return the classes that GARMENTS was made with; a class's number is its place."""
    return classes_of(garments, "garments")


def inputs(garments: pa.Table) -> dict[str, str]:
    """Identify a generator's inputs, for its folder's name and manifest: the table's digest, and the classes in order.

    The classes are listed separately because the same rows get other class numbers when the order changes.
    """
    return {"garments": table_digest(garments), "classes": ", ".join(classes(garments))}


def labels(garments: pa.Table) -> np.ndarray:
    """Return the class number of every row of GARMENTS, int64 [N]."""
    number = {name: place for place, name in enumerate(classes(garments))}
    return np.array([number[name] for name in garments["garment_class"].to_pylist()], np.int64)


def sample(generator: AnyGenerator, wanted: np.ndarray, seed: int, device: torch.device) -> np.ndarray:
    """Generate garments of the wanted classes, int64 [n] -> uint8 [n, side, side, 3], with z drawn as in training."""
    noise = torch.Generator().manual_seed(seed)
    batches = []
    with torch.inference_mode():
        for start in range(0, len(wanted), BATCH):
            label = torch.from_numpy(wanted[start : start + BATCH])
            z = sample_z(generator, len(label), noise)
            batches.append(to_pixels(generator(z.to(device), label.to(device))).cpu().numpy())
    return np.concatenate(batches)


def examples(garments: pa.Table, seed: int, count: int) -> np.ndarray:
    """Draw rows of `count` pictures of each class, int64 [classes, count]; a class with fewer repeats some."""
    rng, label = np.random.default_rng(seed), labels(garments)
    rows = [np.flatnonzero(label == number) for number in range(len(classes(garments)))]
    return np.stack([rng.choice(of_class, count, replace=len(of_class) < count) for of_class in rows])


def one_of_each_class(garments: pa.Table, count: int, seed: int) -> np.ndarray:
    """Draw rows of `count` vendor pictures, taking the classes in turn, int64 [count]."""
    rng, label = np.random.default_rng(seed), labels(garments)
    vendor = np.array([source == "vendor" for source in garments["source"].to_pylist()], bool)
    count_of_classes = len(classes(garments))
    picked = [rng.permutation(np.flatnonzero((label == number) & vendor)) for number in range(count_of_classes)]
    rounds = [rows[turn] for turn in range(max(map(len, picked))) for rows in picked if turn < len(rows)]
    return np.array(rounds[:count], np.int64)


def discarded_sheet(discarded: Discarded, columns: int) -> np.ndarray | None:
    """Lay out discarded pictures, one row per class and reason, the clearest first; None if there are none."""
    rows: dict[str, list[int]] = {}
    for row, (name, reason) in enumerate(zip(discarded.garment_class, discarded.reason, strict=True)):
        rows.setdefault(f"{name} - {reason}", []).append(row)
    if not rows:
        return None
    pictures = np.full((len(rows), columns, *discarded.pixels.shape[1:]), 255, np.uint8)
    for place, of_row in enumerate(rows.values()):
        shown = of_row[:columns]
        pictures[place, : len(shown)] = discarded.pixels[shown]
    return grid(pictures, row_labels=[f"{label} ({len(of_row)})" for label, of_row in rows.items()])


def gallery(
    generator: AnyGenerator,
    pixels: np.ndarray,
    garments: pa.Table,
    columns: int,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generate fixed-seed garments, and find the training pictures nearest to them in L1 (NAF's check on novelty).

    Returns:
        Garments uint8 [classes, columns, 64, 64, 3], their nearest training pictures likewise, and the distance
        [classes, columns] in grey levels.
    """
    names = classes(garments)
    wanted = np.repeat(np.arange(len(names)), columns)
    fakes = sample(generator, wanted, 0, device)
    training = pixels[~np.asarray(garments["held_out"])]
    index, distance = nearest_l1(fakes, training)
    shape = (len(names), columns, *pixels.shape[1:])
    return fakes.reshape(shape), training[index].reshape(shape), distance.reshape(len(names), columns)


def beside(fakes: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Put the row of nearest pictures under each row of garments: [2 * classes, columns, H, W, 3]."""
    return np.stack([fakes, nearest], axis=1).reshape(2 * len(fakes), *fakes.shape[1:])


def equal_draws(
    held: np.ndarray, label: np.ndarray, classes: int, most: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw equally many held-out and training rows of each class, at most `most` each: (held-out, training)."""
    rng = np.random.default_rng(seed)
    real, training = [], []
    for number in range(classes):
        sides = [rng.permutation(np.flatnonzero((held == side) & (label == number))) for side in (True, False)]
        count = min(most, *map(len, sides))
        real.append(sides[0][:count])
        training.append(sides[1][:count])
    return np.concatenate(real), np.concatenate(training)
