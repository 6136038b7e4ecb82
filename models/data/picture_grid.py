"""Lay out pictures in labelled grids and strips, and encode them as PNG.

Everything is uint8 [height, width, 3]. The labels use a 5x7 bitmap font stored here as data, so that `models` needs
no drawing library.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from models.training.files import write_whole

_GAP = 2  # pixels between pictures
_INK = np.array([40, 40, 40], dtype=np.uint8)
# The common 5x7 display font: one byte for each of a letter's five columns, lowest bit at the top.
_FONT = {
    " ": "0000000000", "-": "0808080808", ".": "0060600000", ",": "0050300000", ":": "0036360000", "/": "2010080402",
    "+": "08083E0808", "=": "1414141414", "%": "2313086462", "(": "001C224100", ")": "0041221C00", "#": "147F147F14",
    "'": "0005030000", "0": "3E5149453E", "1": "00427F4000", "2": "4261514946", "3": "2141454B31", "4": "1814127F10",
    "5": "2745454539", "6": "3C4A494930", "7": "0171090503", "8": "3649494936", "9": "064949291E", "A": "7E1111117E",
    "B": "7F49494936", "C": "3E41414122", "D": "7F4141221C", "E": "7F49494941", "F": "7F09090901", "G": "3E4149497A",
    "H": "7F0808087F", "I": "00417F4100", "J": "2040413F01", "K": "7F08142241", "L": "7F40404040", "M": "7F020C027F",
    "N": "7F0408107F", "O": "3E4141413E", "P": "7F09090906", "Q": "3E4151215E", "R": "7F09192946", "S": "4649494931",
    "T": "01017F0101", "U": "3F4040403F", "V": "1F2040201F", "W": "3F4038403F", "X": "6314081463", "Y": "0708700807",
    "Z": "6151494543",
}  # fmt: skip


def grid(
    pictures: np.ndarray, row_labels: Sequence[str] = (), column_labels: Sequence[str] = (), scale: int = 1
) -> np.ndarray:
    """Arrange pictures uint8 [rows, columns, H, W, 3] in one uint8 picture, with labels in capitals left and above.

    `scale` repeats every pixel. Raises ValueError for any other shape or a wrong number of labels.
    """
    if pictures.ndim != 5 or pictures.shape[-1] != 3 or pictures.dtype != np.uint8 or pictures.size == 0:
        raise ValueError(f"a grid needs uint8 [rows, columns, H, W, 3], not {pictures.dtype} {pictures.shape}")
    rows, columns = pictures.shape[:2]
    for name, labels, count in (("row", row_labels, rows), ("column", column_labels, columns)):
        if labels and len(labels) != count:
            raise ValueError(f"{len(labels)} {name} labels for {count} {name}s")
    pictures = pictures.repeat(scale, axis=2).repeat(scale, axis=3)
    height, width = (side + _GAP for side in pictures.shape[2:4])
    from torchvision.utils import make_grid  # imported late: it takes seconds, and a code location does not need it

    flat = torch.from_numpy(np.ascontiguousarray(pictures.reshape(-1, *pictures.shape[2:]).transpose(0, 3, 1, 2)))
    body = make_grid(flat, nrow=columns, padding=_GAP, pad_value=255)
    if len(flat) == 1:  # make_grid draws no border around a single picture
        body = torch.nn.functional.pad(body, (_GAP,) * 4, value=255)
    left = max((6 * len(label) + 4 for label in row_labels), default=0)
    above = 11 if column_labels else 0
    sheet = np.full((above + body.shape[1], left + body.shape[2], 3), 255, dtype=np.uint8)
    sheet[above:, left:] = body.permute(1, 2, 0).numpy()
    for row, label in enumerate(row_labels):
        _write(sheet, label, above + _GAP + row * height + (height - _GAP) // 2 - 3, 2, left)
    for column, label in enumerate(column_labels):
        start = left + _GAP + column * width
        _write(sheet, label, 2, start, start + width - _GAP)
    return sheet


def strip(pictures: np.ndarray, labels: Sequence[str] = (), scale: int = 1) -> np.ndarray:
    """Arrange pictures uint8 [n, H, W, 3] side by side in one uint8 picture, with a label above each."""
    return grid(pictures[None], column_labels=labels, scale=scale)


def png_bytes(picture: np.ndarray) -> bytes:
    """Encode a uint8 picture [H, W, 3] as PNG."""
    from torchvision.io import encode_png

    return encode_png(torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))).numpy().tobytes()


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a uint8 picture [H, W, 3] to `path` atomically."""
    write_whole(path, lambda file: file.write(png_bytes(picture)))


def write_fakes(
    out: Path, name: str, step: int, picture: np.ndarray, on_images: Callable[[int, np.ndarray], None] | None
) -> None:
    """Write a generator's grid uint8 [H, W, 3] to out/fakes_<name>.png, and pass it on with its step."""
    write_png(out / f"fakes_{name}.png", picture)
    if on_images is not None:
        on_images(step, picture)


def _write(sheet: np.ndarray, text: str, top: int, left: int, limit: int) -> None:
    """Draw `text` into `sheet` up to the column `limit`, leaving out what does not fit; unknown letters become "-"."""
    for position, letter in enumerate(text.upper().replace("_", " ")):
        start = left + 6 * position
        if start + 5 > min(limit, sheet.shape[1]) or top < 0 or top + 7 > sheet.shape[0]:
            return
        columns = np.frombuffer(bytes.fromhex(_FONT.get(letter, _FONT["-"])), dtype=np.uint8)
        on = (columns[None, :] >> np.arange(7)[:, None]) & 1 == 1  # [7, 5]
        sheet[top : top + 7, start : start + 5][on] = _INK
