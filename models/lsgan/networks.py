"""The category-conditional LSGAN: the two networks and their losses.

Architecture and initialisation follow Kang et al. 2017 and their released code. Training, and the
use of a trained generator, do not belong here.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from models.lsgan.settings import LsganSettings

PICTURE_SIZE = 64  # fixed by the depth of the networks: four halvings down to 4x4, four doublings up
_SLOPE = 0.2  # of the leaky ReLU in every hidden layer
_GENERATOR_LAYERS = ((256, 2), (256, 1), (256, 2), (256, 1), (128, 2), (64, 2))  # (filters, stride), kernel 3
_DISCRIMINATOR_FILTERS = (64, 128, 256, 512)  # kernel 5, stride 2


class Generator(nn.Module):
    """Generator from z and a class to a picture: linear to 4x4, six transposed convolutions to 64x64, a last to RGB."""

    size = PICTURE_SIZE

    def __init__(self, settings: LsganSettings) -> None:
        super().__init__()
        self.z_dim, self.classes, self.z_distribution = settings.z_dim, settings.classes, settings.z_distribution
        channels = settings.filters(256)
        self.input = nn.Linear(settings.z_dim + settings.classes, channels * 4 * 4)
        self.input_norm = _batch_norm(channels) if settings.input_batch_norm else nn.Identity()
        blocks: list[nn.Module] = []
        for full, stride in _GENERATOR_LAYERS:
            filters = settings.filters(full)
            blocks += [
                SameTransposedConv(channels, filters, stride, settings.smooth_upsampling),
                _batch_norm(filters),
                nn.LeakyReLU(_SLOPE),
            ]
            channels = filters
        self.blocks = nn.Sequential(*blocks)
        self.output = SameTransposedConv(channels, 3, stride=1)
        self.channels_last = settings.channels_last
        _initialise(self, settings.seed, settings.channels_last)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Generate pictures [B, 3, 64, 64] in [-1, 1] from z [B, z_dim] and labels int64 [B].

        The class enters only at the first layer.
        """
        y = F.one_hot(labels, self.classes).to(z.dtype)
        h = self.input(torch.cat([z, y], dim=1))
        h = h.unflatten(1, (-1, 4, 4)).contiguous(memory_format=_layout(self.channels_last))
        h = F.leaky_relu(self.input_norm(h), _SLOPE)
        return torch.tanh(self.output(self.blocks(h)))


class Discriminator(nn.Module):
    """Discriminator from a picture and its class to a number near 1 (real) or 0 (fake).

    Four convolutions of stride 2, then one linear layer.
    """

    def __init__(self, settings: LsganSettings) -> None:
        super().__init__()
        self.classes = settings.classes
        filters = [settings.filters(count) for count in _DISCRIMINATOR_FILTERS]
        inputs = [3, *filters[:-1]]
        self.convs = nn.ModuleList(SameConv(i, settings.classes, o) for i, o in zip(inputs, filters, strict=True))
        self.norms = nn.ModuleList([nn.Identity(), *(_batch_norm(count) for count in filters[1:])])
        self.output = nn.Linear(filters[-1] * 4 * 4, 1)
        _initialise(self, settings.seed + 1, settings.channels_last)
        if settings.spectral_norm:
            _divide_by_spectral_norm([*self.convs, self.output], settings.seed + 1)

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Compute the realism [B] (without sigmoid) of pictures [B, 3, 64, 64] in [-1, 1] with labels int64 [B]."""
        y = F.one_hot(labels, self.classes).to(pictures.dtype)
        h = pictures
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.leaky_relu(norm(conv(h, y)), _SLOPE)
        realism = self.output(h.flatten(1)).squeeze(1)
        assert realism.shape == labels.shape, (realism.shape, labels.shape)  # (B, 1) - (B,) would broadcast
        return realism


class SameConv(nn.Module):
    """A 5x5 convolution of stride 2 over a picture and its one-hot class as constant maps, padded as in TensorFlow.

    TensorFlow's SAME for 5x5 and stride 2 pads 1 pixel before and 2 after. The constant maps give the same response for
    every picture of a class, so they are convolved once for each class and then gathered. The result equals
    concatenating the maps to the picture, and takes three quarters of the time on a CPU.
    """

    def __init__(self, channels: int, classes: int, filters: int) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        self.weight = nn.Parameter(torch.empty(filters, channels + classes, 5, 5))
        self.bias = nn.Parameter(torch.empty(filters))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Convolve x [B, channels, n, n] with one-hot classes y [B, classes]: [B, filters, n/2, n/2]."""
        size, weight = x.shape[-1], self.weight  # read once: with spectral norm, each read runs a power iteration
        maps = torch.eye(self.classes, dtype=x.dtype, device=x.device)[:, :, None, None].expand(-1, -1, size, size)
        by_class = F.conv2d(F.pad(maps, (1, 2, 1, 2)), weight[:, self.channels :], stride=2)
        of_picture = F.conv2d(F.pad(x, (1, 2, 1, 2)), weight[:, : self.channels], self.bias, stride=2)
        # Multiply with the one-hot rows instead of indexing, so that the gradient is deterministic on CUDA too.
        return of_picture + (y @ by_class.flatten(1).to(y.dtype)).view_as(of_picture)


