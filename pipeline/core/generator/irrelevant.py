"""Find pictures that do not show their garment class: near-duplicates, pictures of another class, and outliers.

Classes come from words (`categories.py`); this module checks them by the pictures. Features are centred and reduced to
64 principal components, then compared by a classifier and by neighbours. Neither ever sees another picture of the same
product. The reasons:

- near-duplicate: the same photograph as an earlier row, of any product;
- other class: a logistic regression gives the picture's own class a probability under `own_class`;
- outlier: its mean distance to the 10 nearest pictures of its class is over `outlier` times the class's median.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
from typing_extensions import Doc

from pipeline.core.images import near_duplicates

REASONS = ("near_duplicate", "other_class", "outlier")  # by priority: a picture gets the first that applies
_COMPONENTS = 64
_FOLDS = 5
_NEIGHBOURS = 10
_ENOUGH = 30  # least pictures of every class; with fewer, features are not used


@dataclass(frozen=True)
class RelevanceSettings:
    """Thresholds for discarding pictures; an invalid one raises a ValueError naming the field."""

    own_class: Annotated[
        float, Doc("Minimum out-of-fold probability of a picture's own class, under 1; 0: rule off.")
    ] = 0.1
    outlier: Annotated[float, Doc("Maximum distance to neighbours, in class medians, over 1; 0: rule off.")] = 1.6
    near_duplicates: Annotated[bool, Doc("Keep only one picture of each near-duplicate cluster.")] = True
    feature_size: Annotated[int, Doc("Side in pixels of the pictures given to the frozen ImageNet network.")] = 64

    def __post_init__(self) -> None:
        if self.feature_size < 1:
            raise ValueError(f"feature_size is {self.feature_size}; it must be at least 1")
        if not 0 <= self.own_class < 1:
            raise ValueError(f"own_class is {self.own_class}; it must be in [0, 1)")
        if self.outlier and not self.outlier > 1:
            raise ValueError(f"outlier is {self.outlier}; it must be over 1 (the median picture has 1), or 0 for off")

    @property
    def asks_features(self) -> bool:
        """Whether any rule uses features."""
        return bool(self.own_class or self.outlier)


@dataclass(frozen=True)
class Findings:
    """The result for each of n pictures."""

    reason: np.ndarray  # [n] str: "" for a picture that stays, else one of REASONS
    own_class: np.ndarray  # [n] float64, out-of-fold probability of its class; nan if nothing was fitted
    seen_as: np.ndarray  # [n] int64, the likeliest class
    distance: np.ndarray  # [n] float64, to its neighbours, divided by the class's median; nan if a class is too small

    @property
    def kept(self) -> np.ndarray:
        """Mark the pictures that stay, bool [n]."""
        return self.reason == ""


def find_irrelevant(
    features: np.ndarray, pixels: np.ndarray, label: np.ndarray, product: np.ndarray, settings: RelevanceSettings
) -> Findings:
    """Find the irrelevant ones of n pictures; the first row of near-duplicates stays.

    Args:
        features: float [n, D].
        pixels: uint8 [n, H, W, 3].
        label: int [n], the class given by words.
        product: str [n]; pictures of one product are never compared with each other.
        settings: thresholds.

    The result is deterministic: a hash of the product assigns the folds, and everything else is exact.
    """
    n, classes = len(label), np.unique(label)
    reason = np.full(n, "", dtype="U16")
    own, seen_as, distance = np.full(n, np.nan), label.astype(np.int64), np.full(n, np.nan)
    enough = min((int((label == c).sum()) for c in classes), default=0) >= _ENOUGH
    if settings.asks_features and enough and len(classes) > 1:
        reduced = _reduced(features)
        own, seen_as = _out_of_fold(reduced, label, product)
        for c in classes:
            rows = np.flatnonzero(label == c)
            gap = _neighbour_distance(reduced[rows], product[rows])
            distance[rows] = gap / np.median(gap)
        if settings.outlier:
            reason[distance > settings.outlier] = "outlier"
        if settings.own_class:
            reason[own < settings.own_class] = "other_class"
    if settings.near_duplicates:
        reason[_later_copies(pixels)] = "near_duplicate"
    return Findings(reason, own, seen_as, distance)


def _reduced(features: np.ndarray) -> np.ndarray:
    """Project features on their principal components, float64 [n, at most 64], without rescaling."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return centred @ vectors[:, np.argsort(values)[::-1][:_COMPONENTS]]


def _fold(product: np.ndarray) -> np.ndarray:
    """Assign a fold to each row by its product, int64 [n]."""
    names, row = np.unique(product, return_inverse=True)
    place = [hashlib.blake2b(str(name).encode(), digest_size=4).digest() for name in names]
    return np.array([int.from_bytes(digest) % _FOLDS for digest in place], np.int64)[row]


def _out_of_fold(reduced: np.ndarray, label: np.ndarray, product: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predict the probability of each row's own class, float64 [n], and its likeliest class, int64 [n], out of fold."""
    from sklearn.linear_model import LogisticRegression

    scaled = reduced / np.maximum(reduced.std(axis=0), 1e-9)
    fold = _fold(product)
    own, seen_as = np.full(len(label), np.nan), label.astype(np.int64)
    for number in range(_FOLDS):
        test = fold == number
        if not test.any() or len(np.unique(label[~test])) < len(np.unique(label)):
            continue  # the other folds lack a class, so this fold is skipped
        fitted = LogisticRegression(max_iter=300, class_weight="balanced").fit(scaled[~test], label[~test])
        probability = fitted.predict_proba(scaled[test])
        own[test] = probability[np.arange(test.sum()), np.searchsorted(fitted.classes_, label[test])]
        seen_as[test] = fitted.classes_[probability.argmax(axis=1)]
    return own, seen_as


def _neighbour_distance(reduced: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Compute the mean distance of each row to its nearest rows of other products, float64 [n]."""
    from sklearn.neighbors import NearestNeighbors

    _, number = np.unique(product, return_inverse=True)
    # All pictures of a row's own product may be nearer than others, so search for that many more.
    most = min(len(reduced) - 1, _NEIGHBOURS + int(np.bincount(number).max()) - 1)
    distance, index = NearestNeighbors(n_neighbors=most + 1, algorithm="brute").fit(reduced).kneighbors(reduced)
    distance = np.where(number[index] == number[:, None], np.inf, distance)
    nearest = np.sort(distance, axis=1)[:, :_NEIGHBOURS]
    counted = np.isfinite(nearest)
    return np.where(counted, nearest, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


def _later_copies(pixels: np.ndarray) -> np.ndarray:
    """Find the rows that are near-duplicates of an earlier one, int64."""
    no_items = pa.table({"sha256": pa.array([], pa.string()), "item": pa.array([], pa.int32())})
    names = pa.array([str(row) for row in range(len(pixels))])
    duplicates = near_duplicates.find(pixels, names, no_items)
    cluster = duplicates.table["cluster"].fill_null(-1).to_numpy()
    _, first = np.unique(cluster, return_index=True)
    later = cluster >= 0
    later[first] = False
    return np.flatnonzero(later)
