"""A trained generator in figures: each under the name of its protocol, beside the same between real pictures.

The measures themselves are `models/`; which pictures are held against which is decided here.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from models.lsgan.networks import Generator
from models.lsgan.settings import LsganSettings
from models.metrics.generation import (
    ClassClassifier,
    class_agreement,
    diversity,
    frechet_distance,
    kernel_distance,
    precision_recall,
    protocol,
)
from models.metrics.memorisation import memorisation_ratio, nearest_features, nearest_l1
from pipeline.core.generator import colours, inception
from pipeline.core.generator.generation import classes, equal_draws, labels, sample
from pipeline.core.images import features
from pipeline.settings.assets import GenerationMetricSettings

FLOOR = "floor_"  # before the name of a figure: the same of real pictures
_NEIGHBOURS = 5  # of precision and recall (Kynkaanniemi et al. use 3, Naeem et al. 5)
_ENOUGH = 20  # pictures of a class, under which its own distances would say nothing


@dataclass(frozen=True)
class Figures:
    """What `evaluate` found."""

    overall: dict[str, float]
    by_class: dict[str, dict[str, float]]  # class -> figure -> value, floors among them
    colours: dict[str, dict[str, dict[str, float]]]  # "training" or "generated" -> class -> colour -> share


@dataclass(frozen=True)
class _Sides:
    """What is compared, row by row of equal numbers of each class."""

    fakes: np.ndarray  # uint8 [n, 64, 64, 3]
    real: np.ndarray  # rows of held-out pictures, [n]
    train: np.ndarray  # rows of training pictures, [n]
    label: np.ndarray  # [n], of all three


def evaluate(
    generator: Generator,
    trained_with: LsganSettings,
    pixels: np.ndarray,
    garments: pa.Table,
    settings: GenerationMetricSettings,
    device: torch.device,
) -> Figures:
    """The generator's figures.

    Reals are held-out pictures, drawn with as many training pictures of each class; fakes have their classes' mix.
    Distances rest on ImageNet features of EfficientNet-Lite0, so they are no FID. A floor is held-out against training
    pictures; of memory, one half of the held-out products against training pictures and the other half.

    Args:
        generator: in eval mode.
        trained_with: its settings.
        pixels: uint8 [N, 64, 64, 3], rows of GARMENTS.
        garments: the table.
        settings: how many pictures at most, the size the feature network sees, the seed of every draw.
        device: where to compute.
    """
    held, label, names = np.asarray(garments["held_out"]), labels(garments), classes(garments)
    real, train = equal_draws(held, label, len(names), settings.samples // len(names), settings.seed)
    fakes = sample(generator, trained_with, label[real], settings.seed, device)
    sides = _Sides(fakes, real, train, label[real])

    def embed(pictures: np.ndarray) -> np.ndarray:
        return features.embed(pictures, size=settings.feature_size, device=device)

    of = {"fakes": embed(fakes), "real": embed(pixels[real]), "train": embed(pixels[train])}
    source = f"{features.NAME}_{settings.feature_size}px"
    overall, by_class = _distances(of, sides, names, source, settings.seed)
    agreement = ClassClassifier.fit(of["real"], sides.label, len(names)).predict
    shown = class_agreement(agreement, of["fakes"], sides.label, names)
    floor = class_agreement(agreement, of["train"], sides.label, names)
    varied = diversity(fakes, sides.label, names, seed=settings.seed)
    floor_varied = diversity(pixels[real], sides.label, names, seed=settings.seed)
    tones = {
        "training": colours.by_class(pixels[~held], label[~held], names),
        "generated": colours.by_class(fakes, sides.label, names),
    }
    tone, floor_tone = _colour_distances(fakes, pixels[real], pixels[train], sides.label, names)
    overall |= {
        "class_agreement": shown["overall"],
        f"{FLOOR}class_agreement": floor["overall"],
        **{f"class_agreement_{name}": shown[name] for name in names if name in shown},
        **_memory(sides, of, pixels, garments, source, settings.seed),
        "diversity_ssim": varied["overall"],
        f"{FLOOR}diversity_ssim": floor_varied["overall"],
        "colour_distance": float(np.mean(list(tone.values()))),
        f"{FLOOR}colour_distance": float(np.mean(list(floor_tone.values()))),
    }
    if settings.inception_weights:
        overall |= inception.scores(fakes, pixels[real], settings.inception_weights, device)
        floors = inception.scores(pixels[train], pixels[real], settings.inception_weights, device)
        overall |= {FLOOR + name: value for name, value in floors.items()}
    for figure, found in (
        ("class_agreement", shown), (f"{FLOOR}class_agreement", floor), ("diversity_ssim", varied),
        (f"{FLOOR}diversity_ssim", floor_varied), ("colour_distance", tone), (f"{FLOOR}colour_distance", floor_tone),
    ):  # fmt: skip
        for name in names:
            if name in found:
                by_class.setdefault(name, {})[figure] = found[name]
    return Figures(overall, by_class, tones)


def _distances(
    of: dict[str, np.ndarray], sides: _Sides, names: tuple[str, ...], source: str, seed: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Frechet, kernel, precision and its like: overall, and the kernel distance class by class."""
    n = len(sides.label)
    overall: dict[str, float] = {}
    for prefix, other in (("", of["fakes"]), (FLOOR, of["train"])):
        overall[prefix + protocol("frechet", source, n)] = frechet_distance(of["real"], other)
        overall[prefix + protocol("kernel", source, n)] = kernel_distance(of["real"], other, seed=seed)[0]
        if n > _NEIGHBOURS:
            found = precision_recall(of["real"], other, k=_NEIGHBOURS)
            named = {prefix + protocol(name, f"{source}_k{_NEIGHBOURS}", n): found[name] for name in found}
            overall |= named
    by_class: dict[str, dict[str, float]] = {}
    for number, name in enumerate(names):
        rows = np.flatnonzero(sides.label == number)
        if len(rows) >= _ENOUGH:
            kernel = protocol("kernel", source, len(rows))
            by_class[name] = {
                kernel: kernel_distance(of["real"][rows], of["fakes"][rows], seed=seed)[0],
                FLOOR + kernel: kernel_distance(of["real"][rows], of["train"][rows], seed=seed)[0],
            }
    return overall, by_class


