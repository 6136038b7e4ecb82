"""Fit the weights of the parts of `modern` on validation: how much this shop's customers go by each of them.

The loss is log(1 + exp(score of another item - score of the held-out one)), averaged over items that the user does
not have and over users: a smooth form of the AUC. It is convex in the weights, so Newton's method finds its minimum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.data.dataset import Dataset
from models.modern.part import Part
from models.modern.settings import ModernSettings

_BLOCK = 64  # held-out pairs that are compared with the same items
_STEPS, _ENOUGH = 30, 1e-7
_LENGTHS = (1.0, 0.5, 0.25, 0.125)  # of Newton's step: a whole one may go too far
_NORMAL_95 = 1.96


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of parts with their 95% intervals over users; nan with comparisons of fewer than two users."""

    weight: np.ndarray  # [P] float64
    low: np.ndarray  # [P]
    high: np.ndarray  # [P]
    path: list[tuple[np.ndarray, float]]  # weights and loss: at the start, and after each step


def fit(data: Dataset, parts: Sequence[Part], settings: ModernSettings) -> Weights:
    """Fit the weights. Test pairs play no part. Without validation pairs every part has the weight of the settings."""
    start = np.full(len(parts), settings.weight)
    if not len(data.validation):
        unknown = np.full(len(parts), np.nan)
        return Weights(start, unknown, unknown, [(start, float("nan"))])
    rows, share, user = comparisons(data, parts, settings)
    pull = settings.pull / len(data.validation)
    weight = start
    loss, gradient, curvature, chance = _at(weight, start, pull, rows, share)
    path = [(weight, loss)]
    while len(path) < _STEPS:
        step = np.linalg.solve(curvature, gradient)
        for length in _LENGTHS:
            tried = _at(weight - length * step, start, pull, rows, share)
            if tried[0] < loss - _ENOUGH:
                break
        else:
            break  # no step lowers the loss: this is its minimum
        weight = weight - length * step
        loss, gradient, curvature, chance = tried
        path.append((weight, loss))
    # The spread of the sum of the users' gradients, as if users were drawn again (the sandwich estimate).
    of_rows = rows * (share * chance)[:, None]
    of_users = np.stack([np.bincount(user, of_rows[:, part], minlength=len(data.users)) for part in range(len(parts))])
    of_users = of_users[:, np.unique(user)]
    if of_users.shape[1] < 2:  # one user has no spread, and an interval of width 0 would claim certainty
        unknown = np.full(len(parts), np.nan)
        return Weights(weight, unknown, unknown, path)
    spread = of_users - of_users.mean(1, keepdims=True)
    inverse = np.linalg.inv(curvature)
    error = _NORMAL_95 * np.sqrt(np.maximum(np.diag(inverse @ (spread @ spread.T) @ inverse), 0))
    return Weights(weight, weight - error, weight + error, path)


def comparisons(
    data: Dataset, parts: Sequence[Part], settings: ModernSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare held-out items with items that their users have neither in train nor in validation.

    Returns the difference of each part's scores, other item less held-out one [n, P] float32; each comparison's share
    of the mean over users [n] float64; and the user row of each [n].
    """
    rng = np.random.default_rng(settings.seed)
    items, held_out = len(data.items), np.unique(data.validation, axis=0).astype(np.int64)
    most = max(1, settings.comparisons // _BLOCK)
    held_out = held_out[rng.permutation(len(held_out))[:most]]
    others = min(items, max(_BLOCK, settings.comparisons // len(held_out)))
    owned = np.concatenate([data.train, data.validation]).astype(np.int64)
    codes = np.unique(owned[:, 0] * items + owned[:, 1])
    rows, pair = [], []
    for start in range(0, len(held_out), _BLOCK):
        user, item = held_out[start : start + _BLOCK].T
        other = rng.choice(items, others, replace=False)
        code = (user[:, None] * items + other).ravel()
        at = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
        free = codes[at] != code
        differences = [
            (
                part.theta[user] @ part.item[other].T
                + part.bias[other]
                - ((part.theta[user] * part.item[item]).sum(1) + part.bias[item])[:, None]
            ).ravel()[free]
            for part in parts
        ]
        rows.append(np.stack(differences, 1).astype(np.float32))
        pair.append(np.repeat(np.arange(start, start + len(user)), others)[free])
    numbers = np.concatenate(pair)
    of_pair = np.bincount(numbers, minlength=len(held_out))
    of_user = np.bincount(held_out[of_pair > 0, 0], minlength=len(data.users))
    user = held_out[numbers, 0]
    share = 1 / (of_pair[numbers] * of_user[user] * max(int((of_user > 0).sum()), 1))
    return np.concatenate(rows), share, user


def _at(
    weight: np.ndarray, start: np.ndarray, pull: float, rows: np.ndarray, share: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Compute loss, gradient [P], curvature [P, P], and each comparison's chance of being lost [n]."""
    score = (rows @ weight.astype(np.float32)).astype(np.float64)
    chance = 1 / (1 + np.exp(-score))
    away = weight - start
    loss = float(share @ np.logaddexp(0, score) + pull * (away @ away) / 2)
    gradient = (share * chance) @ rows + pull * away
    curvature = (rows * (share * chance * (1 - chance))[:, None]).T @ rows + pull * np.eye(len(weight))
    return loss, gradient, curvature, chance
