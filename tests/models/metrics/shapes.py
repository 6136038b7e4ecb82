"""Draw pictures of garments so simple that every figure of a generator is known: bars and discs on white."""

import numpy as np

NAMES = ("bar", "disc", "beam")


def draw_shapes(label: np.ndarray, seed: int, side: int = 64) -> np.ndarray:
    """Draw a shape for each class number in `label` [n] at a random place, size and colour: uint8 [n, S, S, 3]."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:side, :side] / side
    pictures = np.full((len(label), side, side, 3), 255, np.uint8)
    for picture, kind in zip(pictures, label, strict=True):
        y, x = rng.uniform(0.4, 0.6, 2)
        length, width = rng.uniform(0.25, 0.4), rng.uniform(0.06, 0.14)
        tall = (abs(down - y) < length) & (abs(across - x) < width)
        wide = (abs(down - y) < width) & (abs(across - x) < length)
        round_ = np.hypot(down - y, across - x) < length * 0.7
        picture[(tall, round_, wide)[kind]] = rng.integers(0, 220, 3)
    return pictures


def balanced(each: int, classes: int = len(NAMES)) -> np.ndarray:
    """Return `each` labels of every class, in order of class."""
    return np.repeat(np.arange(classes), each)
