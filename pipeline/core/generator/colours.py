"""Measure garment colours: shares of named colours by class, and the distance between two sets of pictures.

A pixel's colour is named by its hue, saturation and value; background pixels do not count.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

NAMES = ("black", "grey", "white", "red", "brown", "orange", "yellow", "green", "blue", "purple", "pink")
# (upper end of the hue in degrees, name); `named` then turns part of these into brown and pink.
_HUES = ((15, "red"), (45, "orange"), (70, "yellow"), (165, "green"), (260, "blue"), (300, "purple"), (345, "pink"),
         (360, "red"))  # fmt: skip
_DARK, _LIGHT = 0.2, 0.85  # value under which a pixel is black, and over which a pixel without hue is white
_PALE = 0.15  # saturation under which a pixel has no hue
_BROWN = 0.65  # value under which an orange or red is brown
_PINK = 0.65  # saturation under which a light red is pink
_BACKGROUND = 24  # grey levels by which a garment pixel differs from the border in at least one channel


def shares(pictures: np.ndarray) -> np.ndarray:
    """Average each colour's share of the garment over pictures uint8 [n, H, W, 3]: float64 [len(NAMES)], sums to 1.

    A picture's background is the median colour of its border. A picture that shows only background counts whole.
    """
    if len(pictures) == 0:
        raise ValueError("no pictures to measure colours of")
    return of_each(pictures).mean(axis=0)


def of_each(pictures: np.ndarray) -> np.ndarray:
    """Measure each colour's share of the garment in pictures uint8 [n, H, W, 3]: float64 [n, len(NAMES)]."""
    return np.array([_of_picture(picture) for picture in pictures]).reshape(len(pictures), len(NAMES))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the total variation of two rows of shares: the part that would have to change its colour, 0 to 1."""
    return float(np.abs(a - b).sum() / 2)


def by_class(pictures: np.ndarray, label: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Measure the colours of each class that has pictures: class -> colour -> share."""
    return {
        name: dict(zip(NAMES, map(float, shares(pictures[label == number])), strict=True))
        for number, name in enumerate(classes)
        if (label == number).any()
    }


def named(pixels: np.ndarray) -> np.ndarray:
    """Name the colour of each pixel uint8 [H, W, 3], as an index into NAMES: int64 [H, W]."""
    hsv = np.asarray(Image.fromarray(pixels).convert("HSV"), np.float64)
    hue, saturation, value = hsv[..., 0] * 360 / 255, hsv[..., 1] / 255, hsv[..., 2] / 255
    ends = np.array([end for end, _ in _HUES])
    index = np.array([NAMES.index(name) for _, name in _HUES])[np.searchsorted(ends, hue).clip(max=len(ends) - 1)]
    warm = (index == NAMES.index("red")) | (index == NAMES.index("orange"))
    index = np.where(warm & (value < _BROWN) & (hue > 10) & (hue < 60), NAMES.index("brown"), index)
    reddish = index == NAMES.index("red")
    index = np.where(reddish & (value > _BROWN) & (saturation < _PINK), NAMES.index("pink"), index)
    plain = saturation < _PALE
    index = np.where(plain, np.where(value > _LIGHT, NAMES.index("white"), NAMES.index("grey")), index)
    return np.where(value < _DARK, NAMES.index("black"), index)


def _of_picture(picture: np.ndarray) -> np.ndarray:
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    background = np.median(border, axis=0)
    garment = np.abs(picture - background).max(axis=2) > _BACKGROUND
    colours = named(picture)
    colours = colours[garment] if garment.any() else colours.reshape(-1)
    return np.bincount(colours, minlength=len(NAMES)) / len(colours)
