"""Whether a generator repeats what it learnt from: how near its pictures are to training pictures, against how near
they are to pictures it never saw.

Works on arrays, pictures or features alike; making them, and how good they look, do not belong here.
"""

from collections.abc import Callable

import numpy as np
import torch

# (asked, known) -> (index of the nearest known row, distance to it) for each asked row
Nearest = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def nearest_l1(pictures: np.ndarray, train: np.ndarray, chunk: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of `train` uint8 [m, H, W, 3] in L1 for each of `pictures` uint8 [n, H, W, 3] (the paper's measure).

    Returns (index int64 [n], distance float64 [n]): the mean absolute difference of a channel's value, in grey levels.
    """
    # Sums of at most 12,288 x 255 < 2^24: exact in float32, so ties go to the first whatever the chunk.
    index, distance = _nearest(pictures, train, 1, chunk)
    return index, distance / max(1, pictures[0].size if len(pictures) else 1)


def nearest_features(asked: np.ndarray, known: np.ndarray, chunk: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of `known` [m, D] in Euclid's distance for each of `asked` [n, D]: (index int64, distance) [n]."""
    return _nearest(asked, known, 2, chunk)


def memorisation_ratio(
    generated: np.ndarray, train: np.ndarray, held_out: np.ndarray, seed: int = 0, nearest: Nearest = nearest_l1
) -> float:
    """Mean distance to the nearest training picture over that to the nearest held-out one; about 1: no memory.

    The larger set is cut to the smaller one's size at random: more pictures are nearer by their number alone
    (real ones against 8,000 and 1,000 give 0.86).
    """
    size = min(len(train), len(held_out))
    rng = np.random.default_rng(seed)
    subsets = [x[np.sort(rng.choice(len(x), size, replace=False))] for x in (train, held_out)]
    to_train, to_held_out = (nearest(generated, subset)[1].mean() for subset in subsets)
    return float(to_train / max(to_held_out, 1e-12))


def _nearest(asked: np.ndarray, known: np.ndarray, norm: int, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    if len(known) == 0:
        raise ValueError("no pictures to look for the nearest among")
    queries = torch.from_numpy(np.ascontiguousarray(asked)).reshape(len(asked), -1).float()
    best = torch.full((len(asked),), float("inf"))
    index = torch.zeros(len(asked), dtype=torch.int64)
    for start in range(0, len(known), chunk):
        part = torch.from_numpy(np.ascontiguousarray(known[start : start + chunk])).flatten(1).float()
        mode = "donot_use_mm_for_euclid_dist"  # through a matrix product, two equal rows would not be at 0
        distance, at = torch.cdist(queries, part, p=norm, compute_mode=mode).min(dim=1)
        nearer = distance < best
        best = torch.where(nearer, distance, best)
        index = torch.where(nearer, at + start, index)
    return index.numpy(), best.double().numpy()
