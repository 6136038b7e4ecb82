"""Trunks for running this room alone: one with random weights, and one exported to a file.

Features of a trained network are much better; the pipeline supplies those of EfficientNet-Lite0.
"""

import itertools
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.garments.upsampling import initialise
from models.training.files import UnusableFileError

_CHANNELS = (24, 40, 80, 160)


class RandomTrunk(nn.Module):
    """Convolutions with fixed random weights: pictures [B, 3, S, S] to four maps of S/4 to S/32 pixels."""

    def __init__(self, seed: int = 0, width: float = 1.0) -> None:
        super().__init__()
        channels = [16, *(max(4, round(c * width)) for c in _CHANNELS)]
        self.stem = nn.Conv2d(3, channels[0], 3, stride=2, padding=1)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(channels))
        initialise(self, seed)
        self.requires_grad_(False).eval()

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Compute the four maps."""
        h, maps = F.leaky_relu(self.stem(pictures), 0.2), []
        for stage in self.stages:
            h = F.leaky_relu(stage(h), 0.2)
            maps.append(h)
        return maps


class ExportedTrunk(nn.Module):
    """A trunk from an exported program, which has no training mode."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program.requires_grad_(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Compute the four maps of pictures [B, 3, S, S]."""
        return list(self.program(pictures))

    def train(self, mode: bool = True) -> Self:
        """Do nothing: an exported program refuses to change its mode."""
        return self


def read_trunk(path: Path) -> ExportedTrunk:
    """Read a trunk that `torch.export.save` wrote, for any batch size; UnusableFileError for another file."""
    if not path.is_file():
        raise UnusableFileError(f"{path}: not there; a trunk written by torch.export.save is expected")
    try:
        program = torch.export.load(path).module()
    except Exception as error:  # a foreign file raises errors of zip, json or torch
        raise UnusableFileError(f"{path}: not a program of torch.export.save; export the trunk again") from error
    return ExportedTrunk(program)
