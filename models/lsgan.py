"""The category-conditional LSGAN: its settings and presets, the two networks, the two losses.

Architecture and initialisation follow Kang et al. 2017 and their released code (REFERENCE.md, section 3).
How the networks are trained belongs to `train_lsgan.py`, what is done with a trained one to `design.py`.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import augment

PICTURE_SIZE = 64  # the networks' depth fixes it: four halvings down to 4x4, four doublings up
_SLOPE = 0.2  # leaky ReLU of every hidden layer
_GENERATOR_LAYERS = ((256, 2), (256, 1), (256, 2), (256, 1), (128, 2), (64, 2))  # (filters, stride), kernel 3
_DISCRIMINATOR_FILTERS = (64, 128, 256, 512)  # kernel 5, stride 2


@dataclass(frozen=True)
class LsganSettings:
    """Every knob of the networks and their training; the defaults are the `paper` preset."""

    z_dim: int = 256
    z_distribution: str = "uniform"  # uniform: U(-1, 1); normal: N(0, 1)
    classes: int = 6
    width: float = 1.0  # multiplies every filter count; under 1 for machines without a GPU
    input_batch_norm: bool = False  # after the generator's linear layer: the released code has it, the paper not

    lr_generator: float = 1e-5
    lr_discriminator: float = 1e-5
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 1e-5  # coupled L2, as Adam's `weight_decay`
    batch_size: int = 64
    epochs: float = 55
    steps: int | None = None  # when given, the length of the run instead of `epochs`

    balanced: bool = False  # every class equally often in a batch, whatever its share of the pictures
    augment: str = ""  # DiffAugment policy, e.g. "color,translation,cutout"; "" for none
    ema_half_life: float | None = None  # in pictures; samples then come from the averaged weights
    bf16: bool = False  # autocast, on CUDA only

    minimum_class: int = 32  # a class with fewer pictures is refused
    tick_steps: int = 200  # upkeep (losses read, checkpoint, pictures) comes every so many steps
    picture_ticks: int = 1  # the fixed grid is drawn every so many ticks
    patience: int = 10  # ticks in a row of a vanished D loss, or of identical fakes, that end the run
    vanished_loss: float = 1e-5  # a mean D loss under this says that D has won and G learns nothing
    alike_spread: float = 0.002  # mean sd over the fixed grid of a pixel, on [-1, 1] (a quarter of a grey level)
    grid_columns: int = 8  # pictures a class in the fixed grid
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError naming the field that makes no sense."""
        if self.z_distribution not in ("uniform", "normal"):
            raise ValueError(f"z_distribution is {self.z_distribution!r}; allowed: uniform, normal")
        for name in ("z_dim", "classes", "tick_steps", "picture_ticks", "patience", "grid_columns", "minimum_class"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("lr_generator", "lr_discriminator", "epochs", "width"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie in [0, 1)")
        if self.batch_size < 2:
            raise ValueError(f"batch_size is {self.batch_size}; batch norm needs at least 2")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay is {self.weight_decay}; it must not be negative")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps is {self.steps}; give at least 1, or None to use epochs")
        if self.ema_half_life is not None and not self.ema_half_life > 0:
            raise ValueError(f"ema_half_life is {self.ema_half_life}; give a number of pictures, or None for no EMA")
        augment.check_policy(self.augment)

    def filters(self, count: int) -> int:
        """A filter count of the full network, scaled by `width` (at least 4)."""
        return max(4, round(count * self.width))


_KANG2017 = LsganSettings(
    z_distribution="normal",
    input_batch_norm=True,
    lr_generator=1e-4,
    lr_discriminator=1e-4,
    beta1=0.5,
    beta2=0.99,
    weight_decay=0.0,
    batch_size=16,
    epochs=30,
)

PRESETS: dict[str, LsganSettings] = {
    "paper": LsganSettings(),
    "kang2017": _KANG2017,
    # The networks of kang2017, and what was learnt about training since; each switch can be set apart.
    "modern": replace(
        _KANG2017,
        lr_generator=2e-4,
        lr_discriminator=4e-4,  # two time-scale rule, Heusel et al. 2017
        batch_size=64,
        epochs=55,
        balanced=True,
        augment="color,translation,cutout",  # DiffAugment, Zhao et al. 2020
        ema_half_life=10_000,  # StyleGAN2-ADA's for batches of 32 to 64
        bf16=True,
    ),
}


class Generator(nn.Module):
    """z and a class to a picture: linear to 4x4, six transposed convolutions up to 64x64, a seventh to RGB."""

    def __init__(self, settings: LsganSettings) -> None:
        super().__init__()
        self.z_dim, self.classes, self.z_distribution = settings.z_dim, settings.classes, settings.z_distribution
        channels = settings.filters(256)
        self.input = nn.Linear(settings.z_dim + settings.classes, channels * 4 * 4)
        self.input_norm = _batch_norm(channels) if settings.input_batch_norm else nn.Identity()
        blocks: list[nn.Module] = []
        for full, stride in _GENERATOR_LAYERS:
            filters = settings.filters(full)
            blocks += [SameTransposedConv(channels, filters, stride), _batch_norm(filters), nn.LeakyReLU(_SLOPE)]
            channels = filters
        self.blocks = nn.Sequential(*blocks)
        self.output = SameTransposedConv(channels, 3, stride=1)
        _initialise(self, settings.seed)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """z [B, z_dim], labels int64 [B] -> pictures [B, 3, 64, 64] in [-1, 1]. The class enters only here."""
        y = F.one_hot(labels, self.classes).to(z.dtype)
        h = self.input(torch.cat([z, y], dim=1))
        h = h.unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        h = F.leaky_relu(self.input_norm(h), _SLOPE)
        return torch.tanh(self.output(self.blocks(h)))


class Discriminator(nn.Module):
    """A picture and its class to one number near 1 (real) or 0 (fake): four stride-2 convolutions, one linear layer."""

    def __init__(self, settings: LsganSettings) -> None:
        super().__init__()
        self.classes = settings.classes
        filters = [settings.filters(count) for count in _DISCRIMINATOR_FILTERS]
        inputs = [3, *filters[:-1]]
        self.convs = nn.ModuleList(SameConv(i, settings.classes, o) for i, o in zip(inputs, filters, strict=True))
        self.norms = nn.ModuleList([nn.Identity(), *(_batch_norm(count) for count in filters[1:])])
        self.output = nn.Linear(filters[-1] * 4 * 4, 1)
        _initialise(self, settings.seed + 1)

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Pictures [B, 3, 64, 64] in [-1, 1], labels int64 [B] -> realism [B] (no sigmoid)."""
        y = F.one_hot(labels, self.classes).to(pictures.dtype)
        h = pictures
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.leaky_relu(norm(conv(h, y)), _SLOPE)
        realism = self.output(h.flatten(1)).squeeze(1)
        assert realism.shape == labels.shape, (realism.shape, labels.shape)  # (B, 1) - (B,) would broadcast
        return realism


class SameConv(nn.Module):
    """A 5x5 stride-2 convolution of a picture and of its one-hot class as constant maps, padded as TensorFlow does.

    SAME for 5x5 stride 2 pads 1 before and 2 after. A map that is constant over the picture gives the same
    response for every picture of a class, so it is convolved once a class and gathered: the result is that of
    concatenating the maps, at three quarters of the time on a CPU.
    """

    def __init__(self, channels: int, classes: int, filters: int) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        self.weight = nn.Parameter(torch.empty(filters, channels + classes, 5, 5))
        self.bias = nn.Parameter(torch.empty(filters))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x [B, channels, n, n] and one-hot y [B, classes] -> [B, filters, n/2, n/2]."""
        size = x.shape[-1]
        maps = torch.eye(self.classes, dtype=x.dtype, device=x.device)[:, :, None, None].expand(-1, -1, size, size)
        by_class = F.conv2d(F.pad(maps, (1, 2, 1, 2)), self.weight[:, self.channels :], stride=2)
        of_picture = F.conv2d(F.pad(x, (1, 2, 1, 2)), self.weight[:, : self.channels], self.bias, stride=2)
        # A product with the one-hot rows, not an index: its gradient is deterministic on CUDA too.
        return of_picture + (y @ by_class.flatten(1).to(y.dtype)).view_as(of_picture)


class SameTransposedConv(nn.Module):
    """A 3x3 transposed convolution to `stride` times the size, padded as TensorFlow's SAME does.

    For stride 2 that is padding 0 and the last row and column cropped, but a cropped map is no dense block and slows
    what follows. torch's own padding drops the *first* row and column: turned by 180 degrees, before and after, it is
    the same layer, and the generator's step on a CPU takes 0.6 of the time.
    """

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, filters, 3, 3))
        self.bias = nn.Parameter(torch.empty(filters))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, n, n] -> [B, filters, n * stride, n * stride]."""
        if self.stride == 1:
            return F.conv_transpose2d(x, self.weight, self.bias, padding=1)
        turned = F.conv_transpose2d(
            x.flip(2, 3), self.weight.flip(2, 3), self.bias, stride=2, padding=1, output_padding=1
        )
        return turned.flip(2, 3)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """(mean (D(x, y) - 1)^2 + mean D(G(z, y), y)^2) / 2, from the two outputs [B]."""
    assert real.ndim == fake.ndim == 1, (real.shape, fake.shape)
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def generator_loss(fake: Tensor) -> Tensor:
    """mean (D(G(z, y), y) - 1)^2, from the output [B]."""
    assert fake.ndim == 1, fake.shape
    return (fake - 1).square().mean()


def sample_z(settings: LsganSettings, count: int, noise: torch.Generator) -> Tensor:
    """`count` latents [count, z_dim] of the preset's distribution, on the device of `noise`."""
    z = torch.empty(count, settings.z_dim, device=noise.device)
    if settings.z_distribution == "uniform":
        return z.uniform_(-1, 1, generator=noise)
    return z.normal_(generator=noise)


def normalise(pixels: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1], laid out channels last (no copy beyond the cast)."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)


def to_pixels(pictures: Tensor) -> Tensor:
    """[B, 3, H, W] in [-1, 1] -> uint8 [B, H, W, 3], rounded to the nearest grey level."""
    return pictures.float().add(1).mul(127.5).round().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)  # TensorFlow's decay 0.9 is momentum 0.1


@torch.no_grad()
def _initialise(network: nn.Module, seed: int) -> None:
    """N(0, 0.02) for every weight (cut at two sd in D's convolutions, as TensorFlow's), 0 for biases, 1 for gamma."""
    rng = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, SameConv):
            nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04, generator=rng)
        elif isinstance(module, (nn.Linear, SameTransposedConv)):
            nn.init.normal_(module.weight, std=0.02, generator=rng)
        if isinstance(module, (SameConv, SameTransposedConv, nn.Linear)):
            nn.init.zeros_(module.bias)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
