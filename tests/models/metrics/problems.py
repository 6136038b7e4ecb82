"""Small problems for metrics: factors of whole numbers, exact in float32 and full of ties."""

import numpy as np

from models.data.factors import Factors


def problem(seed: int, users: int = 7, items: int = 60, visual: bool = True, several: int = 1):
    """Make factors and (train, validation, test) pairs; every item has at least one picture.

    Each user has one validation item, and one to `several` test items, next to each other.
    """
    rng = np.random.default_rng(seed)
    image_item = np.concatenate([np.arange(items), rng.integers(0, items, items)])
    rng.shuffle(image_item)
    k = 3
    factors = Factors(
        users=np.arange(users) * 3 + 1,
        items=np.arange(items) + 100,
        theta=rng.integers(-2, 3, (users, k)),
        item=rng.integers(-2, 3, (items, k)),
        item_bias=rng.integers(-1, 2, items),
        phi=rng.integers(-2, 3, (len(image_item) if visual else 0, k)),
        image_item=image_item,
    )
    touched = [rng.choice(items, rng.integers(2 + several, 11 + several), replace=False) for _ in range(users)]
    held = [int(rng.integers(1, several + 1)) if several > 1 else 1 for _ in range(users)]
    parts = list(enumerate(zip(touched, held, strict=True)))
    validation = np.array([[user, mine[0]] for user, (mine, _) in parts])
    test = np.array([[user, item] for user, (mine, n) in parts for item in mine[1 : 1 + n]])
    train = np.array([[user, item] for user, (mine, n) in parts for item in mine[1 + n :]])
    return factors, train, validation, test
