"""`modern`: a recommender on frozen features that represents a user by the pictures of their history.

x_ui = theta_u . phi_i + b_i, with theta_u = P h_u (+ gamma_u), where h_u are the pooled features of u's train items,
phi_i = E f_i (+ g_i) and b_i = beta . f_i (+ beta_i). This module holds the network, its loss and its feature space;
the caller supplies the features. Training does not belong here.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.data.dataset import Dataset
from models.data.factors import Factors, item_means
from models.modern.settings import ModernSettings


@dataclass(frozen=True, eq=False)
class Space:
    """The feature space, (f - centre) @ basis, scaled to a mean square of one over the entries of the train items."""

    centre: np.ndarray  # [F] float32
    basis: np.ndarray  # [F, D] float32

    def project(self, features: np.ndarray) -> np.ndarray:
        """Project features [n, F] into the space: [n, D] float32."""
        return (features.astype(np.float32) - self.centre) @ self.basis


def fit_space(data: Dataset, features: np.ndarray, settings: ModernSettings) -> Space:
    """Fit centre and principal components on the train items, each counted once as the mean of its pictures.

    Raises ValueError unless `features` [images, F] are one finite row for each picture and train has interactions.
    """
    if features.ndim != 2 or len(features) != len(data.image_item) or not np.isfinite(features).all():
        raise ValueError(
            f"features are {features.shape}; one finite row for each of {len(data.image_item)} pictures was expected"
        )
    if not len(data.train):
        raise ValueError("`modern` needs train interactions, and this data set has none")
    seen = item_means(features, data.image_item, len(data.items))[np.unique(data.train[:, 1])].astype(np.float64)
    centre = seen.mean(0) if settings.centre else np.zeros(seen.shape[1])
    rest = seen - centre
    if settings.components is None:
        basis = np.eye(seen.shape[1])
    else:
        spread, axes = np.linalg.eigh(rest.T @ rest / len(rest))  # ascending
        spread, axes = np.maximum(spread[::-1], 0), axes[:, ::-1]
        # With fewer items than dimensions some directions have no spread, and whitening them would amplify noise.
        kept = min(settings.components, int((spread > 1e-9 * max(spread[0], 1e-300)).sum()) or 1)
        basis = axes[:, :kept] / np.maximum(spread[:kept], 1e-300) ** (settings.whiten / 2)
    scale = max(float(np.sqrt(((rest @ basis) ** 2).mean())), 1e-12)
    return Space(centre.astype(np.float32), (basis / scale).astype(np.float32))


class Histories:
    """The train items of every user and their features, the input of the user tower. Nothing here learns."""

    def __init__(self, data: Dataset, items: np.ndarray, device: torch.device) -> None:
        """`items` [I, D] are the items' features in the model's space."""
        pairs = np.unique(data.train, axis=0).astype(np.int64)  # sorted by user, then item; repeats count once
        counts = np.bincount(pairs[:, 0], minlength=len(data.users))
        sums = np.zeros((len(data.users), items.shape[1]))
        np.add.at(sums, pairs[:, 0], items[pairs[:, 1]])
        self.items = torch.from_numpy(items).to(device)  # [I, D]
        self.owned = torch.from_numpy(pairs[:, 1].copy()).to(device)  # [E], item rows, sorted by user
        self.counts = torch.from_numpy(counts).to(device)  # [U]
        self.sums = torch.from_numpy(sums.astype(np.float32)).to(device)  # [U, D]

    def pooled(self, attention: Tensor | None, user: Tensor, without: Tensor | None) -> Tensor:
        """Pool the history of each `user` [B] into one vector [B, D], leaving out its item `without` [B].

        attention [D] weights the items; None weights all alike. An empty history gives zero, the centre of the space.
        """
        if attention is None:
            total, weight = self.sums[user], self.counts[user].float()
            own = torch.ones((), device=user.device)
        else:
            weights = _weights(self.items, attention)  # [I]
            of_pairs = F.embedding(self.owned, torch.cat([self.items * weights[:, None], weights[:, None]], 1))
            # Not index_add, whose sums are not deterministic on a GPU. `unsafe` skips a check that waits for the GPU.
            by_user = torch.segment_reduce(  # ty: ignore[missing-attribute]
                of_pairs, "sum", lengths=self.counts, axis=0, unsafe=True
            )
            total, weight = by_user[user, :-1], by_user[user, -1]
            own = None if without is None else weights[without]
        if without is not None:
            assert own is not None
            total = total - own[..., None] * self.items[without]
            weight = weight - own
            left = self.counts[user] > 1
        else:
            left = self.counts[user] > 0
        # Subtracting the only item leaves a rounding error, so emptied histories are set to zero.
        return torch.where(left[:, None], total / weight.clamp(min=1e-3)[:, None], 0.0)


def _weights(items: Tensor, attention: Tensor) -> Tensor:
    """Compute each item's attention weight, between 1/20 and 20 so that leaving one item out stays well conditioned."""
    return torch.exp(3 * torch.tanh(items @ attention / items.shape[1] ** 0.5))


