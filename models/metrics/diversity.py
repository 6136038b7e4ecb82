"""Metrics of the recommended lists over all users: catalogue coverage, Gini index, novelty.

None of them says whether a recommendation was right. Read them beside the AUC, never instead of it.
"""

import numpy as np


def coverage(recommended: np.ndarray, items: int) -> float:
    """Compute the share of the catalogue that at least one list contains (Herlocker et al. 2004, catalogue coverage).

    `recommended` [users, k] holds item rows, -1 where a list is shorter; `items` is the size of the catalogue.
    """
    return len(np.unique(recommended[recommended >= 0])) / items


def gini(recommended: np.ndarray, items: int) -> float:
    """Compute the Gini index of how often each item of the catalogue is recommended (Fleder and Hosanagar 2009).

    sum_i (2 i - I - 1) x_i / (I sum_i x_i), with i from 1 and the counts x in ascending order, including the items
    that are never recommended. 0 if all items are recommended equally often, 1 - 1 / I if only one item is
    recommended, nan if all lists are empty.
    """
    counts = np.sort(np.bincount(recommended[recommended >= 0], minlength=items)).astype(np.float64)
    if not counts.sum():
        return float("nan")
    return float((2 * np.arange(1, items + 1) - items - 1) @ counts / (items * counts.sum()))


def self_information(train: np.ndarray, users: int, items: int) -> np.ndarray:
    """Compute the self-information of each item in bits, - log2 ((n_i + 1) / (users + 1)): [items] float64.

    n_i is the number of train users of item i. Zhou et al. 2010 use log2 (users / n_i); the ones are added because
    an item without train users would otherwise be infinitely novel. `train` [m, 2] holds (user row, item row);
    repeated pairs count once.
    """
    counts = np.bincount(np.unique(train, axis=0)[:, 1], minlength=items)
    return -np.log2((counts + 1) / (users + 1))


def novelty(recommended: np.ndarray, information: np.ndarray) -> np.ndarray:
    """Average the self-information of the items in each user's list: [users] float32, nan for an empty list."""
    filled = recommended >= 0
    bits = np.where(filled, information[np.maximum(recommended, 0)], 0).sum(1)
    with np.errstate(invalid="ignore"):
        return (bits / filled.sum(1)).astype(np.float32)
