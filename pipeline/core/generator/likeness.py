"""Which pictures frozen features find most alike, to look at. The features are `features.py`'s."""

import numpy as np

LOOKED_AT = 20_000  # pictures: enough to find good neighbours in, and read in a moment


def most_alike(features: np.ndarray, asked: int, shown: int) -> np.ndarray:
    """Evenly spread pictures, each with those nearest to it by the cosine of centred features.

    Args:
        features: [N, F], an array or a memory map, of which the first LOOKED_AT are looked at.
        asked: how many pictures.
        shown: how many of each row, the picture itself first.

    Returns:
        rows of `features`, int [asked, shown]; fewer where there are fewer pictures.
    """
    near = np.asarray(features[:LOOKED_AT], np.float32)
    if not len(near):
        return np.zeros((0, 0), int)
    near = near - near.mean(0)
    near /= np.maximum(np.linalg.norm(near, axis=1, keepdims=True), 1e-12)
    picked = np.unique(np.linspace(0, len(near) - 1, min(asked, len(near))).astype(int))
    likeness = near[picked] @ near.T
    likeness[np.arange(len(picked)), picked] = np.inf  # before an equal picture
    return np.argsort(-likeness, axis=1, kind="stable")[:, :shown]
