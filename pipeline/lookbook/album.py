"""Collect the files of the lookbook: shrink pictures, name files by their content, cut sheets into single pictures.

Files are kept in memory until the lookbook is published. Choosing pictures does not belong here.
"""

import hashlib
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.lookbook.page import Picture

FOLDER = "files"
QUALITY = 82
CARD_HEIGHT = 112  # largest height in pixels; product pictures of 2018 are only 50 px high
# The layout of models/data/picture_grid.py in pixels: the gap between pictures, the width of a letter, the margin
# beside row labels, and the height of the line of column labels.
GAP = 2
LETTER, MARGIN, HEAD = 6, 4, 11


class Album:
    """The pictures and other files of the lookbook by name; equal contents are stored once."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    @property
    def size(self) -> int:
        """Return the total size of all files in bytes."""
        return sum(map(len, self.files.values()))

    def add(self, pixels: np.ndarray, alt: str, height: int | None = None, quality: int = QUALITY) -> Picture:
        """Add a picture, uint8 [H, W, 3], as JPEG, shrunk to `height` pixels if it is higher."""
        picture = Image.fromarray(pixels)
        if height is not None and picture.height > height:
            width = max(1, round(picture.width * height / picture.height))
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        sink = io.BytesIO()
        picture.save(sink, "JPEG", quality=quality, optimize=True, progressive=True)
        return Picture(self.add_file(sink.getvalue(), "jpg"), picture.width, picture.height, alt)

    def add_file(self, content: bytes, ending: str) -> str:
        """Add a file and return its address relative to the page."""
        name = f"{hashlib.sha256(content).hexdigest()[:20]}.{ending}"
        self.files[name] = content
        return f"{FOLDER}/{name}"


def cut(sheet: np.ndarray, row_labels: Sequence[str], column_labels: bool = False) -> np.ndarray | None:
    """Cut a sheet made by `models/data/picture_grid.py` into its square pictures, uint8 [rows, columns, H, W, 3].

    Args:
        sheet: uint8 [H, W, 3].
        row_labels: the labels on the left; the longest determines where the pictures begin.
        column_labels: whether there are labels above.

    Returns:
        None if the sheet has another layout; the caller can then show it whole.
    """
    left = max((LETTER * len(label) + MARGIN for label in row_labels), default=0)
    body = sheet[HEAD if column_labels else 0 :, left:]
    rows = len(row_labels)
    if not rows or (body.shape[0] - GAP) % rows:
        return None
    step = (body.shape[0] - GAP) // rows
    if step <= GAP or body.shape[1] <= GAP or (body.shape[1] - GAP) % step:
        return None
    columns, side = (body.shape[1] - GAP) // step, step - GAP
    cells = body[GAP:, GAP:].reshape(rows, step, columns, step, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(cells[:, :, :side, :side])


def join(pictures: np.ndarray) -> np.ndarray:
    """Join pictures uint8 [rows, columns, H, W, 3] edge to edge: uint8 [rows * H, columns * W, 3]."""
    rows, columns, height, width, _ = pictures.shape
    return np.ascontiguousarray(pictures.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3))


def spread(length: int, count: int) -> list[int]:
    """Choose at most `count` evenly spread positions out of `length`, including the first and the last."""
    return sorted({round(position) for position in np.linspace(0, length - 1, min(count, length))}) if length else []
