"""`modern`: a recommender on frozen features whose users are read off the pictures of their history.

x_ui = theta_u . phi_i + b_i, where theta_u = P h_u (+ gamma_u), h_u the pooled features of u's train items; phi_i =
E f_i (+ g_i); b_i = beta . f_i (+ beta_i). The network, its loss and its space of features; training is
`train_modern.py`, the features come from outside.
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
    """Where features live: (f - centre) @ basis, with a mean square of one over the train items' entries."""

    centre: np.ndarray  # [F] float32
    basis: np.ndarray  # [F, D] float32

    def of(self, features: np.ndarray) -> np.ndarray:
        """[n, F] to [n, D] float32."""
        return (features.astype(np.float32) - self.centre) @ self.basis


def fit_space(data: Dataset, features: np.ndarray, settings: ModernSettings) -> Space:
    """Centre and principal components over the train items, each once, as the mean of its pictures.

    Raises ValueError unless `features` [images, F] are one finite row a picture, or without train interactions.
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
        # Fewer items than dimensions leave directions without any spread: whitening those would blow noise up.
        kept = min(settings.components, int((spread > 1e-9 * max(spread[0], 1e-300)).sum()) or 1)
        basis = axes[:, :kept] / np.maximum(spread[:kept], 1e-300) ** (settings.whiten / 2)
    scale = max(float(np.sqrt(((rest @ basis) ** 2).mean())), 1e-12)
    return Space(centre.astype(np.float32), (basis / scale).astype(np.float32))


class Histories:
    """Every user's train items and their features, as the towers read them; nothing here learns."""

    def __init__(self, data: Dataset, items: np.ndarray, device: torch.device) -> None:
        """`items` [I, D] are the items' features in their space."""
        pairs = np.unique(data.train, axis=0).astype(np.int64)  # by user, then item; a repeat counts once
        counts = np.bincount(pairs[:, 0], minlength=len(data.users))
        sums = np.zeros((len(data.users), items.shape[1]))
        np.add.at(sums, pairs[:, 0], items[pairs[:, 1]])
        self.items = torch.from_numpy(items).to(device)  # [I, D]
        self.owned = torch.from_numpy(pairs[:, 1].copy()).to(device)  # [E], rows of items, by user
        self.counts = torch.from_numpy(counts).to(device)  # [U]
        self.sums = torch.from_numpy(sums.astype(np.float32)).to(device)  # [U, D]

    def pooled(self, attention: Tensor | None, user: Tensor, without: Tensor | None) -> Tensor:
        """The history of each `user` [B] as one vector [B, D], leaving out the item `without` [B], one of its own.

        attention [D] weighs the items; None: all alike. An empty history is zero, the centre: no taste in particular.
        """
        if attention is None:
            total, weight = self.sums[user], self.counts[user].float()
            own = torch.ones((), device=user.device)
        else:
            weights = _weights(self.items, attention)  # [I]
            of_pairs = F.embedding(self.owned, torch.cat([self.items * weights[:, None], weights[:, None]], 1))
            # Not index_add: its sums on a GPU come out in no fixed order. `unsafe` skips a check that waits for it.
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
        # What is subtracted from itself is not quite zero: an emptied history is made so.
        return torch.where(left[:, None], total / weight.clamp(min=1e-3)[:, None], 0.0)


def _weights(items: Tensor, attention: Tensor) -> Tensor:
    """How much each item of a history tells: between 1/20 and 20, so that leaving one out stays well conditioned."""
    return torch.exp(3 * torch.tanh(items @ attention / items.shape[1] ** 0.5))


