"""The adversarial heads: one small network on each scale of the frozen features, and the realism that they measure."""

import contextlib
import math
from collections.abc import Generator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from models.garments.features import FrozenFeatures
from models.garments.settings import GarmentModelSettings
from models.garments.upsampling import initialise

_SLOPE = 0.2
_SMALLEST = 4  # pixels: maps above are halved down to it
_LEAST_SPREAD = 1e-3  # of the logits of a class's pictures
_FALL = 2.0  # standard deviations below the mean of real pictures at which realism is 0


class Heads(nn.Module):
    """Hinge heads with spectral norm; each adds a class projection (Miyato & Koyama 2018) to its logits."""

    def __init__(self, settings: GarmentModelSettings, sides: Sequence[int]) -> None:
        """`sides`: of the four maps, in pixels."""
        super().__init__()
        self.classes = settings.classes
        self.scales = nn.ModuleList(Head(settings, side, number) for number, side in enumerate(sides))

    @property
    def each(self) -> list["Head"]:
        """Return the heads, finest scale first."""
        return [head for head in self.scales if isinstance(head, Head)]

    def forward(
        self, features: Sequence[Tensor], labels: Tensor, deviations: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Compute the logits [B, places] of each scale, of features on four scales and labels int64 [B].

        `deviations` [classes] on each scale replace those of the batch, so that rows do not depend on each other.
        """
        y = F.one_hot(labels, self.classes).float()
        given = deviations or [None] * len(self.scales)
        return [
            head(scale.float(), y, deviation) for head, scale, deviation in zip(self.each, features, given, strict=True)
        ]

    @contextlib.contextmanager
    def weighed(self) -> Generator[None]:
        """Compute the weights once for all passes in the block: one step of spectral norm's iteration, in float32.

        Without it, each pass would take a step, and under autocast a coarse one.
        """
        with parametrize.cached():
            for head in self.each:
                for layer in head.layers():
                    _ = layer.weight
            yield

    def deviations(self, features: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
        """Compute the mean deviation within each class [classes] on each scale."""
        y = F.one_hot(labels, self.classes).float()
        return [within_class(head.hidden(scale.float()), y) for head, scale in zip(self.each, features, strict=True)]


class Head(nn.Module):
    """One scale's head: convolutions, the deviation within the class as one more channel, a logit for each place."""

    def __init__(self, settings: GarmentModelSettings, side: int, number: int) -> None:
        super().__init__()
        width = settings.mixed
        halvings = max(0, round(math.log2(side / _SMALLEST)))
        self.halving = nn.ModuleList(nn.Conv2d(width, width, 4, stride=2, padding=1) for _ in range(halvings))
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.output = nn.Conv2d(width + 1, 1, 1)
        self.projection = nn.Linear(settings.classes, width, bias=False)
        seed = settings.seed + 10 + number
        initialise(self, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # of the initial singular vectors
            for layer in self.layers():
                parametrizations.spectral_norm(layer, "weight")

    def layers(self) -> list[nn.Module]:
        """List the layers with weights."""
        return [*self.halving, self.conv, self.output, self.projection]

    def hidden(self, scale: Tensor) -> Tensor:
        """Compute the last hidden layer [B, channels, n, n]."""
        for conv in self.halving:
            scale = F.leaky_relu(conv(scale), _SLOPE)
        return F.leaky_relu(self.conv(scale), _SLOPE)

    def forward(self, scale: Tensor, y: Tensor, deviation: Tensor | None) -> Tensor:
        """Compute logits [B, places] of maps [B, channels, side, side] with one-hot classes y [B, classes]."""
        h = self.hidden(scale)
        deviation = within_class(h, y) if deviation is None else deviation
        spread = (y @ deviation[:, None])[:, :, None, None].expand(-1, 1, *h.shape[2:])
        projected = (h * self.projection(y)[:, :, None, None]).sum(dim=1, keepdim=True)
        return (self.output(torch.cat([h, spread.to(h.dtype)], dim=1)) + projected).float().flatten(1)


def within_class(h: Tensor, y: Tensor) -> Tensor:
    """Compute the standard deviation of h [B, ...] over the rows of each class, averaged over the rest: [classes].

    y is one-hot [B, classes]. Class means are products with y, whose gradients are deterministic on CUDA too. A class
    without rows, or with one, has 0.
    """
    with torch.autocast(h.device.type, enabled=False):  # differences of near equal numbers
        flat, count = h.float().flatten(1), y.sum(dim=0).clamp_min(1)[:, None]
        apart = flat - y @ (y.T @ flat / count)
        variance = y.T @ apart.square() / count
        return (variance + 1e-8).sqrt().mean(dim=1)


def hinge_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Compute the heads' loss, mean max(0, 1 - real) + mean max(0, 1 + fake), averaged over the scales."""
    return torch.stack([F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake, strict=True)]).mean()


def adversarial_loss(fake: Sequence[Tensor]) -> Tensor:
    """Compute the generator's loss: minus the mean logit, averaged over the scales."""
    return -torch.stack([f.mean() for f in fake]).mean()


def mean_logit(logits: Sequence[Tensor]) -> Tensor:
    """Average the logits of each row over places and scales: [B]."""
    return torch.stack([scale.mean(dim=1) for scale in logits]).mean(dim=0)


class Realism(nn.Module):
    """The heads as a measure of single pictures: 1 at the mean of its class's training pictures, 0 two sd below it.

    Replaces the discriminator of the published generator, whose output is near 1 for real pictures and near 0 for
    fakes. Differentiable in the pictures.
    """

    mean: Tensor  # [classes], of the training pictures' logits
    spread: Tensor  # [classes], their standard deviation
    deviation: Tensor  # [scales, classes], within the class, of training pictures

    def __init__(self, features: FrozenFeatures, heads: Heads) -> None:
        super().__init__()
        self.features, self.heads = features, heads
        self.register_buffer("mean", torch.zeros(heads.classes))
        self.register_buffer("spread", torch.ones(heads.classes))
        self.register_buffer("deviation", torch.zeros(len(heads.scales), heads.classes))

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Compute the realism [B] of pictures [B, 3, size, size] in [-1, 1] with labels int64 [B]."""
        return self._scaled(self._logit(self.features(pictures), labels), labels)

    def _logit(self, features: Sequence[Tensor], labels: Tensor) -> Tensor:
        return mean_logit(self.heads(features, labels, list(self.deviation)))

    def _scaled(self, logit: Tensor, labels: Tensor) -> Tensor:
        return 1 + (logit - self.mean[labels]) / (_FALL * self.spread[labels])

    @torch.no_grad()
    def calibrate(self, batches: Sequence[tuple[Sequence[Tensor], Tensor]]) -> None:
        """Set the scale from batches of training pictures' features and labels, each with several of every class."""
        deviations = [torch.stack(self.heads.deviations(*batch)) for batch in batches]
        self.deviation.copy_(torch.stack(deviations).mean(dim=0))
        logits, labels = torch.cat([self._logit(*b) for b in batches]), torch.cat([b[1] for b in batches])
        y = F.one_hot(labels, self.heads.classes).float()
        count = y.sum(dim=0).clamp_min(1)
        self.mean.copy_(y.T @ logits / count)
        apart = logits - y @ self.mean
        self.spread.copy_((y.T @ apart.square() / count).sqrt().clamp_min(_LEAST_SPREAD))
