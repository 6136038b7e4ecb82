"""Measure generated garments by what no training sees: a judge trained on held-out pictures, and plain pixels.

Each figure has a floor, `real_NAME` with its standard deviation `real_NAME_sd`: real pictures in the place of the
generated ones. Figures in features that a training may use belong in `shared.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.metrics.generation import kernel_distance, precision_recall
from models.metrics.judge import Judge
from models.metrics.pixels import PixelComponents, radial_power, shrunk, spectrum_distance
from pipeline.core.generator import colours

REAL = "real_"  # prefix of a figure's floor
NEIGHBOURS = 5  # of precision and recall (Kynkaanniemi et al. use 3, Naeem et al. 5)
DRAWS = 20  # random halves of the training products, from which the floors are measured
_L1_SIZE = 32  # side in pixels at which memorisation compares pixels; four times faster than at 64
_MEMORY = 300  # most pictures on each side when memorisation is measured


@dataclass(frozen=True)
class Described:
    """Everything that is measured of a picture, for each picture of a set; computed once."""

    label: np.ndarray  # int [n], requested or true class
    seen: np.ndarray  # int [n], class by the judge
    judged: np.ndarray  # [n, D], the judge's features
    pixel: np.ndarray  # [n, k], coordinates in principal components of pixels
    power: np.ndarray  # [n, F], radial power of brightness
    colour: np.ndarray  # [n, colours.NAMES], shares of colours
    small: np.ndarray  # [n, 3 * 32 * 32], the picture itself

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.label)

    def rows(self, rows: np.ndarray) -> "Described":
        """Select pictures."""
        return Described(**{name: values[rows] for name, values in vars(self).items()})


class Ruler:
    """Describe sets of pictures in terms of the reference pictures; all sets must be described by the same ruler."""

    def __init__(self, judge: Judge, reference: np.ndarray) -> None:
        """Fit to the reference pictures, uint8 [n, H, W, 3].

        The judge's features get the reference's mean and one scale for all, as principal components do.
        """
        self._judge = judge
        self._components = PixelComponents.fit(reference)
        features = judge.features(reference)
        self._mean, self._scale = features.mean(axis=0), max(float((features - features.mean(axis=0)).std()), 1e-6)

    def judged(self, pictures: np.ndarray) -> np.ndarray:
        """Compute the judge's features of pictures uint8 [n, H, W, 3], on the reference's scale: float32 [n, D]."""
        return self._scaled(self._judge.features(pictures))

    def describe(self, pictures: np.ndarray, label: np.ndarray) -> Described:
        """Describe pictures uint8 [n, H, W, 3] of requested or true classes int [n]."""
        features = self._judge.features(pictures)
        return Described(
            label,
            self._judge.predict(features),
            self._scaled(features),
            self._components.transform(pictures),
            radial_power(pictures),
            colours.of_each(pictures),
            shrunk(pictures, _L1_SIZE),
        )

    def _scaled(self, features: np.ndarray) -> np.ndarray:
        return (features - self._mean) / self._scale


@dataclass(frozen=True)
class Measured:
    """Figures and their floors, over all classes (distances of the mixture, means of class shares) and by class."""

    overall: dict[str, float]
    by_class: dict[str, dict[str, float]]


def measure(
    fakes: Described,
    reference: Described,
    training: Described,
    product: np.ndarray,
    class_names: Sequence[str],
    seed: int,
) -> Measured:
    """Measure fakes against reference pictures, and real pictures in their place.

    For the floors the training products are halved at random, `DRAWS` times. From one half as many pictures of each
    class as the reference has take the place of the fakes. The other half takes the place of the training pictures in
    the memorisation ratio, also for the fakes themselves, whose ratio is the mean over all draws.

    Args:
        fakes: as many of each class as `reference`.
        reference: held-out pictures, which trained neither the generator nor the judge.
        training: pictures that the generator learnt from.
        product: the product of each training picture, [training].
        class_names: classes by number; those without reference pictures are left out.
        seed: of the draws.
    """
    draws = draws_of_real(reference.label, training.label, product, seed)
    overall, by_class = compare(fakes, reference, class_names)
    real = [compare(training.rows(as_fakes), reference, class_names) for as_fakes, _ in draws]
    floors = [dict(of_all) for of_all, _ in real]
    for name, norm, values in (("l1", 1, "small"), ("judge", 2, "judged")):
        of_fakes, of_real = memorisation(
            *(getattr(one, values) for one in (fakes, reference, training)), draws, float(norm)
        )
        if of_fakes:
            overall[f"memorisation_ratio_{name}"] = float(np.mean(of_fakes))
        for floor, value in zip(floors, of_real, strict=True):
            floor[f"memorisation_ratio_{name}"] = value
    by_class = {
        name: figures | _floors([of_classes[name] for _, of_classes in real if name in of_classes])
        for name, figures in by_class.items()
    }
    return Measured(overall | _floors(floors), by_class)


def compare(
    fakes: Described, reference: Described, class_names: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Compute the figures of fakes against reference pictures, over all classes and by class; not memorisation."""
    n = max(len(fakes), len(reference))
    overall: dict[str, float] = {}
    for name, a, b in (("judge", reference.judged, fakes.judged), ("pixel", reference.pixel, fakes.pixel)):
        overall[f"{name}_kernel"] = kernel_distance(a, b, subsets=1, subset_size=n)[0]  # of all pictures
        if min(len(a), len(b)) > NEIGHBOURS:
            spread = precision_recall(a, b, k=NEIGHBOURS)
            overall |= {f"{name}_{which}": spread[which] for which in ("precision", "recall")}
    overall["spectrum_distance"] = spectrum_distance(fakes.power, reference.power)
    by_class: dict[str, dict[str, float]] = {}
    for number, name in enumerate(class_names):
        drawn, real = fakes.label == number, reference.label == number
        if drawn.any() and real.any():
            by_class[name] = {
                "judge_agreement": float((fakes.seen[drawn] == number).mean()),
                "colour_distance": colours.distance(fakes.colour[drawn].mean(0), reference.colour[real].mean(0)),
            }
    for figure in ("judge_agreement", "colour_distance"):
        overall[figure] = float(np.mean([of[figure] for of in by_class.values()]))
    return overall, by_class


