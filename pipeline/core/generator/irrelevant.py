"""Which pictures of a garment class do not show it: the odd one out, another class, the same photograph again.

Works on features and small pictures; which network made the features, and what is done with the verdict, belongs to
the caller. The category words have spoken before (`categories.py`): here the picture itself is asked.

The rule. Features are centred, reduced to 64 principal components and judged by a classifier and by neighbours, both
of which have never seen another picture of the same product:

- near-duplicate: the same photograph as an earlier row (`near_duplicates.py`), of any product;
- other class: a logistic regression gives the picture's own class a probability under `own_class`;
- outlier: its mean distance to the 10 nearest pictures of its class is over `outlier` times the class's median.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.images import near_duplicates

REASONS = ("near_duplicate", "other_class", "outlier")  # in this order: a picture has the first that fits
_COMPONENTS = 64
_FOLDS = 5
_NEIGHBOURS = 10
_ENOUGH = 30  # pictures a class must have before its features say anything about one of them


@dataclass(frozen=True)
class RelevanceSettings:
    """When a picture is discarded; raises ValueError naming the field."""

    own_class: float = 0.1  # least probability of its own class, out of fold; 0 turns the rule off
    outlier: float = 1.6  # most times the class's median distance to neighbours; 0 turns the rule off
    near_duplicates: bool = True  # keep one picture of each near-duplicate cluster
    feature_size: int = 64  # pixels a side given to the frozen ImageNet network

    def __post_init__(self) -> None:
        if self.feature_size < 1:
            raise ValueError(f"feature_size is {self.feature_size}; it must be at least 1")
        if not 0 <= self.own_class < 1:
            raise ValueError(f"own_class is {self.own_class}; it must lie in [0, 1)")
        if self.outlier and not self.outlier > 1:
            raise ValueError(f"outlier is {self.outlier}; it must be over 1 (the median picture has 1), or 0 for off")

    @property
    def asks_features(self) -> bool:
        """Whether any rule looks at features."""
        return bool(self.own_class or self.outlier)


@dataclass(frozen=True)
class Verdict:
    """What the rule found of each of n pictures."""

    reason: np.ndarray  # [n] str: "" for a picture that stays, else one of REASONS
    own_class: np.ndarray  # [n] float64, out-of-fold probability of its class; nan where nothing was fitted
    seen_as: np.ndarray  # [n] int64, the likeliest class
    distance: np.ndarray  # [n] float64, to its neighbours, over the class's median; nan where the class is too small

    @property
    def kept(self) -> np.ndarray:
        """Which pictures stay, bool [n]."""
        return self.reason == ""


def judge(
    features: np.ndarray, pixels: np.ndarray, label: np.ndarray, product: np.ndarray, settings: RelevanceSettings
) -> Verdict:
    """Judge n pictures; the order of rows decides which of near-duplicates stays, the first.

    Args:
        features: float [n, D].
        pixels: uint8 [n, H, W, 3].
        label: int [n], the class that words gave.
        product: str [n]; pictures of one product never judge each other.
        settings: thresholds.

    The same pictures get the same verdict: folds go by a hash of the product, everything else is exact.
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
    return Verdict(reason, own, seen_as, distance)


def _reduced(features: np.ndarray) -> np.ndarray:
    """The principal components of features, float64 [n, at most 64], scaled as they come."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return centred @ vectors[:, np.argsort(values)[::-1][:_COMPONENTS]]


def _fold(product: np.ndarray) -> np.ndarray:
    """The fold of each product, int64 [n]."""
    names, row = np.unique(product, return_inverse=True)
    place = [hashlib.blake2b(str(name).encode(), digest_size=4).digest() for name in names]
    return np.array([int.from_bytes(digest) % _FOLDS for digest in place], np.int64)[row]


def _out_of_fold(reduced: np.ndarray, label: np.ndarray, product: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the own class, float64 [n], and the likeliest class, int64 [n], from a fit without the fold."""
    from sklearn.linear_model import LogisticRegression

    scaled = reduced / np.maximum(reduced.std(axis=0), 1e-9)
    fold = _fold(product)
    own, seen_as = np.full(len(label), np.nan), label.astype(np.int64)
    for number in range(_FOLDS):
        test = fold == number
        if not test.any() or len(np.unique(label[~test])) < len(np.unique(label)):
            continue  # nothing to learn a class from: nobody of this fold is judged
        fitted = LogisticRegression(max_iter=300, class_weight="balanced").fit(scaled[~test], label[~test])
        probability = fitted.predict_proba(scaled[test])
        own[test] = probability[np.arange(test.sum()), np.searchsorted(fitted.classes_, label[test])]
        seen_as[test] = fitted.classes_[probability.argmax(axis=1)]
    return own, seen_as


def _neighbour_distance(reduced: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Mean distance of each row to its nearest rows of other products, float64 [n]."""
    from sklearn.neighbors import NearestNeighbors

    _, number = np.unique(product, return_inverse=True)
    # Its own product's pictures may all be nearer: as many more are asked for.
    most = min(len(reduced) - 1, _NEIGHBOURS + int(np.bincount(number).max()) - 1)
    distance, index = NearestNeighbors(n_neighbors=most + 1, algorithm="brute").fit(reduced).kneighbors(reduced)
    distance = np.where(number[index] == number[:, None], np.inf, distance)
    nearest = np.sort(distance, axis=1)[:, :_NEIGHBOURS]
    counted = np.isfinite(nearest)
    return np.where(counted, nearest, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


def _later_copies(pixels: np.ndarray) -> np.ndarray:
    """The rows that are near-duplicates of an earlier one, int64."""
    nobody = pa.table({"sha256": pa.array([], pa.string()), "item": pa.array([], pa.int32())})
    names = pa.array([str(row) for row in range(len(pixels))])
    found = near_duplicates.find(pixels, names, nobody)
    cluster = found.table["cluster"].fill_null(-1).to_numpy()
    _, first = np.unique(cluster, return_index=True)
    later = cluster >= 0
    later[first] = False
    return np.flatnonzero(later)