class ModernNetwork(nn.Module):
    """The network. Users and items with an unknown id are represented by their pictures alone."""

    def __init__(self, users: int, items: int, space: Space, settings: ModernSettings) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(settings.seed)
        dimensions, k = space.basis.shape[1], settings.k
        self.settings = settings

        def normal(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * scale)

        def tower() -> nn.Parameter:
            if settings.start == "random":
                return normal(dimensions, k, scale=dimensions**-0.5)
            return nn.Parameter(torch.eye(dimensions, k) * dimensions**-0.25)

        self.centre: Tensor
        self.basis: Tensor
        self.register_buffer("centre", torch.from_numpy(space.centre))
        self.register_buffer("basis", torch.from_numpy(space.basis))
        self.looks = tower()  # E [D, K]
        self.taste = tower() if settings.user != "free" else None  # P [D, K]
        self.attention = nn.Parameter(torch.zeros(dimensions)) if settings.pooling == "attention" else None  # [D]
        self.gamma = normal(users, k, scale=0.01) if settings.user != "history" else None  # [U, K]
        self.item_id = normal(items, k, scale=0.01) if settings.item_id else None  # g [I, K]
        self.item_bias = nn.Parameter(torch.zeros(items)) if settings.item_bias else None  # [I]
        self.visual_bias = nn.Parameter(torch.zeros(dimensions)) if settings.visual_bias else None  # beta [D]

    def users(self, pooled: Tensor, user: Tensor, known: Tensor | None = None) -> Tensor:
        """Compute theta [B, K] of users from their pooled histories [B, D].

        `known` [B] is 1 where the user's free factor is added, else 0. For a new user it is 0, whatever `user` holds.
        """
        theta = None if self.taste is None else pooled @ self.taste
        if self.gamma is None:
            assert theta is not None
            return theta
        free = _masked(F.embedding(user, self.gamma), known)
        return free if theta is None else theta + free

    def items(self, seen: Tensor, item: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute phi [n, K] and bias [n] of `item` [n] with features `seen` [n, D].

        `known` [n] is 1 where the item's id part is added, else 0.
        """
        phi, bias = seen @ self.looks, torch.zeros(len(seen), device=seen.device)
        if self.visual_bias is not None:
            bias = bias + seen @ self.visual_bias
        if self.item_id is not None:
            phi = phi + _masked(F.embedding(item, self.item_id), known)
        if self.item_bias is not None:
            bias = bias + _masked(F.embedding(item, self.item_bias[:, None]), known)[:, 0]
        assert bias.shape == item.shape
        return phi, bias

    def project(self, features: Tensor) -> Tensor:
        """Project features [n, F] into the model's space: [n, D]."""
        return (features - self.centre) @ self.basis

    def looks_of(self, features: Tensor) -> Tensor:
        """Compute Phi of pictures of unknown items from their features [n, F]: [n, K + 1].

        Its product with the theta of `factors` is the score without the item's own bias. Gradients flow through.
        """
        seen = self.project(features)
        unknown = torch.zeros(len(seen), device=seen.device)
        phi, bias = self.items(seen, unknown.long(), unknown)
        return torch.cat([phi, bias[:, None]], 1)


def _masked(rows: Tensor, known: Tensor | None) -> Tensor:
    return rows if known is None else rows * known[:, None]


def loss(
    name: str,
    positive_score: Tensor,  # [B]
    negative_score: Tensor,  # [B, N]
    same: Tensor,  # [B, N] bool: the negative is the positive itself and is ignored
) -> Tensor:
    """Compute the loss `name`, averaged over the batch.

    softmax: -log of the positive's share of the softmax. bpr: -log sigmoid, averaged over the negatives.
    """
    assert positive_score.shape == (len(negative_score),)
    assert same.shape == negative_score.shape
    if name == "softmax":
        logits = torch.cat([positive_score[:, None], negative_score.masked_fill(same, -torch.inf)], 1)
        return (torch.logsumexp(logits, 1) - positive_score).mean()
    each = -F.logsigmoid(positive_score[:, None] - negative_score).masked_fill(same, 0.0)
    return (each.sum(1) / (~same).sum(1).clamp(min=1)).mean()


def counts(data: Dataset) -> np.ndarray:
    """Count the users who touch each item in train: [I]."""
    return np.bincount(np.unique(data.train, axis=0)[:, 1], minlength=len(data.items))


def log_popularity(counts: np.ndarray) -> np.ndarray:
    """Compute log(1 + count): [I] float32; an untouched item gets the mean over the touched ones.

    That an item is new must not affect its score. In a leave-one-out split, an untouched item is likely to be
    somebody's hold-out, so any weight on being untouched, positive or negative, would leak the split.
    """
    seen = counts > 0
    prior = np.log1p(counts.astype(np.float64))
    return np.where(seen, prior, prior[seen].mean() if seen.any() else 0.0).astype(np.float32)


def negative_chances(counts: np.ndarray, settings: ModernSettings) -> np.ndarray:
    """Compute the probability that each item is drawn as a negative: [I], summing to one.

    Raises ValueError if no item can be drawn.
    """
    chances = np.where(counts > 0, np.maximum(counts, 1.0) ** settings.negative_power, 1.0)
    if not settings.unseen_negatives:
        chances = np.where(counts > 0, chances, 0.0)
    if not chances.sum():
        raise ValueError("no item can be a negative: train has no interactions")
    return chances / chances.sum()


@torch.no_grad()
def factors(model: ModernNetwork, histories: Histories, data: Dataset, images: Tensor, weight: float) -> Factors:
    """Export the current model as factors, with `weight` times the popularity prior added to the item bias.

    images [images, D]: the pictures in the model's space. The visual bias is a factor of its own, because it differs
    between the pictures of an item. An item without train interactions has no id part, because nothing trained it.
    """
    device = images.device
    count = counts(data)
    item = torch.from_numpy(data.image_item.astype(np.int64)).to(device)
    known = torch.from_numpy((count > 0).astype(np.float32)).to(device)
    nothing = torch.zeros_like(item)
    phi, visual = model.items(images, item, nothing)
    id_part, bias = model.items(
        torch.zeros(len(count), images.shape[1], device=device), torch.arange(len(count), device=device), known
    )
    everybody = torch.arange(len(data.users), device=device)
    theta = model.users(histories.pooled(model.attention, everybody, None), everybody)
    phi = torch.cat([phi + id_part[item], visual[:, None]], 1).cpu().numpy()
    if model.settings.score_picture == "first":
        rows = phi[np.unique(data.image_item, return_index=True)[1]]
    else:
        rows = item_means(phi, data.image_item, len(count))
    return Factors(
        users=data.users,
        items=data.items,
        theta=torch.cat([theta, torch.ones(len(theta), 1, device=device)], 1).cpu().numpy(),
        item=rows,
        item_bias=bias.cpu().numpy() + np.float32(weight) * log_popularity(count),
        phi=phi,
        image_item=data.image_item,
    )


def looks(model: ModernNetwork, factors: Factors, touched: np.ndarray) -> np.ndarray:
    """Remove the id part of the items from the catalogue's Phi: float32 [images, K + 1].

    Equals `ModernNetwork.looks_of` for these pictures. `touched` bool [I] marks the items with train interactions; the
    others have no id part.
    """
    assert model.item_id is not None
    id_part = model.item_id.detach().cpu().numpy() * touched[:, None]  # [I, K]
    return np.concatenate([factors.phi[:, :-1] - id_part[factors.image_item], factors.phi[:, -1:]], axis=1)
