"""Sheets of pictures for people: contact sheets and strips as uint8 arrays, and saving them.

Charts belong in `plots.py`; pages in `lookbook/`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.core.durable import write_whole

BACKGROUND = 255


def grid(pictures: Sequence[np.ndarray] | np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Pictures of one size, uint8 [n][H, W, 3], row by row on white: uint8 [rows * H, columns * W, 3] and gaps.

    Raises:
        ValueError: there is no picture.
    """
    if len(pictures) == 0:
        raise ValueError("a sheet needs at least one picture")
    height, width = pictures[0].shape[:2]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), BACKGROUND, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = gap + number // columns * (height + gap), gap + number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def contact_sheet(pixels: np.ndarray, count: int = 60, columns: int = 12, side: int = 96) -> np.ndarray:
    """Evenly spaced pictures of a bank, uint8 [N, H, W, 3], each at most `side` pixels."""
    picked = np.linspace(0, len(pixels) - 1, min(count, len(pixels))).astype(int)
    small = []
    for row in picked:
        picture = Image.fromarray(np.asarray(pixels[row]))
        if picture.height > side:
            picture = picture.resize((side, side), Image.Resampling.LANCZOS)
        small.append(np.asarray(picture))
    return grid(small, columns)


def framed(picture: np.ndarray, side: int = 96) -> np.ndarray:
    """A picture of any shape, uint8 [H, W, 3], scaled to fit and centred on white: uint8 [side, side, 3]."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    fitted = max(1, round(width * scale)), max(1, round(height * scale))
    shown = Image.fromarray(np.asarray(picture)).resize(fitted, Image.Resampling.LANCZOS)
    frame = np.full((side, side, 3), BACKGROUND, np.uint8)
    top, left = (side - shown.height) // 2, (side - shown.width) // 2
    frame[top : top + shown.height, left : left + shown.width] = np.asarray(shown)
    return frame


def rows_of(groups: Sequence[np.ndarray], columns: int, side: int = 96, gap: int = 8) -> np.ndarray:
    """A row a group, uint8 [n, H, W, 3] each: its first `columns` pictures side by side, rows apart by `gap`."""
    return stack([grid([framed(picture, side) for picture in group[:columns]], columns) for group in groups], gap)


def stack(pictures: Sequence[np.ndarray], gap: int = 6) -> np.ndarray:
    """Pictures uint8 [H, W, 3] under one another on white, each at the left."""
    width = max(picture.shape[1] for picture in pictures)
    parts = []
    for picture in pictures:
        padded = np.full((picture.shape[0] + gap, width, 3), BACKGROUND, np.uint8)
        padded[: picture.shape[0], : picture.shape[1]] = picture
        parts.append(padded)
    return np.concatenate(parts)


def load(path: Path) -> np.ndarray:
    """A picture file as uint8 [H, W, 3]."""
    return np.asarray(Image.open(path).convert("RGB"))


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write a PNG, whole or not at all; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: Image.fromarray(pixels).save(temporary, "PNG", optimize=True))
    return path
