"""Test whether a generator copies its training pictures: compare its distance to them with that to held-out pictures.

Works on arrays of pictures or of features. Generating them, and judging how good they look, do not belong here.
"""

from collections.abc import Callable

import numpy as np
import torch

# (queries, known) -> (index of the nearest known row, distance to it) for each query row
Nearest = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def nearest_l1(pictures: np.ndarray, train: np.ndarray, chunk: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest training picture in L1 for each picture (the paper's measure).

    `pictures` uint8 [n, H, W, 3] and `train` uint8 [m, H, W, 3] to (index int64 [n], distance float64 [n]). The
    distance is the mean absolute difference of the channel values, in grey levels.
    """
    # Sums are at most 12,288 x 255 < 2^24, hence exact in float32: ties go to the first row for any chunk size.
    index, distance = _nearest(pictures, train, 1, chunk)
    return index, distance / max(1, pictures[0].size if len(pictures) else 1)


def nearest_features(queries: np.ndarray, known: np.ndarray, chunk: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest (Euclidean) row of `known` [m, D] for each query [n, D]: (index int64 [n], distance [n])."""
    return _nearest(queries, known, 2, chunk)


def memorisation_ratio(
    generated: np.ndarray, train: np.ndarray, held_out: np.ndarray, seed: int = 0, nearest: Nearest = nearest_l1
) -> float:
    """Divide the mean distance to the nearest training picture by that to the nearest held-out picture.

    About 1 means no memorisation; below 1, the generated pictures are closer to the training set. The larger set is
    cut at random to the size of the smaller one, because in a larger set the nearest picture is closer by chance (for
    real pictures, sets of 8,000 and 1,000 give 0.86).
    """
    size = min(len(train), len(held_out))
    rng = np.random.default_rng(seed)
    subsets = [x[np.sort(rng.choice(len(x), size, replace=False))] for x in (train, held_out)]
    to_train, to_held_out = (nearest(generated, subset)[1].mean() for subset in subsets)
    return float(to_train / max(to_held_out, 1e-12))


def _nearest(queries: np.ndarray, known: np.ndarray, norm: int, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    if len(known) == 0:
        raise ValueError("no pictures to search for the nearest one; give at least one")
    rows = torch.from_numpy(np.ascontiguousarray(queries)).reshape(len(queries), -1).float()
    best = torch.full((len(queries),), float("inf"))
    index = torch.zeros(len(queries), dtype=torch.int64)
    for start in range(0, len(known), chunk):
        part = torch.from_numpy(np.ascontiguousarray(known[start : start + chunk])).flatten(1).float()
        mode = "donot_use_mm_for_euclid_dist"  # a matrix product would give equal rows a distance above 0
        distance, at = torch.cdist(rows, part, p=norm, compute_mode=mode).min(dim=1)
        nearer = distance < best
        best = torch.where(nearer, distance, best)
        index = torch.where(nearer, at + start, index)
    return index.numpy(), best.double().numpy()
