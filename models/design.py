"""Garments for one person: latents moved until the pictures they give please a user (preference maximisation).

    argmax over z of  theta_u . Phi(up(G(z, c)))  -  eta (D(G(z, c), c) - 1)^2

Kang et al. 2017, section III-E; REFERENCE.md, section 4. From noise (`personal_designs`) or from a product's picture
(`restyle`). Needs of the recommender only Phi, its input size and theta; training either model does not belong here.
"""

from collections.abc import Callable, Sequence
from collections.abc import Generator as Yields
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.lsgan import Discriminator, Generator, normalise, to_pixels


@dataclass(frozen=True)
class DesignSettings:
    """The knobs of the search. Whether tanh keeps z in [-1, 1] is the generator's: where it learnt from U(-1, 1)."""

    eta: float = 1.0  # weight of realism against preference
    lr: float = 0.05  # Adam's, on z only
    steps: int = 10
    starts: int = 16
    start_sd: float = 0.5  # z ~ N(0, 0.5): nearer the middle than what the generator was trained on
    every_step: bool = True  # pictures of every step; otherwise of the first and the last only
    approximation_steps: int = 200  # of the search for the z nearest to a product
    approximation_starts: int = 4
    rows_at_once: int = 256  # latents in one pass; bounds the memory, changes nothing else
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError naming the field that makes no sense."""
        for name in ("steps", "starts", "approximation_steps", "approximation_starts", "rows_at_once"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("lr", "start_sd"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        if self.eta < 0:
            raise ValueError(f"eta is {self.eta}; it must not be negative")


PRESETS: dict[str, DesignSettings] = {
    "paper": DesignSettings(starts=64),  # the paper's 64 starts; the released code's 16
    "kang2017": DesignSettings(),
    "modern": DesignSettings(),
}


@dataclass(frozen=True)
class Recommender:
    """What a design needs of a recommender: `phi` maps pictures [B, 3, size, size] in [-1, 1] to [B, K]."""

    phi: nn.Module
    size: int
    theta: Tensor  # [users, K]


@dataclass(frozen=True)
class Progress:
    """`done` of `total` latents searched."""

    done: int
    total: int
    note: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Designs:
    """What `personal_designs` found; axes: U users, C classes, S starts, T + 1 steps (step 0 is the start), P shown."""

    score: np.ndarray  # [U, C, S, T + 1], theta . phi of the picture at that step
    realism: np.ndarray  # [U, C, S, T + 1], D's output: 1 is real, 0 is fake
    z: np.ndarray  # [U, C, S, z_dim], after the last step
    best: np.ndarray  # [U, C], the start whose last picture has the highest objective
    shown_step: np.ndarray  # [P], which step each shown picture belongs to
    pictures: np.ndarray  # uint8 [U, C, P, 64, 64, 3], of the best start
    shown_score: np.ndarray  # [U, C, P], of exactly these uint8 pictures
    shown_realism: np.ndarray  # [U, C, P]

    @property
    def gain(self) -> np.ndarray:
        """How much the shown garment's score rose from its start to its last step, [U, C]."""
        return self.shown_score[..., -1] - self.shown_score[..., 0]


@dataclass(frozen=True)
class Restyled:
    """What `restyle` found: N products, each for U users, P shown steps."""

    products: np.ndarray  # uint8 [N, 64, 64, 3]
    approximation: np.ndarray  # uint8 [N, 64, 64, 3], the generator's nearest picture in L1
    distance: np.ndarray  # [N], that L1 distance: mean absolute difference in grey levels
    shown_step: np.ndarray  # [P]
    pictures: np.ndarray  # uint8 [N, U, P, 64, 64, 3]; step 0 is the approximation
    shown_score: np.ndarray  # [N, U, P]
    shown_realism: np.ndarray  # [N, U, P]
    product_score: np.ndarray  # [N, U], of the product's own picture


@dataclass(frozen=True)
class _Search:
    """The frozen networks and the knobs that every pass of a search needs."""

    generator: Generator
    discriminator: Discriminator
    recommender: Recommender
    settings: DesignSettings


