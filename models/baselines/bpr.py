"""BPR-MF (Rendle et al. 2009) and VBPR (He and McAuley 2016), tuned on validation over a small grid.

VBPR scores x_ui = b_i + gamma_u . gamma_i + theta_u . E f_i + beta . f_i, where f_i are frozen features that the caller
supplies. BPR-MF is the same model without the visual half, visual-only VBPR (DVBPR's score on frozen features) the
visual half alone. Training is vectorised: the whole grid takes seconds on a CPU.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.baselines.settings import BprSettings
from models.data.dataset import Dataset
from models.data.factors import Factors, item_means
from models.metrics import selection
from models.training.progress import Progress

# BPR-MF needs a higher learning rate: only the few triplets with an id update its row, while every triplet updates
# VBPR's projection.
MF_RATE = 10.0

# Tuned on validation, so that the baselines compete at their best: the strength of the regulariser, and whether items
# have a bias. A bias helps on warm items and hurts on cold ones, which occur only as negatives.
GRID: tuple[dict[str, float | bool], ...] = (
    {"regularisation": 0.01, "item_bias": True},
    {"regularisation": 0.1, "item_bias": True},
    {"regularisation": 0.01, "item_bias": False},
    {"regularisation": 0.1, "item_bias": False},
)
VBPR_GRID: tuple[dict[str, float | bool], ...] = (
    {"regularisation": 0.1, "item_bias": True},
    {"regularisation": 0.3, "item_bias": True},
    {"regularisation": 1.0, "item_bias": True},
    {"regularisation": 1.0, "item_bias": False},
)

# For visual-only VBPR, which has no item bias to vary.
VISUAL_GRID: tuple[dict[str, float | bool], ...] = (
    {"regularisation": 0.1},
    {"regularisation": 0.3},
    {"regularisation": 1.0},
)


def bpr_mf(
    data: Dataset,
    settings: BprSettings | None = None,
    grid: tuple[dict[str, float | bool], ...] = GRID,
    on_progress: Callable[[Progress], None] | None = None,
) -> Factors:
    """Train matrix factorisation with BPR, and return the setting of `grid` that is best on validation."""
    settings = settings or BprSettings()
    return _tuned(data, None, replace(settings, learning_rate=settings.learning_rate * MF_RATE), grid, on_progress)


def vbpr(
    data: Dataset,
    features: np.ndarray,  # [images, F], centred or not; they are standardised on the train items
    settings: BprSettings | None = None,
    grid: tuple[dict[str, float | bool], ...] = VBPR_GRID,
    on_progress: Callable[[Progress], None] | None = None,
) -> Factors:
    """Train BPR-MF with a visual half on frozen features; the factors are concatenated as [gamma, E f, beta . f].

    Returns the setting of `grid` that is best on validation.
    """
    return _tuned(data, _checked(data, features), settings or BprSettings(), grid, on_progress)


def vbpr_visual(
    data: Dataset,
    features: np.ndarray,  # [images, F]
    settings: BprSettings | None = None,
    grid: tuple[dict[str, float | bool], ...] = VISUAL_GRID,
    on_progress: Callable[[Progress], None] | None = None,
) -> Factors:
    """Train visual-only VBPR, theta_u . E f_i: DVBPR's score on frozen features, without id factors and biases.

    Returns the setting of `grid` that is best on validation.
    """
    visual = replace(settings or BprSettings(), id_factors=False, item_bias=False, visual_bias=False)
    return _tuned(data, _checked(data, features), visual, grid, on_progress)


def _checked(data: Dataset, features: np.ndarray) -> np.ndarray:
    """Standardise the features; ValueError unless they are one finite row for each picture."""
    if features.ndim != 2 or len(features) != len(data.image_item) or not np.isfinite(features).all():
        raise ValueError(
            f"features are {features.shape}; one finite row for each of {len(data.image_item)} pictures was expected"
        )
    return _standardised(data, features)


def _tuned(
    data: Dataset,
    features: np.ndarray | None,
    settings: BprSettings,
    grid: tuple[dict[str, float | bool], ...],
    on_progress: Callable[[Progress], None] | None,
) -> Factors:
    if not len(data.train):
        raise ValueError("BPR needs train interactions, and this data set has none")
    if features is None and not settings.id_factors:
        raise ValueError("BprSettings.id_factors=False leaves nothing of BPR-MF; it is for VBPR alone")
    best, best_value, by = None, -np.inf, selection.name_of(len(data.validation))
    for number, point in enumerate(grid or ({},)):
        factors, found = _train(data, features, replace(settings, **point))
        if best is None or found[by] > best_value:
            best, best_value = factors, found[by]
        if on_progress is not None:
            note = ", ".join(f"{name} {value}" for name, value in point.items())
            on_progress(Progress(number + 1, len(grid) or 1, note, selection.row_of(found)))
    assert best is not None
    return best


def _train(data: Dataset, features: np.ndarray | None, settings: BprSettings) -> tuple[Factors, dict[str, float]]:
    """Train one setting until validation stops improving; return the best factors and their figures on validation."""
    generator = torch.Generator().manual_seed(settings.seed)
    model = _Model(data, features, settings, generator)
    adam = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
    sampler = _Sampler(data, generator)
    touched = np.concatenate([data.train, data.validation, data.test])
    by = selection.name_of(len(data.validation))
    best, best_found, waited = model.factors(data), {selection.AUC: np.nan, selection.NDCG: np.nan}, 0
    for epoch in range(1, settings.max_epochs + 1):
        drawn = sampler.draw(len(data.train))
        for user, positive, negative in zip(*(column.split(settings.batch_size) for column in drawn), strict=True):
            loss = model.loss(user, positive, negative)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
        if epoch % settings.evaluate_every and epoch != settings.max_epochs:
            continue
        factors = model.factors(data)
        found = selection.measures(factors, data.validation, touched)
        if not found[by] <= best_found[by]:  # the first value, a better one, or nan for want of validation pairs
            best, best_found, waited = factors, found, 0
            continue
        waited += 1
        if waited >= settings.patience:
            break
    return best, best_found


class _Model(nn.Module):
    """The trainable gamma, theta, E and biases, and the frozen features if there are any."""

    def __init__(
        self, data: Dataset, features: np.ndarray | None, settings: BprSettings, generator: torch.Generator
    ) -> None:
        super().__init__()
        users, items, k = len(data.users), len(data.items), settings.k
        self.settings, self.visual = settings, features is not None

        def normal(*shape: int, scale: float = 0.1) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * scale)

        ids = k if settings.id_factors else 0
        self.gamma_user, self.gamma_item = normal(users, ids), normal(items, ids)
        self.bias = nn.Parameter(torch.zeros(items), requires_grad=settings.item_bias)
        if features is not None:
            self.images = torch.from_numpy(features)  # [images, F]
            self.items = torch.from_numpy(item_means(features, data.image_item, items))  # [I, F]
            self.theta = normal(users, k)
            self.projection = normal(features.shape[1], k, scale=features.shape[1] ** -0.5)
            self.beta = nn.Parameter(torch.zeros(features.shape[1]), requires_grad=settings.visual_bias)

    def loss(self, user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Compute the mean BPR loss of a batch with its L2 term; all arguments [B]."""
        batch = user.shape
        # F.embedding is faster than table[rows]: its backward adds into the table without sorting the rows first.
        gamma = F.embedding(user, self.gamma_user)
        gamma_positive, gamma_negative = F.embedding(torch.stack([positive, negative]), self.gamma_item)
        bias_positive, bias_negative = F.embedding(torch.stack([positive, negative]), self.bias[:, None]).squeeze(2)
        difference = (gamma * (gamma_positive - gamma_negative)).sum(1) + bias_positive - bias_negative
        squares = gamma.pow(2).sum() + gamma_positive.pow(2).sum() + gamma_negative.pow(2).sum()
        squares = squares + bias_positive.pow(2).sum() + bias_negative.pow(2).sum()
        if self.visual:
            theta, seen = F.embedding(user, self.theta), self.items[positive] - self.items[negative]  # [B, k], [B, F]
            difference = difference + (theta * (seen @ self.projection)).sum(1) + seen @ self.beta
            squares = squares + theta.pow(2).sum()
        assert difference.shape == batch  # a (B, 1) term would have broadcast it to [B, B]
        loss = -F.logsigmoid(difference).mean() + self.settings.regularisation * squares / (2 * len(user))
        if self.visual:  # shared by all triplets, so once a batch
            shared = self.projection.pow(2).sum() + self.beta.pow(2).sum()
            loss = loss + self.settings.regularisation * shared / (2 * len(user))
        return loss

    @torch.no_grad()
    def factors(self, data: Dataset) -> Factors:
        """Export the current model as factors; the visual half of an item is the mean over its pictures."""
        gamma_user, gamma_item = self.gamma_user.numpy().copy(), self.gamma_item.numpy().copy()
        theta, item = gamma_user, gamma_item
        phi = np.zeros((0, theta.shape[1]), np.float32)
        if self.visual:
            pictures = torch.cat([self.images @ self.projection, (self.images @ self.beta)[:, None]], 1).numpy()
            theta = np.concatenate([gamma_user, self.theta.numpy(), np.ones((len(theta), 1), np.float32)], 1)
            item = np.concatenate([gamma_item, item_means(pictures, data.image_item, len(data.items))], 1)
            phi = np.concatenate([gamma_item[data.image_item], pictures], 1)
        return Factors(
            users=data.users,
            items=data.items,
            theta=theta,
            item=item,
            item_bias=self.bias.numpy().copy(),
            phi=phi,
            image_item=data.image_item,
        )


