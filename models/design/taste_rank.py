"""Whose taste a picture meets: the rank of its owner among other users, each judging by his own standardised score.

Works on features and thetas as arrays. Making the pictures belongs to `design.py` and `restyle.py`.
"""

import numpy as np


def standard_scores(features: np.ndarray, theta: np.ndarray, catalogue: np.ndarray) -> np.ndarray:
    """theta . Phi of pictures in each user's own units over a catalogue: float64 [n, U].

    features [n, K]: Phi of the pictures; theta [U, K]; catalogue [M, K]: Phi of the pictures that give each user's
    mean and sd, so that a long theta wins nothing. ValueError for fewer than two of those.
    """
    if len(catalogue) < 2:
        raise ValueError(f"{len(catalogue)} catalogue pictures; standardising needs at least 2")
    theta = theta.astype(np.float64)
    known = catalogue.astype(np.float64) @ theta.T  # [M, U]
    return (features.astype(np.float64) @ theta.T - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-12)


def panels(owners: np.ndarray, users: np.ndarray, size: int, seed: int = 0) -> np.ndarray:
    """For each owner the rows of `size` judges, the owner first, the others a random draw: int64 [len(owners), size].

    owners int [O] and users int [U] are ids, `users` everybody who may judge. The draw rests on the seed and the
    owner's id alone: who else gets a design moves nobody's judges. With fewer users than `size` all of them judge.
    """
    place = {int(user): row for row, user in enumerate(users)}
    found = []
    for owner in owners:
        others = np.delete(np.arange(len(users)), place[int(owner)])
        drawn = np.random.default_rng([seed, int(owner)]).permutation(others)[: size - 1]
        found.append(np.concatenate([[place[int(owner)]], drawn]))
    return np.stack(found).astype(np.int64)


def references(judges: np.ndarray, everybody: int, count: int, seed: int = 0) -> np.ndarray:
    """For each owner, himself and `count` others who judge none of his designs: rows int64 [O, 1 + count].

    judges int [O, J] are the rows of `panels`, of `everybody` users. Drawn from the seed and the owner's row alone.
    With fewer left than `count` all of them are taken; ValueError where a panel leaves nobody.
    """
    found = []
    for panel in judges:
        rest = np.setdiff1d(np.arange(everybody), panel)
        drawn = np.random.default_rng([seed, int(panel[0]), 1]).permutation(rest)[:count]
        found.append(np.concatenate([panel[:1], drawn]))
    if len(found[0]) < 2:
        raise ValueError(f"all {everybody} users judge a design: nobody is left whom its owner is told apart from")
    return np.stack(found).astype(np.int64)


def own_rank(standard: np.ndarray, judges: np.ndarray) -> np.ndarray:
    """The owner's rank for each picture, int64 [n]: 1 is first; ties count against the owner.

    standard [n, U]: of `standard_scores`; judges int [n, J]: of `panels`, the owner in the first column.
    """
    seen = np.take_along_axis(standard, judges, axis=1)
    return (seen >= seen[:, :1]).sum(axis=1).astype(np.int64)