def personal_designs(
    generator: Generator,
    discriminator: Discriminator,
    recommender: Recommender,
    classes: Sequence[int],
    *,
    settings: DesignSettings,
    on_progress: Callable[[Progress], None] | None = None,
) -> Designs:
    """Designs of each of `classes` for each user of `recommender.theta`, from `settings.starts` random latents.

    All users start from the same latents of a class, so that designs differ by the user alone and do not depend on
    who else is asked for. Adam works element by element: one over a batch is a fresh one for each user and class.
    Raises ValueError for a class the generator does not know.
    """
    unknown = [c for c in classes if not 0 <= c < generator.classes]
    if unknown or not len(classes):
        raise ValueError(
            f"classes {unknown or list(classes)} asked for; the generator knows 0 to {generator.classes - 1}"
        )
    theta = _checked_theta(recommender)
    users, starts = len(theta), settings.starts
    noise = torch.Generator().manual_seed(settings.seed)
    first = torch.randn(generator.classes, starts, generator.z_dim, generator=noise) * settings.start_sd
    labels = torch.tensor(list(classes))
    # rows run over users, then classes, then starts
    free = first[labels].expand(users, -1, -1, -1).reshape(-1, generator.z_dim)
    row_user = torch.arange(users).repeat_interleave(len(classes) * starts)
    row_label = labels.repeat_interleave(starts).repeat(users)

    search = _Search(generator, discriminator, recommender, settings)
    with _frozen(generator, discriminator, recommender.phi):
        score, realism, path = _ascend_all(search, free, row_label, theta[row_user], on_progress)
        axes = (users, len(classes), starts)
        objective = score[:, -1] - settings.eta * (realism[:, -1] - 1).square()
        best = objective.view(axes).argmax(dim=2)  # [U, C]
        path = path.view(*axes, *path.shape[1:])
        chosen = path[torch.arange(users)[:, None], torch.arange(len(classes))[None, :], best]  # [U, C, P, z_dim]
        steps = _shown_steps(settings)
        flat = chosen.reshape(-1, generator.z_dim)
        flat_label = labels[None, :, None].expand(users, -1, len(steps)).reshape(-1)
        flat_theta = theta[:, None, None].expand(-1, len(classes), len(steps), -1).reshape(len(flat), -1)
        pictures, shown_score, shown_realism = _show(search, flat, flat_label, flat_theta)
    shown = (users, len(classes), len(steps))
    return Designs(
        score=score.view(*axes, -1).numpy(),
        realism=realism.view(*axes, -1).numpy(),
        z=path[..., -1, :].numpy(),
        best=best.numpy(),
        shown_step=np.array(steps),
        pictures=pictures.reshape(*shown, *pictures.shape[1:]),
        shown_score=shown_score.reshape(shown),
        shown_realism=shown_realism.reshape(shown),
    )


def restyle(
    generator: Generator,
    discriminator: Discriminator,
    recommender: Recommender,
    products: np.ndarray,
    labels: np.ndarray,
    *,
    settings: DesignSettings,
    on_progress: Callable[[Progress], None] | None = None,
) -> Restyled:
    """Each product uint8 [N, 64, 64, 3] of class labels int [N], moved towards the taste of each user.

    First the latent whose picture is nearest to the product in L1, then preference maximisation from there, the
    same approximation for all users (NAF, figure 5).
    """
    theta = _checked_theta(recommender)
    users = len(theta)
    row_label = torch.from_numpy(labels.astype(np.int64))
    search = _Search(generator, discriminator, recommender, settings)
    with _frozen(generator, discriminator, recommender.phi):
        free, distance = _approximate(generator, products, row_label, settings)
        free = free.repeat_interleave(users, dim=0)
        pair_label, pair_theta = row_label.repeat_interleave(users), theta.repeat(len(products), 1)
        _, _, path = _ascend_all(search, free, pair_label, pair_theta, on_progress)
        steps = _shown_steps(settings)
        flat_label, flat_theta = (x.repeat_interleave(len(steps), dim=0) for x in (pair_label, pair_theta))
        pictures, score, realism = _show(search, path.flatten(0, 1), flat_label, flat_theta)
        own = picture_features(recommender, products, settings.rows_at_once) @ theta.numpy().T
    shown = (len(products), users, len(steps))
    pictures = pictures.reshape(*shown, *pictures.shape[1:])
    return Restyled(
        products=products,
        approximation=pictures[:, 0, 0],
        distance=distance,
        shown_step=np.array(steps),
        pictures=pictures,
        shown_score=score.reshape(shown),
        shown_realism=realism.reshape(shown),
        product_score=own,
    )


