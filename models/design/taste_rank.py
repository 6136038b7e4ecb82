"""Rank the owner of a design among other users by their standardised scores, to see whose taste the picture meets.

Works on arrays of features and theta. Generating the pictures does not belong here.
"""

import numpy as np


def standard_scores(features: np.ndarray, theta: np.ndarray, catalogue: np.ndarray) -> np.ndarray:
    """Compute each user's score theta . Phi of each picture, standardised over a catalogue: float64 [n, U].

    features [n, K]: Phi of the pictures; theta [U, K]; catalogue [M, K]: Phi of the pictures that each user's mean and
    sd are computed on, so that a long theta gains nothing. Raises ValueError for fewer than two catalogue pictures.
    """
    if len(catalogue) < 2:
        raise ValueError(f"{len(catalogue)} catalogue pictures; standardising needs at least 2")
    theta = theta.astype(np.float64)
    known = catalogue.astype(np.float64) @ theta.T  # [M, U]
    return (features.astype(np.float64) @ theta.T - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-12)


def panels(owners: np.ndarray, users: np.ndarray, size: int, seed: int = 0) -> np.ndarray:
    """Draw `size` judges for each owner, the owner first: rows int64 [len(owners), size].

    owners int [O] and users int [U] are ids; `users` lists everybody who may judge. The draw depends only on the seed
    and the owner's id, so other owners do not change it. With fewer users than `size`, all of them judge.
    """
    row_of = {int(user): row for row, user in enumerate(users)}
    rows = []
    for owner in owners:
        others = np.delete(np.arange(len(users)), row_of[int(owner)])
        drawn = np.random.default_rng([seed, int(owner)]).permutation(others)[: size - 1]
        rows.append(np.concatenate([[row_of[int(owner)]], drawn]))
    return np.stack(rows).astype(np.int64)


def references(judges: np.ndarray, everybody: int, count: int, seed: int = 0) -> np.ndarray:
    """Draw `count` reference users for each owner who judge none of the owner's designs: rows int64 [O, 1 + count].

    The owner comes first. judges int [O, J] are the rows returned by `panels`, out of `everybody` users. The draw
    depends only on the seed and the owner's row. If fewer than `count` users are left, all of them are taken. Raises
    ValueError where a panel leaves nobody.
    """
    rows = []
    for panel in judges:
        rest = np.setdiff1d(np.arange(everybody), panel)
        drawn = np.random.default_rng([seed, int(panel[0]), 1]).permutation(rest)[:count]
        rows.append(np.concatenate([panel[:1], drawn]))
    if len(rows[0]) < 2:
        raise ValueError(f"all {everybody} users judge a design: no user is left to compare its owner with")
    return np.stack(rows).astype(np.int64)


def own_rank(standard: np.ndarray, judges: np.ndarray) -> np.ndarray:
    """Compute the owner's rank for each picture: int64 [n], 1 is best; ties count against the owner.

    standard [n, U] from `standard_scores`; judges int [n, J] from `panels`, the owner in the first column.
    """
    seen = np.take_along_axis(standard, judges, axis=1)
    return (seen >= seen[:, :1]).sum(axis=1).astype(np.int64)
