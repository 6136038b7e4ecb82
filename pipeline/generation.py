"""From a trained generator to the figures and pictures people look at: samples, metrics, galleries.

The measures themselves are `models/generation_metrics.py`; Dagster and MLflow are the assets' business.
"""

import numpy as np
import pyarrow as pa
import torch

from models.generation_metrics import (
    ClassClassifier,
    class_agreement,
    diversity,
    frechet_distance,
    kernel_distance,
    memorisation_ratio,
    nearest_l1,
    protocol,
)
from models.lsgan import Generator, sample_z, to_pixels
from models.lsgan_settings import LsganSettings
from pipeline.core import features
from pipeline.core.garment_classes import classes_of
from pipeline.metadata import table_digest

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


def evaluate(
    generator: Generator,
    settings: LsganSettings,
    pixels: np.ndarray,
    garments: pa.Table,
    *,
    samples: int,
    feature_size: int,
    seed: int,
    device: torch.device,
) -> dict[str, float]:
    """The generator's figures, each under the name of its protocol, with the real-against-real floor beside it.

    Reals are held-out pictures; fakes have their classes' mix. Frechet and kernel distances rest on ImageNet features
    of EfficientNet-Lite0, so they are no FID; `floor_` is the same between held-out and training pictures.

    Args:
        generator: in eval mode.
        settings: what it was trained with.
        pixels: uint8 [N, 64, 64, 3], rows of GARMENTS.
        garments: the table.
        samples: pictures compared on each side, at most; fewer where fewer are held out.
        feature_size: pixels a side the feature network sees.
        seed: of every draw.
        device: where to compute.
    """
    held, label, names = np.asarray(garments["held_out"]), labels(garments), classes(garments)
    real_rows, train_rows = equal_draws(held, label, len(names), samples // len(names), seed)
    n = len(real_rows)
    wanted = label[real_rows]
    fakes = sample(generator, settings, wanted, seed, device)

    def embed(pictures: np.ndarray) -> np.ndarray:
        return features.embed(pictures, size=feature_size, device=device)

    of_fakes, of_reals, of_train = embed(fakes), embed(pixels[real_rows]), embed(pixels[train_rows])
    frechet, kernel = (protocol(name, f"{features.NAME}_{feature_size}px", n) for name in ("frechet", "kernel"))
    judge = ClassClassifier.fit(of_reals, wanted, len(names))
    agreement = class_agreement(judge.predict, of_fakes, wanted, names)
    of_training = class_agreement(judge.predict, of_train, label[train_rows], names)
    _, distance = nearest_l1(fakes, pixels[~held])
    return {
        frechet: frechet_distance(of_reals, of_fakes),
        f"floor_{frechet}": frechet_distance(of_reals, of_train),
        kernel: kernel_distance(of_reals, of_fakes, seed=seed)[0],
        f"floor_{kernel}": kernel_distance(of_reals, of_train, seed=seed)[0],
        "class_agreement": agreement.pop("overall"),
        "floor_class_agreement": of_training["overall"],
        **{f"class_agreement_{name}": share for name, share in agreement.items()},
        f"nearest_l1_n{n}": float(distance.mean()),
        f"memorisation_ratio_n{n}": memorisation_ratio(fakes, pixels[~held], pixels[held], seed),
        "diversity_ssim": diversity(fakes, wanted, names, seed=seed)["overall"],
        "floor_diversity_ssim": diversity(pixels[real_rows], wanted, names, seed=seed)["overall"],
    }


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
