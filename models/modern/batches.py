"""What `modern` trains on, step by step: interactions and negatives drawn, pictures picked, features disturbed.

Nothing here learns, and nothing here counts epochs: the network is `modern.py`, the loop `train_modern.py`.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from models.data.dataset import Dataset
from models.modern import model as modern
from models.modern.model import Histories, Modern
from models.modern.settings import ModernSettings


class Draws:
    """What an epoch trains on, drawn from (seed, epoch) alone: as many interactions as train has, and negatives."""

    def __init__(self, data: Dataset, settings: ModernSettings) -> None:
        self.settings = settings
        self.pairs = np.unique(data.train, axis=0).astype(np.int64)  # by user
        counts = np.bincount(self.pairs[:, 0], minlength=len(data.users))
        self.users = np.flatnonzero(counts)  # those who have a positive
        self.counts, self.starts = counts, np.cumsum(counts) - counts
        self.chances = modern.negative_chances(modern.counts(data), settings)
        self.steps = math.ceil(len(self.pairs) / settings.batch_size)

    def epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Users [n], their positives [n], and the negatives of each step [steps, N]: rows."""
        rng, n = np.random.default_rng([self.settings.seed, epoch]), len(self.pairs)
        if self.settings.user_uniform:
            user = self.users[rng.integers(0, len(self.users), n)]
            picked = self.starts[user] + rng.integers(0, self.counts[user])
        else:
            picked = rng.permutation(n)
        shape = (self.steps, self.settings.negatives)
        negatives = np.searchsorted(np.cumsum(self.chances), rng.random(shape), side="right")
        negatives = np.minimum(negatives, np.flatnonzero(self.chances)[-1])  # the sum may fall short of one by rounding
        return self.pairs[picked, 0], self.pairs[picked, 1], negatives


class Batches:
    """The scores of a batch as the model has them in training: pictures drawn, features disturbed, ids dropped."""

    def __init__(
        self,
        model: Modern,
        histories: Histories,
        images: Tensor,  # [images, D], in the model's space
        data: Dataset,
        chances: np.ndarray,
        look: Callable[[Tensor], Tensor] | None = None,  # pictures [n] to [n, D], instead of looking them up
    ) -> None:
        self.model, self.histories, self.images, self.settings = model, histories, images, model.settings
        self.look = look
        first, count = picture_lists(data)
        self.first, self.count = (torch.from_numpy(rows).to(images.device) for rows in (first, count))
        log_q = np.log(np.maximum(chances, 1e-30)).astype(np.float32)  # nothing is drawn where the chance is none
        self.log_q = torch.from_numpy(log_q).to(images.device)

    def scores(self, user: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """Of each user's positive [B], and of each user with every negative [B, N]; user and positive [B], rows."""
        settings, item = self.settings, torch.cat([positive, negative])
        pooled = self.histories.pooled(self.model.attention, user, positive if settings.leave_one_out else None)
        theta = self.model.users(_disturbed(pooled, settings), user, _known(user, settings))
        phi, bias = self.model.items(_disturbed(self._seen(item), settings), item, _known(item, settings))
        if settings.log_q:  # what is drawn more often weighs less each time
            bias = bias - self.log_q[item]
        mine, others = phi.split([len(positive), len(negative)])
        own_bias, other_bias = bias.split([len(positive), len(negative)])
        return (theta * mine).sum(1) + own_bias, theta @ others.T + other_bias

    def _seen(self, item: Tensor) -> Tensor:
        """Features [n, D]: of one of the item's pictures, drawn, or of their mean."""
        if self.settings.train_picture == "mean":
            return self.histories.items[item]
        nth = (torch.rand(len(item), device=item.device) * self.count[item]).long()
        picture = self.first[item] + torch.minimum(nth, self.count[item] - 1)
        return self.images[picture] if self.look is None else self.look(picture)


def picture_lists(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Where each item's pictures start and how many there are, [I] each. ValueError unless they lie together."""
    if (np.diff(data.image_item) < 0).any():
        raise ValueError("the pictures of the data set are not in the order of their items; build the catalogue again")
    counts = np.bincount(data.image_item, minlength=len(data.items))
    return np.cumsum(counts) - counts, counts


def _known(rows: Tensor, settings: ModernSettings) -> Tensor:
    """Which occurrences keep their id part: every occurrence is drawn for itself."""
    return (torch.rand(len(rows), device=rows.device) >= settings.id_dropout).float()


def _disturbed(seen: Tensor, settings: ModernSettings) -> Tensor:
    if settings.feature_noise:
        seen = seen + settings.feature_noise * torch.randn_like(seen)
    return torch.nn.functional.dropout(seen, settings.feature_dropout)
