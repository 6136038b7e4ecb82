"""The generator: from z ~ N(0, I) and a class to a picture. Training does not belong here."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.garments.prior import Prior
from models.garments.settings import GarmentModelSettings
from models.garments.upsampling import UpsampledConv, initialise

_SLOPE = 0.2  # of the leaky ReLU
_CHANNELS = {4: 128, 8: 128, 16: 96, 32: 64, 64: 48, 128: 32}  # at each side; the last layer goes straight to RGB
_REFINED = 16  # up to this side, a residual 3x3 convolution precedes the upsampling
_NORM_STD = 0.02  # of the weights that scale and shift: they start near the identity


class Generator(nn.Module):
    """Generator of pictures [B, 3, size, size] in [-1, 1] from z [B, z_dim] and a class."""

    z_distribution = "normal"

    def __init__(self, settings: GarmentModelSettings) -> None:
        super().__init__()
        self.z_dim, self.classes, self.size = settings.z_dim, settings.classes, settings.size
        sides = [side for side in _CHANNELS if side < settings.size]
        channels = [max(4, round(_CHANNELS[side] * settings.width)) for side in sides]
        condition = settings.z_dim + settings.class_dim
        self.prior = Prior(settings.classes, settings.z_dim)
        self.embedding = nn.Linear(settings.classes, settings.class_dim, bias=False)
        self.input = nn.Linear(condition, channels[0] * 4 * 4)
        filters = [*channels[1:], 3]
        self.stages = nn.ModuleList(
            Stage(*both, condition, refined=side <= _REFINED)
            for side, *both in zip(sides, channels, filters, strict=True)
        )
        initialise(self, settings.seed)
        with torch.no_grad():
            rng = torch.Generator().manual_seed(settings.seed + 1)
            self.embedding.weight.normal_(generator=rng)  # a class weighs as much as z does
            for norm in self.norms():
                norm.modulation.weight.normal_(std=_NORM_STD, generator=rng)
        self.to(memory_format=torch.channels_last)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Generate pictures from z ~ N(0, I) [B, z_dim] and labels int64 [B]."""
        return self.decode(self.prior.code(z, labels), labels)

    def decode(self, code: Tensor, labels: Tensor) -> Tensor:
        """Generate pictures from codes [B, z_dim], as the encoder gives them, and labels int64 [B]."""
        # A product with one-hot rows instead of indexing: its gradient is deterministic on CUDA too.
        y = self.embedding(F.one_hot(labels, self.classes).to(code.dtype))
        condition = torch.cat([code, y.to(code.dtype)], dim=1)
        h = self.input(condition).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            h = stage(h, condition)
        return torch.tanh(h.float())

    def norms(self) -> list["ConditionalNorm"]:
        """List the batch norms."""
        return [module for module in self.modules() if isinstance(module, ConditionalNorm)]


class Stage(nn.Module):
    """Double the size: [B, channels, n, n] to [B, filters, 2n, 2n], after a residual convolution if refined."""

    def __init__(self, channels: int, filters: int, condition: int, *, refined: bool) -> None:
        super().__init__()
        self.refine_norm = ConditionalNorm(channels, condition) if refined else None
        self.refine = nn.Conv2d(channels, channels, 3, padding=1) if refined else None
        self.norm = ConditionalNorm(channels, condition)
        self.up = UpsampledConv(channels, filters)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """Transform h under the condition [B, condition]."""
        if self.refine_norm is not None and self.refine is not None:
            h = h + self.refine(_rectified(self.refine_norm(h, condition)))
        return self.up(_rectified(self.norm(h, condition)))


class ConditionalNorm(nn.Module):
    """Batch norm whose scale and shift of each row are linear in z and the class."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.modulation = nn.Linear(condition, 2 * channels)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """Normalise h [B, channels, n, n]."""
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)
        h = self.norm(h)
        return torch.addcmul(shift.to(h.dtype), h, 1 + scale.to(h.dtype))


def _rectified(h: Tensor) -> Tensor:
    return F.leaky_relu(h, _SLOPE, inplace=True)


@torch.no_grad()
def settle(generator: Generator, batches: int, seed: int) -> None:
    """Recompute the batch-norm statistics of averaged weights, from codes of the prior, with the classes in turn."""
    device = generator.input.weight.device
    noise = torch.Generator(device=device).manual_seed(seed)
    norms = [norm.norm for norm in generator.norms()]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    generator.train()
    rows = 64 // generator.classes * generator.classes or generator.classes
    labels = torch.arange(rows, device=device) % generator.classes
    for _ in itertools.repeat(None, batches):
        generator(torch.randn(rows, generator.z_dim, generator=noise, device=device), labels)
    generator.eval()
    for norm in norms:
        norm.momentum = 0.1
