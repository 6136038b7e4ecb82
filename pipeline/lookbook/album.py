"""The page's files: pictures made small and named by their content, and sheets cut back into their pictures.

Nothing is on disk before `publish.py` writes it. Which pictures are shown belongs to the section builders.
"""

import hashlib
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.lookbook.page import Picture

FOLDER = "files"
QUALITY = 82
SHELF_HEIGHT = 112  # pixels; product pictures of 2018 are 50 px high, larger ones are brought down to this
GAP = (
    2  # pixels between the pictures of models/data/picture_grid.py, whose letters are 6 wide and whose head is 11 high
)
LETTER, MARGIN, HEAD = 6, 4, 11


class Album:
    """Pictures and other files of one page, by name; equal contents once."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))

    def add(self, pixels: np.ndarray, alt: str, height: int | None = None, quality: int = QUALITY) -> Picture:
        """A picture, uint8 [H, W, 3], as JPEG; brought down to `height` pixels where it is higher."""
        picture = Image.fromarray(pixels)
        if height is not None and picture.height > height:
            width = max(1, round(picture.width * height / picture.height))
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        sink = io.BytesIO()
        picture.save(sink, "JPEG", quality=quality, optimize=True, progressive=True)
        return Picture(self.add_file(sink.getvalue(), "jpg"), picture.width, picture.height, alt)

    def add_file(self, content: bytes, ending: str) -> str:
        """A file; returns its address, relative to the page."""
        name = f"{hashlib.sha256(content).hexdigest()[:20]}.{ending}"
        self.files[name] = content
        return f"{FOLDER}/{name}"


def cut(sheet: np.ndarray, row_labels: Sequence[str], column_labels: bool = False) -> np.ndarray | None:
    """The pictures of a sheet of `models/data/picture_grid.py`, uint8 [rows, columns, H, W, 3] of squares.

    Args:
        sheet: uint8 [H, W, 3].
        row_labels: the labels at its left, whose longest says where the pictures begin.
        column_labels: whether there are labels above.

    Returns:
        None where the sheet is not laid out so; it can then be shown whole.
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
    """Pictures uint8 [rows, columns, H, W, 3] edge to edge: uint8 [rows * H, columns * W, 3]."""
    rows, columns, height, width, _ = pictures.shape
    return np.ascontiguousarray(pictures.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3))


def spread(length: int, count: int) -> list[int]:
    """At most `count` places of `length`, evenly spread, the first and the last among them."""
    return sorted({round(place) for place in np.linspace(0, length - 1, min(count, length))}) if length else []
