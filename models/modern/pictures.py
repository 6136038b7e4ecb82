"""The picture part of `modern` as a differentiable function of a picture: trunk, then the space of its features."""

import torch
from torch import Tensor, nn

from models.modern.part import Space


class PhiOfPictures(nn.Module):
    """Phi of pictures: [B, 3, S, S] in [-1, 1] to [B, K], through the trunk that made the features."""

    def __init__(self, trunk: nn.Module, space: Space) -> None:
        super().__init__()
        self.trunk = trunk
        self.centre: Tensor
        self.basis: Tensor
        self.register_buffer("centre", torch.from_numpy(space.centre))
        self.register_buffer("basis", torch.from_numpy(space.basis))

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute Phi of pictures: [B, K]."""
        return (self.trunk(pictures) - self.centre) @ self.basis
