"""Category shares: a user's taste is the share of each category in their history, relative to the catalogue's.

Untrained counts, such as "twice as many dresses as the shop has", added up over the levels of the category path with a
few weights tuned on validation, plus a weight times the popularity prior. The score has the form theta . item + bias:
an item's factors are its categories, one-hot.
"""

from dataclasses import dataclass

import numpy as np

from models.baselines.simple import blind
from models.baselines.tuning import best, touched
from models.data import priors
from models.data.dataset import Dataset
from models.data.factors import Factors

COLUMNS = 512  # categories kept over all levels, the largest ones, so that users x categories stays small
# Purchases that the catalogue's shares count for in every history. On the H&M sample (three splits), 3 had a validation
# AUC 0.004 above 1 and 0.001 below 10; the logarithm 0.015 above the plain ratio, and 0.034 above the share itself.
SMOOTHING = 3.0
LEVEL_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
PRIOR_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Weights:
    """The tuned weights of a shares model."""

    levels: tuple[float, ...]  # one for each level of the category path
    prior: float


def shares(
    data: Dataset,
    categories: np.ndarray,  # [I, L] int, -1 for none, as in ItemFacts
    level_weights: tuple[float, ...] = LEVEL_WEIGHTS,
    prior_weights: tuple[float, ...] = PRIOR_WEIGHTS,
) -> tuple[Factors, Weights, dict[Weights, float]]:
    """Tune one weight after the other on validation, twice round: (factors, their weights, validation by weights).

    Raises ValueError if no item has a category.
    """
    if not (categories >= 0).any():
        raise ValueError("no item has a category")
    kept = largest(categories)
    chosen, tried = Weights((1.0,) * categories.shape[1], 1.0), {}
    tables = taste(data, kept), one_hot(kept), priors.log_counts(data)
    held = data.validation, touched(data)
    for _ in range(2):
        for number in range(categories.shape[1] + 1):
            points = _neighbours(chosen, number, level_weights, prior_weights)
            chosen, _, values = best(((point, _factors(data, kept, *tables, point)) for point in points), *held)
            tried |= values
    return _factors(data, kept, *tables, chosen), chosen, tried


def taste(data: Dataset, categories: np.ndarray) -> np.ndarray:
    """Compute log(share in the user's history / share in the catalogue): float32 [U, categories of all levels].

    The user's share is smoothed: (own + SMOOTHING x the catalogue's share) / (all own + SMOOTHING). The shares of a
    level are among items that have a category there, so a user without any scores 0 everywhere.
    """
    pairs = priors.latest(data)[0].astype(np.int64)
    columns, users = [], len(data.users)
    for codes in categories.T:
        size = int(codes.max(initial=-1)) + 1
        catalogue = np.bincount(codes[codes >= 0], minlength=size) / max((codes >= 0).sum(), 1)  # [size]
        own = codes[pairs[:, 1]]
        user, code = pairs[own >= 0, 0], own[own >= 0]
        counts = np.bincount(user * size + code, minlength=users * size).reshape(users, size)
        smooth = (counts + SMOOTHING * catalogue) / (counts.sum(1, keepdims=True) + SMOOTHING)
        columns.append(np.log(smooth / np.maximum(catalogue, 1e-12), where=catalogue > 0, out=np.zeros_like(smooth)))
    return np.concatenate(columns, 1).astype(np.float32)


def one_hot(categories: np.ndarray) -> np.ndarray:
    """Write each item's categories as float32 [I, categories of all levels]; no category gives zeros."""
    sizes = categories.max(0, initial=-1) + 1
    out = np.zeros((len(categories), sizes.sum()), np.float32)
    for codes, start in zip(categories.T, np.cumsum(sizes) - sizes, strict=True):
        has = np.flatnonzero(codes >= 0)
        out[has, start + codes[has]] = 1
    return out


def largest(categories: np.ndarray, limit: int = COLUMNS) -> np.ndarray:
    """Keep the `limit` largest categories over all levels, renumbered; items of the others have none: [I, L]."""
    found = [np.unique(codes[codes >= 0], return_counts=True) for codes in categories.T]
    sizes = np.sort(np.concatenate([sizes for _, sizes in found]))[::-1]
    least = sizes[limit - 1] if len(sizes) > limit else 0
    out = np.full(categories.shape, -1, np.int64)
    room = limit
    for level, (codes, size) in enumerate(found):
        kept = codes[size >= least][:room]
        room -= len(kept)
        number = np.full(int(codes.max(initial=-1)) + 2, -1)  # the last entry is for code -1
        number[kept] = np.arange(len(kept))
        out[:, level] = number[categories[:, level]]
    return out


def _neighbours(
    around: Weights, number: int, level_weights: tuple[float, ...], prior_weights: tuple[float, ...]
) -> list[Weights]:
    """List the weights that differ from `around` in weight `number` alone, the last being the prior's."""
    if number == len(around.levels):
        return [around, *(Weights(around.levels, weight) for weight in prior_weights if weight != around.prior)]
    before, after = around.levels[:number], around.levels[number + 1 :]
    others = (weight for weight in level_weights if weight != around.levels[number])
    return [around, *(Weights((*before, weight, *after), around.prior) for weight in others)]


def _factors(
    data: Dataset, categories: np.ndarray, theta: np.ndarray, item: np.ndarray, prior: np.ndarray, weights: Weights
) -> Factors:
    sizes = categories.max(0, initial=-1) + 1
    by_column = np.repeat(np.array(weights.levels, np.float32), sizes)
    return blind(data, theta * by_column, item, np.float32(weights.prior) * prior)
