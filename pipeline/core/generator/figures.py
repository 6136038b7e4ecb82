"""Evaluate a trained generator: choose which pictures are compared, and compute each figure with its floor.

A figure is named after its protocol. Its floor is the same figure between real pictures.
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
from pipeline.core.generator.metric_settings import GenerationMetricSettings
from pipeline.core.images import features

FLOOR = "floor_"  # prefix of a figure's name: the same figure between real pictures
_NEIGHBOURS = 5  # of precision and recall (Kynkaanniemi et al. use 3, Naeem et al. 5)
_ENOUGH = 20  # least pictures of a class for distances of its own; with fewer they would mean nothing


@dataclass(frozen=True)
class Figures:
    """The figures of a generator."""

    overall: dict[str, float]
    by_class: dict[str, dict[str, float]]  # class -> figure -> value, including floors
    colours: dict[str, dict[str, dict[str, float]]]  # "training" or "generated" -> class -> colour -> share


@dataclass(frozen=True)
class _Sides:
    """The compared pictures; all three sides have the same class in each row."""

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
    """Compute the generator's figures.

    Reals are held-out pictures, and as many training pictures of each class are drawn beside them; fakes have the same
    mix of classes. Distances use ImageNet features of EfficientNet-Lite0, so they are not FID. A floor compares
    held-out with training pictures. The floor of memorisation compares one half of the held-out products with training
    pictures and with the other half.

    Args:
        generator: in eval mode.
        trained_with: its settings.
        pixels: uint8 [N, 64, 64, 3], rows of GARMENTS.
        garments: the table.
        settings: the most pictures compared, their size for the feature network, the seed of all draws.
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
    for figure, values in (
        ("class_agreement", shown), (f"{FLOOR}class_agreement", floor), ("diversity_ssim", varied),
        (f"{FLOOR}diversity_ssim", floor_varied), ("colour_distance", tone), (f"{FLOOR}colour_distance", floor_tone),
    ):  # fmt: skip
        for name in names:
            if name in values:
                by_class.setdefault(name, {})[figure] = values[name]
    return Figures(overall, by_class, tones)


def _distances(
    of: dict[str, np.ndarray], sides: _Sides, names: tuple[str, ...], source: str, seed: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Compute Frechet and kernel distance, precision and recall over all classes, and kernel distance by class."""
    n = len(sides.label)
    overall: dict[str, float] = {}
    for prefix, other in (("", of["fakes"]), (FLOOR, of["train"])):
        overall[prefix + protocol("frechet", source, n)] = frechet_distance(of["real"], other)
        overall[prefix + protocol("kernel", source, n)] = kernel_distance(of["real"], other, seed=seed)[0]
        if n > _NEIGHBOURS:
            figures = precision_recall(of["real"], other, k=_NEIGHBOURS)
            overall |= {prefix + protocol(name, f"{source}_k{_NEIGHBOURS}", n): figures[name] for name in figures}
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
    """Measure the fakes' distance to training pictures, and its ratio to that to equally many unseen pictures."""
    held, n = np.asarray(garments["held_out"]), len(sides.label)
    nearest, floor_nearest = (nearest_l1(asked, pixels[~held])[1].mean() for asked in (sides.fakes, pixels[sides.real]))
    figures = {f"nearest_l1_n{n}": float(nearest), f"{FLOOR}nearest_l1_n{n}": float(floor_nearest)}
    # For the floor, held-out pictures are halved by whole products, since pictures of one product are alike.
    _, product = np.unique(np.asarray(garments["asin"].to_pylist())[sides.real], return_inverse=True)
    asked = np.random.default_rng(seed).permutation(product.max() + 1)[product] % 2 == 0
    halves = bool(asked.any() and not asked.all())
    for name, measure, real, train, fakes in (
        ("l1", nearest_l1, pixels[sides.real], pixels[sides.train], sides.fakes),
        (source, nearest_features, of["real"], of["train"], of["fakes"]),
    ):
        ratio = protocol("memorisation_ratio", name, n)
        figures[ratio] = memorisation_ratio(fakes, train, real, seed, measure)
        if halves:
            figures[FLOOR + ratio] = memorisation_ratio(real[asked], train[~asked], real[~asked], seed, measure)
    return figures


def _colour_distances(
    fakes: np.ndarray, real: np.ndarray, train: np.ndarray, label: np.ndarray, names: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, float]]:
    """Measure by class how far the colours of fakes and of held-out pictures are from those of training pictures."""
    tone, floor = {}, {}
    for number, name in enumerate(names):
        rows = label == number
        if rows.any():
            shown, unseen, learnt = (colours.shares(x[rows]) for x in (fakes, real, train))
            tone[name], floor[name] = colours.distance(shown, learnt), colours.distance(unseen, learnt)
    return tone, floor
