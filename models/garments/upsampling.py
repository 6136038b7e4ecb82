"""Upsampling by 2 without a lattice, at the price of one transposed convolution."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UpsampledConv(nn.Module):
    """Nearest upsampling to twice the size, then a 3x3 convolution, computed as one transposed convolution.

    An input pixel covers 2x2 pixels of the enlarged picture, so its weight on an output pixel is the sum of the 3x3
    weights that fall on those: the flipped kernel, box-filtered by 2x2, is the 4x4 kernel of a transposed convolution
    of stride 2. That takes 16 products for each input pixel and pair of channels instead of 36.
    """

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(filters, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(filters))

    def forward(self, x: Tensor) -> Tensor:
        """Upsample x [B, channels, n, n] to [B, filters, 2n, 2n]."""
        return F.conv_transpose2d(x, box_filtered(self.weight), self.bias, stride=2, padding=1)


def box_filtered(weight: Tensor) -> Tensor:
    """Convert weights [filters, channels, 3, 3] to those of the transposed convolution, [channels, filters, 4, 4]."""
    flipped = F.pad(weight.flip(2, 3).transpose(0, 1), (1, 1, 1, 1))
    rows = flipped[:, :, 1:] + flipped[:, :, :-1]
    return rows[:, :, :, 1:] + rows[:, :, :, :-1]


@torch.no_grad()
def initialise(network: nn.Module, seed: int) -> None:
    """Draw weights from N(0, gain / inputs), with gain 2 in convolutions, which follow a rectifier; biases are 0."""
    rng = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, UpsampledConv)):
            gain = 1 if isinstance(module, nn.Linear) else 2
            nn.init.normal_(module.weight, std=math.sqrt(gain / module.weight[0].numel()), generator=rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