def picture_features(recommender: Recommender, pictures: np.ndarray, rows_at_once: int = 256) -> np.ndarray:
    """Phi of pictures uint8 [n, H, W, 3], enlarged by nearest neighbour to the size it reads: float32 [n, K]."""
    device = _device(recommender.phi)
    found = []
    with _frozen(recommender.phi), torch.no_grad():
        for start in range(0, len(pictures), rows_at_once):
            x = normalise(torch.from_numpy(pictures[start : start + rows_at_once]).to(device))
            found.append(recommender.phi(_enlarge(x, recommender.size)).float().cpu())
    return torch.cat(found).numpy()


def standardised_rank(features: np.ndarray, owner: np.ndarray, judges: np.ndarray, catalogue: np.ndarray) -> np.ndarray:
    """Where its owner ranks among the judges of each design: int64 [n], 1 is first; ties count against the owner.

    features [n, K]: Phi of the designs; owner int [n]: a row of judges [J, K]; catalogue [M, K]: Phi of its pictures.
    A judge's score is standardised by the mean and sd of his scores over the catalogue: a long theta wins nothing.
    """
    if len(catalogue) < 2:
        raise ValueError(f"{len(catalogue)} catalogue pictures; standardising needs at least 2")
    judges64, catalogue64 = judges.astype(np.float64), catalogue.astype(np.float64)
    scores = catalogue64 @ judges64.T  # [M, J]
    sd = np.maximum(scores.std(axis=0), 1e-12)
    standard = (features.astype(np.float64) @ judges64.T - scores.mean(axis=0)) / sd  # [n, J]
    own = standard[np.arange(len(owner)), owner]
    return (standard >= own[:, None]).sum(axis=1).astype(np.int64)