def _memory(
    sides: _Sides, of: dict[str, np.ndarray], pixels: np.ndarray, garments: pa.Table, source: str, seed: int
) -> dict[str, float]:
    """How near fakes are to training pictures, and the ratio to how near they are to unseen ones of equal number."""
    held, n = np.asarray(garments["held_out"]), len(sides.label)
    nearest, floor_nearest = (nearest_l1(asked, pixels[~held])[1].mean() for asked in (sides.fakes, pixels[sides.real]))
    found = {f"nearest_l1_n{n}": float(nearest), f"{FLOOR}nearest_l1_n{n}": float(floor_nearest)}
    # The floor asks one half of the held-out products, split as whole products: two pictures of one are alike.
    _, product = np.unique(np.asarray(garments["asin"].to_pylist())[sides.real], return_inverse=True)
    asked = np.random.default_rng(seed).permutation(product.max() + 1)[product] % 2 == 0
    halves = bool(asked.any() and not asked.all())
    for name, measure, real, train, fakes in (
        ("l1", nearest_l1, pixels[sides.real], pixels[sides.train], sides.fakes),
        (source, nearest_features, of["real"], of["train"], of["fakes"]),
    ):
        ratio = protocol("memorisation_ratio", name, n)
        found[ratio] = memorisation_ratio(fakes, train, real, seed, measure)
        if halves:
            found[FLOOR + ratio] = memorisation_ratio(real[asked], train[~asked], real[~asked], seed, measure)
    return found


def _colour_distances(
    fakes: np.ndarray, real: np.ndarray, train: np.ndarray, label: np.ndarray, names: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, float]]:
    """By class, how far the colours of fakes and of held-out pictures are from those of training pictures."""
    tone, floor = {}, {}
    for number, name in enumerate(names):
        rows = label == number
        if rows.any():
            shown, unseen, learnt = (colours.shares(x[rows]) for x in (fakes, real, train))
            tone[name], floor[name] = colours.distance(shown, learnt), colours.distance(unseen, learnt)
    return tone, floor