class _Sampler:
    """K17's sampling, vectorised: a user, one of their train items, and an item not among those; all uniform."""

    def __init__(self, data: Dataset, generator: torch.Generator) -> None:
        pairs = np.unique(data.train, axis=0).astype(np.int64)
        self.items, self.generator = len(data.items), generator
        counts = np.bincount(pairs[:, 0], minlength=len(data.users))
        # A user who has touched every item has no negative, and one without train items no positive.
        self.users = torch.from_numpy(np.flatnonzero((counts > 0) & (counts < self.items)))
        if not len(self.users):
            raise ValueError("BPR: no user has both a train item and an item left to be a negative")
        self.counts = torch.from_numpy(counts)
        self.starts = torch.from_numpy(np.cumsum(counts) - counts)
        self.positives = torch.from_numpy(np.ascontiguousarray(pairs[:, 1]))
        self.keys = torch.from_numpy(pairs[:, 0] * self.items + pairs[:, 1])  # sorted

    def draw(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        user = self.users[torch.randint(len(self.users), (batch,), generator=self.generator)]
        nth = (torch.rand(batch, generator=self.generator, dtype=torch.float64) * self.counts[user]).long()
        positive = self.positives[self.starts[user] + nth]
        negative = torch.randint(self.items, (batch,), generator=self.generator)
        while len(again := self._touched(user, negative).nonzero().flatten()):
            negative[again] = torch.randint(self.items, (len(again),), generator=self.generator)
        return user, positive, negative

    def _touched(self, user: Tensor, item: Tensor) -> Tensor:
        key = user * self.items + item
        slot = torch.searchsorted(self.keys, key).clamp_(max=len(self.keys) - 1)
        return self.keys[slot] == key


def _standardised(data: Dataset, features: np.ndarray) -> np.ndarray:
    """Centre the features on the train items and scale them to a mean square of one there: float32 [images, F]."""
    item = item_means(features, data.image_item, len(data.items))
    seen = item[np.unique(data.train[:, 1])]
    if not len(seen):
        return features.astype(np.float32)
    centre = seen.mean(0)
    # One scale for all dimensions keeps the network's balance between them.
    scale = max(float(np.sqrt(((seen - centre) ** 2).mean())), 1e-12)
    return ((features - centre) / scale).astype(np.float32)