def _ascend_all(
    search: _Search, free: Tensor, labels: Tensor, theta: Tensor, on_progress: Callable[[Progress], None] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient ascent for every row, so many at once: score [R, T + 1], realism [R, T + 1], shown z [R, P, z_dim]."""
    parts, at_once = [], search.settings.rows_at_once
    for start in range(0, len(free), at_once):
        rows = slice(start, start + at_once)
        parts.append(_ascend(search, free[rows], labels[rows], theta[rows]))
        if on_progress is not None:
            gain = (parts[-1][0][:, -1] - parts[-1][0][:, 0]).mean().item()
            done = min(len(free), start + at_once)
            on_progress(Progress(done, len(free), "designs", {"mean_gain": gain}))
    score, realism, path = (torch.cat(column) for column in zip(*parts, strict=True))
    return score, realism, path


def _ascend(search: _Search, free: Tensor, labels: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    generator, settings = search.generator, search.settings
    device = _device(generator)
    free = free.to(device).clone().requires_grad_()
    labels, theta = labels.to(device), theta.to(device)
    optimiser = torch.optim.Adam([free], lr=settings.lr)
    shown = set(_shown_steps(settings))
    scores, realisms, path = [], [], []
    for step in range(settings.steps + 1):
        # Score and realism of this step's latent, before it moves: the released code prints them one step late.
        with torch.set_grad_enabled(step < settings.steps):
            z = _bounded(free, generator)
            pictures = generator(z, labels)
            score = _preference(search.recommender, pictures, theta)
            realism = search.discriminator(pictures, labels)
        scores.append(score.detach())
        realisms.append(realism.detach())
        if step in shown:
            path.append(z.detach().clone())
        if step < settings.steps:
            # A sum, not a mean: no row's gradient depends on how many others there are.
            loss = -(score - settings.eta * (realism - 1).square()).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    columns = (torch.stack(column, dim=1).float().cpu() for column in (scores, realisms, path))
    score_path, realism_path, z_path = columns
    return score_path, realism_path, z_path


def _approximate(
    generator: Generator, products: np.ndarray, labels: Tensor, settings: DesignSettings
) -> tuple[Tensor, np.ndarray]:
    """The free latents [N, z_dim] of the pictures nearest to the products in L1, and that distance in grey levels."""
    device, starts = _device(generator), settings.approximation_starts
    noise = torch.Generator().manual_seed(settings.seed + 1)
    first = torch.randn(starts, generator.z_dim, generator=noise) * settings.start_sd
    found, distances = [], []
    at_once = max(1, settings.rows_at_once // starts)
    for begin in range(0, len(products), at_once):
        target = normalise(torch.from_numpy(products[begin : begin + at_once]).to(device))
        count = len(target)
        target = target.repeat_interleave(starts, dim=0)
        y = labels[begin : begin + at_once].to(device).repeat_interleave(starts)
        free = first.to(device).repeat(count, 1).requires_grad_()
        optimiser = torch.optim.Adam([free], lr=settings.lr)
        nearest = torch.full((count * starts,), float("inf"), device=device)
        kept = free.detach().clone()
        for step in range(settings.approximation_steps + 1):
            gap = (generator(_bounded(free, generator), y) - target).abs().mean(dim=(1, 2, 3))
            nearer = gap.detach() < nearest
            nearest = torch.where(nearer, gap.detach(), nearest)
            kept = torch.where(nearer[:, None], free.detach(), kept)
            if step < settings.approximation_steps:
                optimiser.zero_grad(set_to_none=True)
                gap.sum().backward()
                optimiser.step()
        best = nearest.view(count, starts).argmin(dim=1)
        rows = torch.arange(count, device=device)
        found.append(kept.view(count, starts, -1)[rows, best].cpu())
        distances.append(nearest.view(count, starts)[rows, best].cpu() * 127.5)
    return torch.cat(found), torch.cat(distances).numpy()


@torch.no_grad()
def _show(search: _Search, z: Tensor, labels: Tensor, theta: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The uint8 pictures of latents z [R, z_dim], and the score and realism [R] of those pictures as rounded."""
    device, at_once = _device(search.generator), search.settings.rows_at_once
    pictures, scores, realisms = [], [], []
    for start in range(0, len(z), at_once):
        rows = slice(start, start + at_once)
        y = labels[rows].to(device)
        pixels = to_pixels(search.generator(z[rows].to(device), y))
        seen = normalise(pixels)
        scores.append(_preference(search.recommender, seen, theta[rows].to(device)).float().cpu())
        realisms.append(search.discriminator(seen, y).float().cpu())
        pictures.append(pixels.cpu())
    return torch.cat(pictures).numpy(), torch.cat(scores).numpy(), torch.cat(realisms).numpy()


def _preference(recommender: Recommender, pictures: Tensor, theta: Tensor) -> Tensor:
    """theta_u . Phi(up(picture)) row by row: [B] from [B, 3, 64, 64] and [B, K]."""
    features = recommender.phi(_enlarge(pictures, recommender.size))
    assert features.shape == theta.shape, (features.shape, theta.shape)
    return (features * theta).sum(dim=1)


def _enlarge(pictures: Tensor, size: int) -> Tensor:
    return F.interpolate(pictures, size=(size, size), mode="nearest")


def _bounded(free: Tensor, generator: Generator) -> Tensor:
    """The latent itself, or its tanh where the generator has never seen anything outside [-1, 1]."""
    return torch.tanh(free) if generator.z_distribution == "uniform" else free


def _shown_steps(settings: DesignSettings) -> list[int]:
    return list(range(settings.steps + 1)) if settings.every_step else [0, settings.steps]


def _checked_theta(recommender: Recommender) -> Tensor:
    theta = recommender.theta.detach().float().cpu()
    if theta.ndim != 2 or len(theta) == 0:
        raise ValueError(f"theta has shape {tuple(theta.shape)}; wanted [users, K] with at least one user")
    return theta


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


@contextmanager
def _frozen(*networks: nn.Module) -> Yields[None]:
    """Eval mode and no gradients for weights inside (stored batch-norm statistics, no dropout); as before after."""
    training = [(module, module.training) for network in networks for module in network.modules()]
    needing = [parameter for network in networks for parameter in network.parameters() if parameter.requires_grad]
    try:
        for network in networks:
            network.eval()
        for parameter in needing:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in training:
            module.training = mode
        for parameter in needing:
            parameter.requires_grad_(True)
