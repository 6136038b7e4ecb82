"""Evaluate a generator: choose which pictures are compared, and collect the figures with their floors.

The figures themselves are in `independent.py` (a judge and pixels, which no training sees), in `shared.py` (features
that a training may use), and in `models/metrics/`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch

from models.metrics.generation import diversity
from models.metrics.judge import fit_judge
from models.metrics.memorisation import nearest_l1
from pipeline.core.generator import colours, inception, independent, shared
from pipeline.core.generator.generation import classes, equal_draws, labels
from pipeline.core.generator.held_out import Halves, halves
from pipeline.core.generator.independent import REAL
from pipeline.core.generator.metric_settings import GenerationMetricSettings
from pipeline.core.images import features

Draw = Callable[[np.ndarray], np.ndarray]  # classes int64 [n] -> pictures uint8 [n, S, S, 3]
_PAIRS = 100  # of pictures of a class, whose similarity gives the diversity
_POOL = 4  # training pictures from which floors are drawn, in multiples of `samples`


@dataclass(frozen=True)
class Figures:
    """The figures of a generator."""

    overall: dict[str, float]  # with their floors, named `real_…`
    by_class: dict[str, dict[str, float]]  # class -> figure -> value, including floors
    shared: dict[str, float]  # in features that a training may use: never choose a model by them
    colours: dict[str, dict[str, dict[str, float]]]  # "training" or "generated" -> class -> colour -> share
    pictures: dict[str, int]  # how many trained the judge, were compared, and were drawn for the floors
    notes: list[str] = field(default_factory=list)  # what was not computed, and why


def evaluate(
    draw: Draw,
    pixels: np.ndarray,
    garments: pa.Table,
    settings: GenerationMetricSettings,
    device: torch.device,
) -> Figures:
    """Compute a generator's figures.

    The held-out products are halved: one half trains the judge, the other is the reference. Fakes have the reference's
    mix of classes, and so do the training pictures that replace them in the floors. A class with too few held-out
    pictures (`held_out.halves`) has no judge: `notes` names it, and it counts only in the figures that need none.

    Args:
        draw: makes pictures of the classes asked for.
        pixels: uint8 [N, S, S, 3], rows of GARMENTS.
        garments: the table.
        settings: the most pictures compared, the least for a judge, the size for the feature network, the seed.
        device: where to compute ImageNet features; the judge is trained on the CPU.
    """
    held, label, names = np.asarray(garments["held_out"]), labels(garments), classes(garments)
    parts = halves(garments, settings.judge_minimum, settings.seed)
    known = np.flatnonzero(~held | parts.reference)
    drawn = equal_draws(held[known], label[known], len(names), settings.samples // len(names), settings.seed)
    real, train = (known[rows] for rows in drawn)
    of = label[real]
    fakes = draw(of)
    overall: dict[str, float] = {}
    by_class: dict[str, dict[str, float]] = {}
    pictures = {"compared": len(real)}
    judged = np.array([names[number] not in parts.left_out for number in of], bool)
    notes = [
        f"{name} is not judged: it has {has}, {settings.judge_minimum} are needed, of products that can be halved"
        for name, has in parts.left_out.items()
    ]
    if len(names) - len(parts.left_out) < 2:
        notes.append("the judge and pixel figures are not computed: a judge needs two classes with enough pictures")
    else:
        found, count = _independent(fakes[judged], real[judged], pixels, garments, parts, settings)
        overall, by_class = found.overall, found.by_class
        pictures |= count
    overall |= {
        f"nearest_l1_n{len(of)}": float(nearest_l1(fakes, pixels[~held])[1].mean()),
        f"{REAL}nearest_l1_n{len(of)}": float(nearest_l1(pixels[real], pixels[~held])[1].mean()),
    }
    for prefix, shown in (("", fakes), (REAL, pixels[real])):
        for name, value in diversity(shown, of, names, _PAIRS, settings.seed).items():
            (overall if name == "overall" else by_class.setdefault(name, {}))[f"{prefix}diversity_ssim"] = value
    if settings.inception_weights:
        overall |= inception.scores(fakes, pixels[real], settings.inception_weights, device)
        floors = inception.scores(pixels[train], pixels[real], settings.inception_weights, device)
        overall |= {REAL + name: value for name, value in floors.items()}
    of_features = shared.measure(
        lambda asked: features.embed(asked, size=settings.feature_size, device=device),
        f"{features.NAME}_{settings.feature_size}px",
        fakes, pixels[real], pixels[train], of, names, settings.seed,
    )  # fmt: skip
    tones = {
        "training": colours.by_class(pixels[~held], label[~held], names),
        "generated": colours.by_class(fakes, of, names),
    }
    return Figures(overall, by_class, of_features, tones, pictures, notes)


def _independent(
    fakes: np.ndarray,
    real: np.ndarray,
    pixels: np.ndarray,
    garments: pa.Table,
    parts: Halves,
    settings: GenerationMetricSettings,
) -> tuple[independent.Measured, dict[str, int]]:
    """Train the judge, and measure fakes uint8 [n, S, S, 3] against the reference rows `real` [n] of GARMENTS."""
    label, names = labels(garments), classes(garments)
    asin = np.asarray(garments["asin"].to_pylist())
    judged = [number for number, name in enumerate(names) if name not in parts.left_out]
    places = np.full(len(names), -1)
    places[judged] = np.arange(len(judged))
    place = places[label]  # class among those that are judged
    rows = np.flatnonzero(parts.judge)
    kept = tuple(names[number] for number in judged)
    judge = fit_judge(pixels[rows], place[rows], kept, settings.seed)
    ruler = independent.Ruler(judge, pixels[real])
    pool = np.flatnonzero(~np.asarray(garments["held_out"]) & (place >= 0))
    pool = np.sort(np.random.default_rng(settings.seed).permutation(pool)[: _POOL * settings.samples])
    found = independent.measure(
        ruler.describe(fakes, place[real]),
        ruler.describe(pixels[real], place[real]),
        ruler.describe(pixels[pool], place[pool]),
        asin[pool],
        kept,
        settings.seed,
    )
    return found, {"judge": len(rows), "reference": len(real), "floors": len(pool)}
