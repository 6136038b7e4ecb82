"""Features of a frozen network on four scales, mixed at random (Projected GAN, Sauer et al. 2021).

The network, the trunk, is an argument: a module that maps pictures float [B, 3, S, S] in [-1, 1] to a list of four maps
[B, C, s, s], each half as wide as the one before it. `models/` downloads nothing; `trunk.py` has one with random
weights, and reads one from a file.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.data.pictures import normalise
from models.garments.upsampling import UpsampledConv, initialise
from models.training import device as devices

SCALES = 4
CALIBRATED_ON = 128  # training pictures that set the scale of the features
_CHUNK = 64  # pictures in one pass of the trunk
_OTHER_TRUNK = 0.1  # relative difference of the probe's features by which a trunk is another one
_THUMBNAIL = 8


class FrozenFeatures(nn.Module):
    """The trunk and the random mixing after it: `mixed` channels on each scale, of unit spread.

    Every scale passes a random 1x1 convolution. From the coarsest on, each is then upsampled by a random 3x3
    convolution and added to the next finer one, so that the heads of all scales see what the deepest layers see.
    """

    probe: Tensor  # [4], mean absolute features of a fixed picture: they identify the trunk

    def __init__(self, trunk: nn.Module, mixed: int, seed: int) -> None:
        super().__init__()
        self.trunk = trunk
        device = next((p.device for p in trunk.parameters()), torch.device("cpu"))
        with torch.no_grad():
            channels = [scale.shape[1] for scale in trunk(_probe(device, 64))]
        self.across = nn.ModuleList(nn.Conv2d(c, mixed, 1, bias=False) for c in channels)
        self.down = nn.ModuleList(UpsampledConv(mixed, mixed) for _ in channels[1:])
        self.register_buffer("probe", torch.zeros(len(channels)))
        initialise(self.across, seed)
        initialise(self.down, seed + 1)
        self.requires_grad_(False).eval().to(device).to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever the mode of the networks around: the features are frozen."""
        return super().train(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Compute the features of pictures [B, 3, S, S] in [-1, 1]: four maps, finest first, half the side each."""
        maps = self.trunk(pictures)
        out: list[Tensor] = []
        for place in reversed(range(len(maps))):
            mixed = self.across[place](maps[place])
            out.append(mixed + self.down[place](out[-1]) if out else mixed)
        return out[::-1]

    def shapes(self, size: int) -> tuple[int, list[int]]:
        """Return the width of a picture's summary and the sides of the four maps; ValueError for other maps."""
        picture = _probe(self.probe.device, size)
        with torch.no_grad():
            check_maps(self.trunk(picture))
        stored = self.stored(picture)
        return summary(stored, picture).shape[1], [scale.shape[2] for scale in stored]

    def stored(self, pictures: Tensor) -> list[Tensor]:
        """Compute the features as they are cached: bfloat16, without gradients."""
        with torch.no_grad():
            return [scale.bfloat16() for scale in self(pictures)]

    @torch.no_grad()
    def calibrate(self, pictures: Tensor) -> None:
        """Scale the mixing so that each map has unit spread on pictures uint8 [n, S, S, 3]."""
        chunks = [self.trunk(normalise(part)) for part in pictures.split(_CHUNK)]
        maps = [torch.cat([chunk[place].float() for chunk in chunks]) for place in range(len(self.across))]
        coarser: Tensor | None = None
        for place in reversed(range(len(maps))):
            mixed = self.across[place](maps[place])
            spread = mixed.std()
            _divide(self.across[place], spread)
            mixed = mixed / spread
            if coarser is not None:
                mixed = mixed + self.down[place](coarser)
                spread = mixed.std()
                for layer in (self.across[place], self.down[place]):
                    _divide(layer, spread)
                mixed = mixed / spread
            coarser = mixed
        self.probe.copy_(self._probed(pictures.shape[1]))

    @torch.no_grad()
    def expect_same_trunk(self, size: int) -> None:
        """Raise ValueError if the trunk differs from that of the run that calibrated the features."""
        found = self._probed(size)
        if not torch.allclose(found, self.probe, rtol=_OTHER_TRUNK):
            raise ValueError(
                "these networks were trained on the features of another trunk: features of a fixed picture are "
                f"{[round(x, 3) for x in found.tolist()]}, {[round(x, 3) for x in self.probe.tolist()]} in training; "
                "give the same trunk"
            )

    def mixing(self) -> dict[str, Tensor]:
        """Return all that a checkpoint needs: the state without the trunk."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("trunk.")}

    def load_mixing(self, state: Mapping[str, Tensor]) -> None:
        """Load what `mixing` returned; RuntimeError if it does not fit."""
        whole = {name: value for name, value in self.state_dict().items() if name.startswith("trunk.")}
        self.load_state_dict({**whole, **state})

    def _probed(self, size: int) -> Tensor:
        return torch.stack([scale.float().abs().mean() for scale in self(_probe(self.probe.device, size))])


def check_maps(maps: Sequence[Tensor]) -> None:
    """Raise ValueError unless a trunk gave four maps, each half as wide as the one before it."""
    sides = [tuple(scale.shape[2:]) for scale in maps]
    halves = all(a == (2 * b[0], 2 * b[1]) for a, b in itertools.pairwise(sides))
    if len(maps) != SCALES or not halves:
        raise ValueError(f"the trunk gave maps of {sides} pixels; four are needed, each half as wide as the one before")


class TrainingFeatures:
    """The frozen features of a set of pictures, computed once and kept in bfloat16, or computed whenever asked for.

    `note` describes which.
    """

    def __init__(self, features: FrozenFeatures, pixels: Tensor, gigabytes: float) -> None:
        """`pixels`: uint8 [N, S, S, 3]; `gigabytes`: the most memory that the features may take."""
        self.features, self.pixels, self.device = features, pixels, features.probe.device
        self.kept: list[Tensor] | None = None
        first = features.stored(self._pictures(torch.arange(min(2, len(pixels)))))
        each = sum(scale[0].numel() * scale.element_size() for scale in first)
        total = each * len(pixels) / 1e9
        self.note = f"features of {len(pixels):,} pictures ({each / 1e3:.0f} kB each, {total:.2f} GB) "
        self.note += "computed once" if total <= gigabytes else "computed in every step: cache_gigabytes is less"
        summaries = []
        place = self.device
        if total <= gigabytes:
            if place.type != "cpu" and not devices.fits(each * len(pixels), place):
                place = torch.device("cpu")
                self.note += ", kept in memory, every batch copied"
            self.kept = [
                torch.empty(
                    (len(pixels), *scale.shape[1:]), dtype=scale.dtype, device=place, memory_format=torch.channels_last
                )
                for scale in first
            ]
        for rows in torch.arange(len(pixels)).split(_CHUNK):
            pictures = self._pictures(rows)
            computed = features.stored(pictures)
            summaries.append(summary(computed, pictures))
            if self.kept is not None:
                for whole, part in zip(self.kept, computed, strict=True):
                    whole[rows[0] : rows[-1] + 1] = part
        self.summaries = torch.cat(summaries)  # float32 [N, inputs of the encoder]

    def __call__(self, rows: Tensor) -> list[Tensor]:
        """Return the features of these rows int64 [B], float32."""
        if self.kept is None:
            return [scale.float() for scale in self.features.stored(self._pictures(rows))]
        return [whole[rows.to(whole.device)].to(self.device).float() for whole in self.kept]

    def _pictures(self, rows: Tensor) -> Tensor:
        return normalise(self.pixels[rows.to(self.pixels.device)].to(self.device))


def summary(stored: Sequence[Tensor], pictures: Tensor) -> Tensor:
    """Summarise pictures [B, 3, S, S] and their stored features for the encoder: float32 [B, D].

    All scales pooled to 2x2, then an 8x8 thumbnail.
    """
    pooled = [F.adaptive_avg_pool2d(scale.float(), 2).flatten(1) for scale in stored]
    return torch.cat([*pooled, F.adaptive_avg_pool2d(pictures.float(), _THUMBNAIL).flatten(1)], dim=1)


def _probe(device: torch.device, size: int) -> Tensor:
    """Make a fixed picture [1, 3, size, size] of coloured waves."""
    at = torch.linspace(0, 6.0, size, device=device)
    phase = torch.arange(3, device=device)[:, None, None]
    return torch.sin(at[None, :, None] * (phase + 1) + 2 * at[None, None, :] + phase)[None]


def _divide(layer: nn.Module, by: Tensor) -> None:
    for weight in layer.parameters():
        weight.div_(by)
