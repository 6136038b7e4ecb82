"""What the tests of this room share: tiny settings, pictures of two classes, a tiny trunk."""

import numpy as np
import torch

from models.garments.settings import GarmentModelSettings
from models.garments.trunk import RandomTrunk

NAMES = ("tops", "pants")
TINY = GarmentModelSettings(
    size=32, width=0.0625, z_dim=6, class_dim=4, mixed=8, hidden=8, classes=2, batch_size=8, steps=6, tick_steps=2,
    grid_columns=2, minimum_class=4, warm_up=2, heads_from=0.3, bf16=False,
)  # fmt: skip


def garments(side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """14 pictures: a rectangle of noise on white, wide in one class and tall in the other."""
    rng = np.random.default_rng(0)
    pictures, labels = np.full((14, side, side, 3), 255, np.uint8), np.array([0] * 9 + [1] * 5)
    edge, third = side // 8, side // 3
    for picture, label in zip(pictures, labels, strict=True):
        part = picture[third:-third, edge:-edge] if label == 0 else picture[edge:-edge, third:-third]
        part[:] = rng.integers(0, 256, 3) // 2 + rng.integers(0, 100, part.shape)
    return pictures, labels


def trunk() -> RandomTrunk:
    return RandomTrunk(width=0.2)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