class Modern(nn.Module):
    """The weights. Items whose id is not known, and users likewise, are what their pictures are."""

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
        """theta [B, K] of users with these histories [B, D]; `known` [B] is 1 where the free factor counts, else 0.

        A new user is a history and nothing else: known = 0, whatever `user` says.
        """
        theta = None if self.taste is None else pooled @ self.taste
        if self.gamma is None:
            assert theta is not None
            return theta
        free = _masked(F.embedding(user, self.gamma), known)
        return free if theta is None else theta + free

    def items(self, seen: Tensor, item: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """phi [n, K] and bias [n] of `item` [n] with features `seen` [n, D]; `known` [n] 0 takes the id part away."""
        phi, bias = seen @ self.looks, torch.zeros(len(seen), device=seen.device)
        if self.visual_bias is not None:
            bias = bias + seen @ self.visual_bias
        if self.item_id is not None:
            phi = phi + _masked(F.embedding(item, self.item_id), known)
        if self.item_bias is not None:
            bias = bias + _masked(F.embedding(item, self.item_bias[:, None]), known)[:, 0]
        assert bias.shape == item.shape
        return phi, bias

    def placed(self, features: Tensor) -> Tensor:
        """Features [n, F] in the model's space: [n, D]."""
        return (features - self.centre) @ self.basis

    def looks_of(self, features: Tensor) -> Tensor:
        """Phi of pictures by their features [n, F], of things that no id is known of: [n, K + 1].

        The product with `factors`'s theta is the score, without the item's own bias. Gradients flow through.
        """
        seen = self.placed(features)
        nobody = torch.zeros(len(seen), device=seen.device)
        phi, bias = self.items(seen, nobody.long(), nobody)
        return torch.cat([phi, bias[:, None]], 1)


def _masked(rows: Tensor, known: Tensor | None) -> Tensor:
    return rows if known is None else rows * known[:, None]


def loss(
    name: str,
    positive_score: Tensor,  # [B]
    negative_score: Tensor,  # [B, N]
    same: Tensor,  # [B, N] bool: the negative is the positive itself, and counts for nothing
) -> Tensor:
    """Mean over the batch: -log of the positive's share of the softmax, or the mean of BPR's -log sigmoid."""
    assert positive_score.shape == (len(negative_score),)
    assert same.shape == negative_score.shape
    if name == "softmax":
        logits = torch.cat([positive_score[:, None], negative_score.masked_fill(same, -torch.inf)], 1)
        return (torch.logsumexp(logits, 1) - positive_score).mean()
    each = -F.logsigmoid(positive_score[:, None] - negative_score).masked_fill(same, 0.0)
    return (each.sum(1) / (~same).sum(1).clamp(min=1)).mean()


def counts(data: Dataset) -> np.ndarray:
    """How many users touch each item in train: [I]."""
    return np.bincount(np.unique(data.train, axis=0)[:, 1], minlength=len(data.items))


def log_popularity(counts: np.ndarray) -> np.ndarray:
    """log(1 + count) [I] float32; an item nobody touched gets the mean over those somebody did.

    Being new says nothing about an item. (In a leave-one-out split it even says that the item is somebody's hold-out:
    a weight on being unseen, of whatever sign, would read the split.)
    """
    seen = counts > 0
    prior = np.log1p(counts.astype(np.float64))
    return np.where(seen, prior, prior[seen].mean() if seen.any() else 0.0).astype(np.float32)


def negative_chances(counts: np.ndarray, settings: ModernSettings) -> np.ndarray:
    """How likely each item is to be drawn as a negative: [I], of sum one. ValueError where none could be."""
    chances = np.where(counts > 0, np.maximum(counts, 1.0) ** settings.negative_power, 1.0)
    if not settings.unseen_negatives:
        chances = np.where(counts > 0, chances, 0.0)
    if not chances.sum():
        raise ValueError("no item can be a negative: nobody touches any in train")
    return chances / chances.sum()


@torch.no_grad()
def factors(model: Modern, histories: Histories, data: Dataset, images: Tensor, weight: float) -> Factors:
    """The model as it stands in factor form, `weight` times the popularity prior in the item's bias.

    images [images, D]: the pictures in the model's space. The visual bias is a factor of its own, as it differs
    between an item's pictures. An item nobody touched in train has no id part: nothing trained it.
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


def looks(model: Modern, found: Factors, touched: np.ndarray) -> np.ndarray:
    """Phi of the catalogue's pictures less what is known of their items by id: float32 [images, K + 1].

    What `looks_of` gives for them. `touched` bool [I]: the items of train interactions; the others have no id part.
    """
    assert model.item_id is not None
    known = model.item_id.detach().cpu().numpy() * touched[:, None]  # [I, K]
    return np.concatenate([found.phi[:, :-1] - known[found.image_item], found.phi[:, -1:]], axis=1)
