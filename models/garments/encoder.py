"""The encoder: from a picture's frozen features to its code, and to the z that generates it again."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.garments.features import FrozenFeatures, summary
from models.garments.prior import Prior
from models.garments.settings import GarmentModelSettings
from models.garments.upsampling import initialise

_LEAST_SPREAD = 1e-3  # of an input over the training pictures: one that is constant there must not explode elsewhere
_START_STD = 0.02  # of the output weights: codes start near 0, with a variance near 1


class Encoder(nn.Module):
    """A network with one hidden layer, from a summary of a picture to the mean and log variance of its codes."""

    mean: Tensor  # [inputs], of the summaries of the training pictures
    spread: Tensor  # [inputs]

    def __init__(self, settings: GarmentModelSettings, inputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.norm = nn.LayerNorm(inputs)
        self.hidden = nn.Linear(inputs, settings.hidden)
        self.output = nn.Linear(settings.hidden, 2 * settings.z_dim)
        initialise(self, settings.seed + 2)
        with torch.no_grad():
            rng = torch.Generator().manual_seed(settings.seed + 3)
            self.output.weight.normal_(std=_START_STD, generator=rng)

    def forward(self, summaries: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and log variance [B, z_dim] of summaries [B, inputs]."""
        h = self.norm((summaries - self.mean) / self.spread)
        h = F.leaky_relu(self.hidden(h), 0.2)
        mean, log_variance = self.output(h).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 6)

    @torch.no_grad()
    def standardise(self, summaries: Tensor) -> None:
        """Set mean and spread of the inputs from the training pictures' summaries [N, inputs]."""
        self.mean.copy_(summaries.mean(dim=0))
        self.spread.copy_(summaries.std(dim=0, correction=0).clamp_min(_LEAST_SPREAD))


class PictureEncoder(nn.Module):
    """The whole way from pictures and their classes to z in the space where the generator expects N(0, I)."""

    def __init__(self, features: FrozenFeatures, encoder: Encoder, prior: Prior) -> None:
        super().__init__()
        self.features, self.encoder, self.prior = features, encoder, prior

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Encode pictures [B, 3, size, size] in [-1, 1] of classes int64 [B] to z [B, z_dim]."""
        mean, _ = self.encoder(summary(self.features.stored(pictures), pictures))
        return self.prior.latent(mean, labels)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute the mean divergence of codes N(mean, variance) [B, z_dim] from N(0, I), in nats (Kingma & Welling)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
