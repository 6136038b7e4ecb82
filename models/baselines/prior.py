"""Add the popularity prior to any model, so that an advantage that is only the prior is not taken for learning.

score = model's score / the user's standard deviation of it over all items + weight x log prior of the item.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.baselines.tuning import best, touched
from models.data import priors
from models.data.dataset import Dataset
from models.data.factors import Factors, write_arrays
from models.metrics.scoring import Scorer, ScoringModel, Wrapped

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_CHUNK_BYTES = 16 * 2**20  # scores computed at a time


@dataclass(frozen=True, eq=False)
class WithPrior(Wrapped):
    """A model whose scores are scaled by user and shifted by item."""

    scale: np.ndarray  # [U] float32
    bias: np.ndarray  # [I] float32

    def scorer(self, device: torch.device) -> "_Shifted":
        """Put the model on a device, ready to score."""
        return _Shifted(self.model.scorer(device), self, device)

    def save_prior(self, path: Path) -> None:
        """Write scale and bias; the model is saved apart, by its own method."""
        write_arrays(path, {"scale": self.scale, "bias": self.bias})

    @classmethod
    def load(cls, model: ScoringModel, path: Path) -> "WithPrior":
        """Read what `save_prior` wrote, for the model that it was made with."""
        with np.load(path, allow_pickle=False) as file:
            return cls(model, file["scale"], file["bias"])


class _Shifted:
    def __init__(self, inner: Scorer, model: WithPrior, device: torch.device) -> None:
        self.inner = inner
        self.scale = torch.from_numpy(model.scale).to(device)
        self.bias = torch.from_numpy(model.bias).to(device)
        self.image_item = torch.from_numpy(model.image_item.astype(np.int64)).to(device)

    def items(self, users: np.ndarray) -> Tensor:
        return self.inner.items(users) * self._scale(users) + self.bias

    def pictures(self, users: np.ndarray) -> Tensor | None:
        scores = self.inner.pictures(users)
        return None if scores is None else scores * self._scale(users) + self.bias[self.image_item]

    def _scale(self, users: np.ndarray) -> Tensor:
        return self.scale[torch.from_numpy(np.ascontiguousarray(users)).to(self.scale.device)][:, None]


def with_prior(
    model: ScoringModel, data: Dataset, weights: tuple[float, ...] = WEIGHTS
) -> tuple[Factors | WithPrior, float, dict[float, float]]:
    """Add the prior with the weight that is best on validation: (model, weight, validation by weight).

    The prior is `priors.log_counts`; an unseen item gets its mean. Factors remain factors.
    """
    scale, prior = 1 / spread(model), priors.log_counts(data)
    candidates = ((weight, WithPrior(model, scale, np.float32(weight) * prior)) for weight in weights)
    weight, chosen, values = best(candidates, data.validation, touched(data))
    return (_as_factors(model, chosen) if isinstance(model, Factors) else chosen), weight, values


def _as_factors(plain: Factors, model: WithPrior) -> Factors:
    """Write a factor model with a prior as factors: the scaled item bias becomes a factor of its own."""
    theta = np.concatenate([plain.theta, np.ones((len(plain.users), 1), np.float32)], 1) * model.scale[:, None]
    item = np.concatenate([plain.item, plain.item_bias[:, None]], 1)
    phi = np.zeros((0, theta.shape[1]), np.float32)
    if plain.sees_pictures:
        phi = np.concatenate([plain.phi, plain.item_bias[plain.image_item][:, None]], 1)
    return Factors(plain.users, plain.items, theta, item, model.bias, phi, plain.image_item)


def spread(model: ScoringModel) -> np.ndarray:
    """Compute the standard deviation of each user's scores over all items: [U] float32; 1 where all are alike."""
    scorer, users = model.scorer(torch.device("cpu")), np.arange(len(model.users))
    size = max(1, _CHUNK_BYTES // (4 * len(model.items)))
    found = np.ones(len(users), np.float32)
    for start in range(0, len(users), size):
        scores = scorer.items(users[start : start + size])
        deviation = scores.std(1, correction=0)
        # Equal scores may differ by rounding.
        found[start : start + size] = torch.where(deviation > 1e-6 * scores.abs().amax(1), deviation, 1.0).numpy()
    return found
