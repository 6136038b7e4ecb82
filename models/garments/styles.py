"""Style arithmetic in the space of z: directions of attributes, and the way from one garment to another.

z comes from `PictureEncoder`. Where attributes come from, and showing pictures, do not belong here.
"""

import numpy as np
import torch
from torch import Tensor


def style_direction(z: np.ndarray, labels: np.ndarray, has: np.ndarray, least: int = 5) -> np.ndarray:
    """Find the direction of an attribute, e.g. long sleeves: float64 [z_dim]; added to z, it adds the attribute.

    z [n, z_dim] and classes int [n] of pictures, and `has` bool [n], whether each has the attribute. The direction is
    the difference between the mean z with and without it, inside each class, so that it does not also change the class
    or what goes with it there. The difference of means is the best linear direction, because z is near N(0, I) in each
    class. Classes weigh by the harmonic mean of their two counts; one with under `least` pictures on a side is left
    out. Raises ValueError if none is left.
    """
    total, weights = np.zeros(z.shape[1]), 0.0
    for c in np.unique(labels):
        with_it, without = z[(labels == c) & has], z[(labels == c) & ~has]
        if min(len(with_it), len(without)) >= least:
            weight = 1 / (1 / len(with_it) + 1 / len(without))
            total += weight * (with_it.mean(axis=0, dtype=np.float64) - without.mean(axis=0, dtype=np.float64))
            weights += weight
    if not weights:
        raise ValueError(
            f"no class has {least} pictures with the attribute and {least} without it ({int(has.sum())} of {len(has)} "
            "have it); choose another attribute"
        )
    return total / weights


def between(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Interpolate from start to end, [z_dim] each, in `steps` points: [steps, z_dim], both ends included.

    Turns the direction at a constant rate while the length changes linearly (White 2016): a straight line would pass
    nearer to 0 than either end, where few garments are and pictures are average.
    """
    share = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)[:, None]
    lengths = start.norm(), end.norm()
    cosine = (start @ end / (lengths[0] * lengths[1])).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if angle.sin() < 1e-4:  # parallel: no plane to turn in
        return start + share * (end - start)
    turned = ((1 - share) * angle).sin() * start / lengths[0] + (share * angle).sin() * end / lengths[1]
    return turned / angle.sin() * (lengths[0] + share * (lengths[1] - lengths[0]))
