"""Explain a picture's score theta_u . Phi(X): cover one patch at a time and see how much the score drops.

Occlusion (Zeiler and Fergus 2014, section 4.2) rather than gradient x input, because the gradient of a ReLU network
with max pooling looks like noise, while the effect of a covered patch is easy to understand. Drawing the map does not
belong here.
"""

import numpy as np
import torch
from torch import Tensor, nn

from models.data.pictures import normalise

PATCHES = 6  # patches side by side; they overlap by half


@torch.no_grad()
def occlusion(cnn: nn.Module, theta: Tensor, pictures: Tensor, *, batch: int = 256) -> np.ndarray:
    """Compute how much each part of a picture adds to one user's score.

    Each patch is painted over with the picture's border colour, so that covering empty background changes nothing,
    and the picture is scored again. The value of a cell is the mean drop in score over the patches that cover it.

    Args:
        cnn: Phi, [B, 3, S, S] in [-1, 1] to [B, K], in eval mode.
        theta: the user's factors, [K], on the network's device.
        pictures: uint8 [n, S, S, 3], in the network's input size, on the same device.
        batch: number of pictures in one forward pass.

    Returns:
        float32 [n, PATCHES + 1, PATCHES + 1], in units of the score; positive where the part raises it.

    Raises:
        ValueError: the pictures are not uint8 squares of at least PATCHES + 1 pixels a side.
    """
    if pictures.dtype != torch.uint8 or pictures.ndim != 4 or pictures.shape[1] != pictures.shape[2]:
        raise ValueError(f"pictures are {pictures.dtype} {tuple(pictures.shape)}; uint8 [n, S, S, 3] was expected")
    cells, side = PATCHES + 1, pictures.shape[1]
    if side < cells:
        raise ValueError(f"pictures of {side} px are too small for {cells} x {cells} cells")
    edges = np.linspace(0, side, cells + 1).round().astype(int)  # a patch is two cells wide and high
    corners = [(row, column) for row in range(PATCHES) for column in range(PATCHES)]
    drops = np.zeros((len(pictures), cells, cells), np.float32)
    covered = np.zeros((cells, cells), np.float32)
    for row, column in corners:
        covered[row : row + 2, column : column + 2] += 1
    for number, picture in enumerate(pictures):
        painted = picture.repeat(len(corners) + 1, 1, 1, 1)  # the last copy stays unchanged
        colour = border_colour(picture)
        for place, (row, column) in enumerate(corners):
            painted[place, edges[row] : edges[row + 2], edges[column] : edges[column + 2]] = colour
        scores = torch.cat([cnn(normalise(part)) @ theta for part in painted.split(batch)]).cpu().numpy()
        for place, (row, column) in enumerate(corners):
            drops[number, row : row + 2, column : column + 2] += scores[-1] - scores[place]
    return drops / covered


def border_colour(picture: Tensor) -> Tensor:
    """Compute the median colour of a picture's outermost pixels: uint8 [S, S, 3] to uint8 [3]."""
    border = torch.cat([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return border.float().median(0).values.to(torch.uint8)
