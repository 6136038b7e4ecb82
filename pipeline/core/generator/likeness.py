"""Find pictures that are alike by frozen features, to show to a person."""

import numpy as np

LOOKED_AT = 20_000  # pictures searched: enough for good neighbours, and quick to read


def most_alike(features: np.ndarray, asked: int, shown: int) -> np.ndarray:
    """Pick evenly spread pictures, and find the nearest of each by the cosine of centred features.

    Args:
        features: [N, F], an array or a memory map; only the first LOOKED_AT rows are searched.
        asked: how many pictures to pick.
        shown: how many neighbours of each, the picture itself first.

    Returns:
        Rows of `features`, int [asked, shown]; fewer if there are fewer pictures.
    """
    near = np.asarray(features[:LOOKED_AT], np.float32)
    if not len(near):
        return np.zeros((0, 0), int)
    near = near - near.mean(0)
    near /= np.maximum(np.linalg.norm(near, axis=1, keepdims=True), 1e-12)
    picked = np.unique(np.linspace(0, len(near) - 1, min(asked, len(near))).astype(int))
    likeness = near[picked] @ near.T
    likeness[np.arange(len(picked)), picked] = np.inf  # so that a picture comes before its duplicates
    return np.argsort(-likeness, axis=1, kind="stable")[:, :shown]