def _floors(real: Sequence[dict[str, float]]) -> dict[str, float]:
    """Average figures of real pictures over the draws that have them, with their standard deviations."""
    floors: dict[str, float] = {}
    for name in dict.fromkeys(name for one in real for name in one):
        values = [one[name] for one in real if name in one]
        floors |= {REAL + name: float(np.mean(values)), f"{REAL}{name}_sd": float(np.std(values))}
    return floors


def draws_of_real(
    wanted: np.ndarray, label: np.ndarray, product: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw pairs of training rows from two random halves of each class's products, with the mix of classes `wanted`.

    A class with fewer pictures in its half has fewer. Pairs of which one side is empty are left out.
    """
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(DRAWS):
        sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for number, count in zip(*np.unique(wanted, return_counts=True), strict=True):
            rows = np.flatnonzero(label == number)
            names, place = np.unique(product[rows], return_inverse=True)
            first = (rng.permutation(len(names)) < len(names) // 2)[place]
            for side, half in zip(sides, (rows[first], rows[~first]), strict=True):
                side.append(rng.permutation(half)[:count])
        as_fakes, as_training = (np.concatenate(side) for side in sides)
        if len(as_fakes) > 1 and len(as_training):
            draws.append((as_fakes, as_training))
    return draws


def memorisation(
    fakes: np.ndarray,
    reference: np.ndarray,
    training: np.ndarray,
    draws: Sequence[tuple[np.ndarray, np.ndarray]],
    norm: float,
) -> tuple[list[float], list[float]]:
    """Divide the mean distance to the nearest training picture by that to the nearest reference picture.

    Both sets have equally many pictures, because the nearest of more is nearer. Each draw has the training rows that
    replace the fakes, and the training rows that are searched. Returns the ratios of the fakes and of the real
    pictures, by draw. (`models/metrics/memorisation.py` has the plain version for one draw.)
    """
    fakes = fakes[_thin(len(fakes), _MEMORY)]
    from_fakes, fakes_to_reference = _distances(fakes, training, norm), _distances(fakes, reference, norm)
    training_to_reference = _distances(training, reference, norm)
    of_fakes, of_real = [], []
    for as_fakes, as_training in draws:
        size = min(len(as_training), len(reference), _MEMORY)
        asked = as_fakes[_thin(len(as_fakes), _MEMORY)]
        seen, unseen = as_training[_thin(len(as_training), size)], _thin(len(reference), size)
        of_fakes.append(_ratio(from_fakes[:, seen], fakes_to_reference[:, unseen]))
        of_real.append(
            _ratio(_distances(training[asked], training[seen], norm), training_to_reference[asked][:, unseen])
        )
    return of_fakes, of_real


def _ratio(to_training: np.ndarray, to_reference: np.ndarray) -> float:
    return float(to_training.min(axis=1).mean() / max(to_reference.min(axis=1).mean(), 1e-12))


def _distances(a: np.ndarray, b: np.ndarray, norm: float) -> np.ndarray:
    mode = "donot_use_mm_for_euclid_dist"  # a matrix product would give equal rows a distance above 0
    return torch.cdist(torch.from_numpy(a), torch.from_numpy(b), p=norm, compute_mode=mode).numpy()


def _thin(count: int, most: int) -> np.ndarray:
    """Choose evenly spread places, at most `most` of `count`; rows are in order of class, so all classes stay."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)
