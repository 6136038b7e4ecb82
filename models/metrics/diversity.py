"""What a model recommends, seen over all users: how much of the catalogue, how evenly, how well known.

None of these says whether a recommendation was right; they are read beside the AUC, never instead of it.
"""

import numpy as np


def coverage(recommended: np.ndarray, items: int) -> float:
    """Share of the catalogue that stands in anybody's list (Herlocker et al. 2004, catalogue coverage).

    `recommended` [users, k] are item rows, -1 where a list is shorter; `items` is the size of the catalogue.
    """
    return len(np.unique(recommended[recommended >= 0])) / items


def gini(recommended: np.ndarray, items: int) -> float:
    """Gini index of how often each item of the catalogue is recommended (Fleder and Hosanagar 2009).

    sum_i (2 i - I - 1) x_i / (I sum_i x_i) with the counts x in ascending order, i from 1 and the items that nobody is
    recommended among them: 0 where all are recommended alike, 1 - 1 / I where it is one item alone; nan for no lists.
    """
    counts = np.sort(np.bincount(recommended[recommended >= 0], minlength=items)).astype(np.float64)
    if not counts.sum():
        return float("nan")
    return float((2 * np.arange(1, items + 1) - items - 1) @ counts / (items * counts.sum()))


def self_information(train: np.ndarray, users: int, items: int) -> np.ndarray:
    """Bits of surprise in each item, - log2 ((n_i + 1) / (users + 1)) with n_i its train users: [items] float64.

    Zhou et al. 2010 (log2 of users / n_i), plus one above and below, without which an item that nobody has in train
    would be infinitely novel. `train` [m, 2] are user row, item row; repeated pairs count once.
    """
    counts = np.bincount(np.unique(train, axis=0)[:, 1], minlength=items)
    return -np.log2((counts + 1) / (users + 1))


def novelty(recommended: np.ndarray, information: np.ndarray) -> np.ndarray:
    """Mean self-information of each user's list, [users] float32; nan for an empty list."""
    there = recommended >= 0
    bits = np.where(there, information[np.maximum(recommended, 0)], 0).sum(1)
    with np.errstate(invalid="ignore"):
        return (bits / there.sum(1)).astype(np.float32)
