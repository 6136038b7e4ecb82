"""Which colours garments have: shares of named colours by class, and how far two sets of pictures are apart.

Colours are named by hue, saturation and value of the pixels that are no background. What a difference means is for
the reader; drawing it is `plots.py`'s.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

NAMES = ("black", "grey", "white", "red", "brown", "orange", "yellow", "green", "blue", "purple", "pink")
# Upper ends of the hues, in degrees, in the order of the names beside them; brown and pink are cut out below.
_HUES = ((15, "red"), (45, "orange"), (70, "yellow"), (165, "green"), (260, "blue"), (300, "purple"), (345, "pink"),
         (360, "red"))  # fmt: skip
_DARK, _LIGHT = 0.2, 0.85  # value under which all is black, and over which what has no hue is white
_PALE = 0.15  # saturation under which a pixel has no hue
_BROWN = 0.65  # an orange or red this dark or darker, and not vivid, is brown
_PINK = 0.65  # a red paler than this, and light, is pink
_BACKGROUND = 24  # grey levels, in the channel where it differs most, by which a garment stands out from its border


def shares(pictures: np.ndarray) -> np.ndarray:
    """The mean over pictures uint8 [n, H, W, 3] of each colour's share of the garment: float64 [len(NAMES)], sums to 1.

    A picture's background is the median colour of its border; one that shows nothing else counts whole.
    """
    if len(pictures) == 0:
        raise ValueError("no pictures to take colours of")
    return np.mean([_of_picture(picture) for picture in pictures], axis=0)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Total variation of two rows of shares: the part that would have to change its colour, 0 to 1."""
    return float(np.abs(a - b).sum() / 2)


def by_class(pictures: np.ndarray, label: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """class -> colour -> share, for each class that has pictures."""
    return {
        name: dict(zip(NAMES, map(float, shares(pictures[label == number])), strict=True))
        for number, name in enumerate(classes)
        if (label == number).any()
    }


def named(pixels: np.ndarray) -> np.ndarray:
    """The colour of each pixel uint8 [H, W, 3], as an index into NAMES: int64 [H, W]."""
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
    found = named(picture)
    found = found[garment] if garment.any() else found.reshape(-1)
    return np.bincount(found, minlength=len(NAMES)) / len(found)
