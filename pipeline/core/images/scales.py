"""EfficientNet-Lite0 as the trunk of the garments' generator: its maps on four scales, with gradients.

Other features of pictures, and the network's weights, belong in `features.py` and `trunks.py`.
"""

import copy

import torch
from torch import Tensor, nn

from pipeline.core.images import trunks

_BLOCKS = (1, 2, 4, 6)  # the last at 1/4, 1/8, 1/16 and 1/32 of the picture's side


class Scales(nn.Module):
    """Pictures [B, 3, S, S] in [-1, 1] to four maps: 24, 40, 112 and 320 channels, S/4 to S/32 pixels wide."""

    def __init__(self, network: nn.Module) -> None:
        """`network`: EfficientNet-Lite0 as `trunks.load` builds it; it is copied."""
        super().__init__()
        network = copy.deepcopy(network)
        self.stem = nn.Sequential(network.get_submodule("conv_stem"), network.get_submodule("bn1"))
        self.blocks = nn.ModuleList(network.get_submodule("blocks").children())
        for module in list(self.blocks.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Conv2d) and child.groups > 1 and child.stride[0] > 1:
                    setattr(module, name, _InFloat32(child))
        self.requires_grad_(False).eval()

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Compute the four maps, finest first."""
        h, maps = self.stem(pictures), []
        for place, block in enumerate(self.blocks):
            h = block(h)
            if place in _BLOCKS:
                maps.append(h)
        return maps


class _InFloat32(nn.Module):
    """A convolution that ignores autocast.

    On a CPU, the gradient of a depthwise convolution of stride 2 takes five to ten times as long in bfloat16 as in
    float32.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, h: Tensor) -> Tensor:
        with torch.autocast(h.device.type, enabled=False):
            return self.conv(h.float())


def scales(device: torch.device) -> Scales:
    """Build the trunk on a device."""
    return Scales(trunks.load(None, device))