class SameTransposedConv(nn.Module):
    """A 3x3 transposed convolution to `stride` times the size, padded like TensorFlow's SAME.

    For stride 2, SAME means padding 0 and then cropping the last row and column; but a cropped map is not contiguous
    in memory, which slows down the layers after it. torch's own padding drops the *first* row and column instead.
    Rotating the input and the output by 180 degrees makes both the same layer, and a generator step on a CPU takes
    0.6 of the time.
    """

    taps: Tensor | None

    def __init__(self, channels: int, filters: int, stride: int, smooth: bool = False) -> None:
        """`smooth`: at stride 2, multiply the weights by the taps of bilinear upsampling, and start all taps equal.

        At stride 2, an output pixel receives one, two or four of the nine taps. With these factors every pixel receives
        the same total weight, both at the start and from a step of Adam, which has the same size for all taps. The
        layer can still learn any kernel.
        """
        super().__init__()
        self.stride = stride
        taps = torch.tensor([0.5, 1.0, 0.5])
        self.register_buffer("taps", torch.outer(taps, taps) if smooth and stride == 2 else None, persistent=False)
        self.weight = nn.Parameter(torch.empty(channels, filters, 3, 3))
        self.bias = nn.Parameter(torch.empty(filters))

    def forward(self, x: Tensor) -> Tensor:
        """Upsample x [B, channels, n, n] to [B, filters, n * stride, n * stride]."""
        weight = self.weight if self.taps is None else self.weight * self.taps
        if self.stride == 1:
            return F.conv_transpose2d(x, weight, self.bias, padding=1)
        rotated = F.conv_transpose2d(x.flip(2, 3), weight.flip(2, 3), self.bias, stride=2, padding=1, output_padding=1)
        return rotated.flip(2, 3)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Compute (mean (D(x, y) - 1)^2 + mean D(G(z, y), y)^2) / 2 from the two outputs [B]."""
    assert real.ndim == fake.ndim == 1, (real.shape, fake.shape)
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def generator_loss(fake: Tensor) -> Tensor:
    """Compute mean (D(G(z, y), y) - 1)^2 from the output [B]."""
    assert fake.ndim == 1, fake.shape
    return (fake - 1).square().mean()


def relativistic_loss(above: Tensor, below: Tensor) -> Tensor:
    """Compute the relativistic average least-squares loss (Jolicoeur-Martineau 2018) from D's outputs [B].

    (mean (above - mean below - 1)^2 + mean (below - mean above + 1)^2) / 2. D trains with the real pictures as `above`
    and the fakes as `below`, G the other way round.
    """
    assert above.ndim == below.ndim == 1, (above.shape, below.shape)
    return ((above - below.mean() - 1).square().mean() + (below - above.mean() + 1).square().mean()) / 2


def gradient_penalty(output: Tensor, pictures: Tensor) -> Tensor:
    """Compute half the mean squared norm of the gradient of D's output [B] at the pictures [B, 3, H, W].

    Differentiable. For real pictures this is R1 of Mescheder et al. 2018. With batch norm, a picture's gradient also
    includes its effect on the other pictures of the batch.
    """
    (gradient,) = torch.autograd.grad(output.sum(), pictures, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2


class Latents(Protocol):
    """What decides how latents are drawn: settings, or a generator."""

    @property
    def z_dim(self) -> int: ...  # noqa: D102
    @property
    def z_distribution(self) -> str: ...  # noqa: D102


def sample_z(of: Latents, count: int, noise: torch.Generator) -> Tensor:
    """Draw latents [count, z_dim] from the distribution that `of` names, on the device of `noise`."""
    z = torch.empty(count, of.z_dim, device=noise.device)
    if of.z_distribution == "uniform":
        return z.uniform_(-1, 1, generator=noise)
    return z.normal_(generator=noise)


def normalise(pixels: Tensor) -> Tensor:
    """Normalise uint8 [B, H, W, 3] to float32 [B, 3, H, W] in [-1, 1], channels last (only the cast copies)."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)  # TensorFlow's decay 0.9 is momentum 0.1


def _layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def _divide_by_spectral_norm(layers: list[nn.Module], seed: int) -> None:
    """Apply spectral norm (Miyato et al. 2018); `seed`, not the global state, draws the initial singular vectors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in layers:
            parametrizations.spectral_norm(layer, "weight")


@torch.no_grad()
def _initialise(network: nn.Module, seed: int, channels_last: bool) -> None:
    """Initialise weights from N(0, 0.02), biases to 0 and batch-norm scales to 1.

    In D's convolutions the normal distribution is truncated at two sd, as in TensorFlow.
    """
    rng = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, SameConv):
            nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04, generator=rng)
        elif isinstance(module, (nn.Linear, SameTransposedConv)):
            nn.init.normal_(module.weight, std=0.02, generator=rng)
            if isinstance(module, SameTransposedConv) and module.taps is not None:
                module.weight.copy_(module.weight[:, :, 1:2, 1:2].clone().expand_as(module.weight))
        if isinstance(module, (SameConv, SameTransposedConv, nn.Linear)):
            nn.init.zeros_(module.bias)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=_layout(channels_last))
