"""CNN-F, the network that maps a picture to latent factors (K17, figure 2; Chatfield et al. 2014)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dvbpr.cnnf_input import FIRST_KERNEL, FIRST_STRIDE, Padding, feature_size

FILTERS = (64, 256, 256, 256, 256)
HIDDEN = 4096


class CNNF(nn.Module):
    """Phi, from pictures [B, 3, S, S] in [-1, 1] to latent factors [B, k].

    `padding` applies to the first convolution and the poolings: "same" is TensorFlow's SAME (K17's code; conv1 pads
    3 before and 4 after at 224 px), "valid" is no padding, with floor pooling (NAF's figure). The other convolutions
    always keep their size. `width` multiplies the numbers of filters, `hidden` the units of the two hidden layers.

    At 224 px, width 1: 70,573,874 parameters (same) or 56,942,386 (valid) at k = 50; 70,778,724 (same) at k = 100.
    Weights are Glorot uniform, drawn from `generator`; biases are zero. Raises ValueError naming an invalid argument.
    """

    def __init__(
        self,
        k: int,
        *,
        input_size: int = 224,
        padding: Padding = "same",
        width: float = 1.0,
        hidden: float = 1.0,
        dropout: float = 0.5,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        spatial = feature_size(input_size, padding)
        filters = [max(1, round(n * width)) for n in FILTERS]
        units = max(1, round(HIDDEN * hidden))
        self.input_size, self.padding, self.dropout = input_size, padding, dropout
        self.conv1 = nn.Conv2d(3, filters[0], FIRST_KERNEL, stride=FIRST_STRIDE, device=device)
        self.conv2 = nn.Conv2d(filters[0], filters[1], 5, padding=2, device=device)
        self.conv3 = nn.Conv2d(filters[1], filters[2], 3, padding=1, device=device)
        self.conv4 = nn.Conv2d(filters[2], filters[3], 3, padding=1, device=device)
        self.conv5 = nn.Conv2d(filters[3], filters[4], 3, padding=1, device=device)
        self.full6 = nn.Linear(filters[4] * spatial * spatial, units, device=device)
        self.full7 = nn.Linear(units, units, device=device)
        self.full8 = nn.Linear(units, k, device=device)
        self.initialise(generator)

    def forward(self, pictures: Tensor, place: tuple[int, int] | None = None) -> Tensor:
        """Map pictures [B, 3, S, S] in [-1, 1] to [B, k]; in training each picture gets its own dropout mask.

        `place` (first row, all rows) gives the position of these pictures in a larger batch. They then get the masks
        that they would have in that batch, and as many random numbers are drawn.
        """
        x = self._pool(F.relu(self.conv1(self._pad(pictures))))
        x = self._pool(F.relu(self.conv2(x)))
        x = F.relu(self.conv3(x))
        x = F.relu(self.conv4(x))
        x = self._pool(F.relu(self.conv5(x)))
        x = x.flatten(1)
        x = self._dropout(F.relu(self.full6(x)), place)
        x = self._dropout(F.relu(self.full7(x)), place)
        return self.full8(x)

    def weights(self) -> list[nn.Parameter]:
        """List the eight weight tensors, which have weight decay; biases have none (K17's code)."""
        return [parameter for name, parameter in self.named_parameters() if name.endswith("weight")]

    def biases(self) -> list[nn.Parameter]:
        """List the eight bias vectors."""
        return [parameter for name, parameter in self.named_parameters() if name.endswith("bias")]

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Set weights to Glorot uniform values and biases to zero (K17's code), using `generator` or torch's own."""
        for weight in self.weights():
            if not weight.is_meta:  # a network without storage serves only to count parameters
                nn.init.xavier_uniform_(weight, generator=generator)
        for bias in self.biases():
            nn.init.zeros_(bias)

    def _dropout(self, x: Tensor, place: tuple[int, int] | None) -> Tensor:
        if place is None or not self.training:
            return F.dropout(x, self.dropout, self.training)
        first, rows = place
        mask = F.dropout(x.new_ones(rows, x.shape[1]), self.dropout)
        return x * mask[first : first + len(x)]

    def _pad(self, x: Tensor) -> Tensor:
        if self.padding == "valid":
            return x
        before, after = same_padding(x.shape[-1], FIRST_KERNEL, FIRST_STRIDE)
        return F.pad(x, (before, after, before, after))

    def _pool(self, x: Tensor) -> Tensor:
        # TensorFlow's SAME pads an odd size with one empty column at the end, which ceil_mode does too.
        return F.max_pool2d(x, 2, ceil_mode=self.padding == "same")


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Compute TensorFlow's SAME padding (before, after), which makes the output ceil(size / stride).

    If the total is odd, the extra pixel goes after.
    """
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
