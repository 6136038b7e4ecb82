"""Training batches of `modern`: draw interactions and negatives, pick pictures, add noise and dropout to features.

Nothing here learns or counts epochs.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from models.data.dataset import Dataset
from models.modern import model as modern
from models.modern.model import Histories, ModernNetwork
from models.modern.settings import ModernSettings


class Draws:
    """Draws of an epoch: as many interactions as train has, and negatives. They depend only on (seed, epoch)."""

    def __init__(self, data: Dataset, settings: ModernSettings) -> None:
        self.settings = settings
        self.pairs = np.unique(data.train, axis=0).astype(np.int64)  # sorted by user
        counts = np.bincount(self.pairs[:, 0], minlength=len(data.users))
        self.users = np.flatnonzero(counts)  # users with a positive
        self.counts, self.starts = counts, np.cumsum(counts) - counts
        self.chances = modern.negative_chances(modern.counts(data), settings)
        self.steps = math.ceil(len(self.pairs) / settings.batch_size)

    def epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw an epoch: rows of users [n], of their positives [n], and of each step's negatives [steps, N]."""
        rng, n = np.random.default_rng([self.settings.seed, epoch]), len(self.pairs)
        if self.settings.user_uniform:
            user = self.users[rng.integers(0, len(self.users), n)]
            picked = self.starts[user] + rng.integers(0, self.counts[user])
        else:
            picked = rng.permutation(n)
        shape = (self.steps, self.settings.negatives)
        negatives = np.searchsorted(np.cumsum(self.chances), rng.random(shape), side="right")
        negatives = np.minimum(negatives, np.flatnonzero(self.chances)[-1])  # after rounding, the sum may be below one
        return self.pairs[picked, 0], self.pairs[picked, 1], negatives


class BatchScorer:
    """Scores of a batch during training: with random pictures, noisy features and dropped ids."""

    def __init__(
        self,
        model: ModernNetwork,
        histories: Histories,
        images: Tensor,  # [images, D], in the model's space
        data: Dataset,
        chances: np.ndarray,
        look: Callable[[Tensor], Tensor] | None = None,  # image numbers [n] to features [n, D]; None: from `images`
    ) -> None:
        self.model, self.histories, self.images, self.settings = model, histories, images, model.settings
        self.look = look
        first, count = picture_lists(data)
        self.first, self.count = (torch.from_numpy(rows).to(images.device) for rows in (first, count))
        log_q = np.log(np.maximum(chances, 1e-30)).astype(np.float32)  # items with chance 0 are never drawn
        self.log_q = torch.from_numpy(log_q).to(images.device)

    def scores(self, user: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """Score each user's positive [B] and every negative [B, N]; user and positive [B], negative [N] are rows."""
        settings, item = self.settings, torch.cat([positive, negative])
        pooled = self.histories.pooled(self.model.attention, user, positive if settings.leave_one_out else None)
        theta = self.model.users(_disturbed(pooled, settings), user, _known(user, settings))
        phi, bias = self.model.items(_disturbed(self._seen(item), settings), item, _known(item, settings))
        if settings.log_q:  # weight an item less, the more often it is drawn
            bias = bias - self.log_q[item]
        phi_positive, phi_negative = phi.split([len(positive), len(negative)])
        bias_positive, bias_negative = bias.split([len(positive), len(negative)])
        return (theta * phi_positive).sum(1) + bias_positive, theta @ phi_negative.T + bias_negative

    def _seen(self, item: Tensor) -> Tensor:
        """Return features [n, D] of one random picture of each item, or of the mean over its pictures."""
        if self.settings.train_picture == "mean":
            return self.histories.items[item]
        nth = (torch.rand(len(item), device=item.device) * self.count[item]).long()
        picture = self.first[item] + torch.minimum(nth, self.count[item] - 1)
        return self.images[picture] if self.look is None else self.look(picture)


def picture_lists(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Find the first picture of each item and the number of its pictures, [I] each.

    Raises ValueError unless the pictures are sorted by item.
    """
    if (np.diff(data.image_item) < 0).any():
        raise ValueError("the pictures of the data set are not in the order of their items; build the catalogue again")
    counts = np.bincount(data.image_item, minlength=len(data.items))
    return np.cumsum(counts) - counts, counts


def _known(rows: Tensor, settings: ModernSettings) -> Tensor:
    """Draw for each occurrence of a row whether it keeps its id part: 1 if kept, else 0."""
    return (torch.rand(len(rows), device=rows.device) >= settings.id_dropout).float()


def _disturbed(seen: Tensor, settings: ModernSettings) -> Tensor:
    if settings.feature_noise:
        seen = seen + settings.feature_noise * torch.randn_like(seen)
    return torch.nn.functional.dropout(seen, settings.feature_dropout)
