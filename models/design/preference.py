"""Preference maximisation: latents moved until the pictures they give please a user.

    argmax over z of  theta_u . Phi(up(G(z, c)))  -  eta (D(G(z, c), c) - 1)^2

Kang et al. 2017, section III-E; REFERENCE.md, section 4. Here is the ascent that both uses share; from noise it is
`design.py`, from a product's picture `restyle.py`, the knobs are `design_settings.py`. Needs of the recommender only
Phi, its input size and theta; training either model does not belong here.
"""

from collections.abc import Callable
from collections.abc import Generator as Yields
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.design.distinct import Others
from models.design.settings import DesignSettings
from models.lsgan.networks import Discriminator, Generator, normalise, to_pixels


@dataclass(frozen=True)
class Recommender:
    """What a design needs of a recommender: `phi` maps pictures [B, 3, size, size] in [-1, 1] to [B, K]."""

    phi: nn.Module
    size: int
    theta: Tensor  # [users, K]
    resample: str = "nearest"  # how a picture comes to `size` (K17); bilinear, antialiased, where phi learnt from that
    others: Others | None = None  # whom the users are told apart from; the objective `distinct` needs it

    def of(self, users: Tensor) -> "Recommender":
        """With these users alone."""
        others = None if self.others is None else self.others.of(users)
        return replace(self, theta=self.theta[users], others=others)


@dataclass(frozen=True)
class Progress:
    """`done` of `total` latents searched."""

    done: int
    total: int
    note: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Search:
    """The frozen networks and the knobs that every pass of a search needs."""

    generator: Generator
    discriminator: Discriminator
    recommender: Recommender
    settings: DesignSettings


def picture_features(recommender: Recommender, pictures: np.ndarray, rows_at_once: int = 256) -> np.ndarray:
    """Phi of pictures uint8 [n, H, W, 3], brought to the size it reads: float32 [n, K]."""
    device = device_of(recommender.phi)
    found = []
    with frozen(recommender.phi), torch.no_grad():
        for start in range(0, len(pictures), rows_at_once):
            x = normalise(torch.from_numpy(pictures[start : start + rows_at_once]).to(device))
            found.append(_see(recommender, x).float().cpu())
    return torch.cat(found).numpy()


@dataclass(frozen=True)
class Ascent:
    """What an ascent went through; axes: R rows, T + 1 steps (step 0 is the start), P shown steps."""

    score: Tensor  # [R, T + 1], theta . phi of the picture at that step
    realism: Tensor  # [R, T + 1], D's output: 1 is real, 0 is fake
    objective: Tensor  # [R, T + 1], what was climbed
    path: Tensor  # [R, P, z_dim], the latents of the shown steps


def ascend_all(
    search: Search, free: Tensor, labels: Tensor, user: Tensor, on_progress: Callable[[Progress], None] | None
) -> Ascent:
    """Gradient ascent from free latents [R, z_dim] of classes [R] for users [R] (rows of theta), so many at once."""
    parts, at_once = [], search.settings.rows_at_once
    for start in range(0, len(free), at_once):
        rows = slice(start, start + at_once)
        parts.append(_ascend(search, free[rows], labels[rows], user[rows]))
        if on_progress is not None:
            gain = (parts[-1].score[:, -1] - parts[-1].score[:, 0]).mean().item()
            done = min(len(free), start + at_once)
            on_progress(Progress(done, len(free), "designs", {"mean_gain": gain}))
    return Ascent(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Ascent)))


def _ascend(search: Search, free: Tensor, labels: Tensor, user: Tensor) -> Ascent:
    generator, settings, taste = search.generator, search.settings, search.recommender
    device = device_of(generator)
    free = free.to(device).clone().requires_grad_()
    labels, theta = labels.to(device), taste.theta[user].to(device)
    optimiser = torch.optim.Adam([free], lr=settings.lr)
    shown = set(shown_steps(settings))
    columns: dict[str, list[Tensor]] = {field.name: [] for field in fields(Ascent)}
    for step in range(settings.steps + 1):
        # Score and realism of this step's latent, before it moves: the released code prints them one step late.
        climbing = step < settings.steps
        with torch.set_grad_enabled(climbing), _autocast(settings, device):
            z = bounded(free, generator)
            pictures = generator(z, labels)
            features = _see(taste, pictures).float()
            assert features.shape == theta.shape, (features.shape, theta.shape)
            realism = search.discriminator(pictures, labels).float()
            objective = _pleased(search, features, theta, user) - settings.eta * (realism - 1).square()
        columns["score"].append((features.detach() * theta).sum(dim=1))
        columns["realism"].append(realism.detach())
        columns["objective"].append(objective.detach())
        if step in shown:
            columns["path"].append(z.detach().clone())
        if climbing:
            # A sum, not a mean: no row's gradient depends on how many others there are.
            optimiser.zero_grad(set_to_none=True)
            (-objective.sum()).backward()
            optimiser.step()
    return Ascent(**{name: torch.stack(column, dim=1).float().cpu() for name, column in columns.items()})


def _pleased(search: Search, features: Tensor, theta: Tensor, user: Tensor) -> Tensor:
    """What is climbed besides realism, [B]."""
    if search.settings.objective == "score":
        return (features * theta).sum(dim=1)
    if search.recommender.others is None:
        raise ValueError("objective 'distinct' needs `others` of the recommender: whom the users are told apart from")
    return search.recommender.others.distinct(features, user)


@torch.no_grad()
def show(search: Search, z: Tensor, labels: Tensor, user: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The uint8 pictures of latents z [R, z_dim], and the score and realism [R] of those pictures as rounded."""
    device, at_once = device_of(search.generator), search.settings.rows_at_once
    pictures, scores, realisms = [], [], []
    for start in range(0, len(z), at_once):
        rows = slice(start, start + at_once)
        y = labels[rows].to(device)
        pixels = to_pixels(search.generator(z[rows].to(device), y))
        seen = normalise(pixels)
        theta = search.recommender.theta[user[rows]].to(device)
        features = _see(search.recommender, seen)
        assert features.shape == theta.shape, (features.shape, theta.shape)
        scores.append((features * theta).sum(dim=1).float().cpu())
        realisms.append(search.discriminator(seen, y).float().cpu())
        pictures.append(pixels.cpu())
    return torch.cat(pictures).numpy(), torch.cat(scores).numpy(), torch.cat(realisms).numpy()


def _see(recommender: Recommender, pictures: Tensor) -> Tensor:
    """Phi of pictures [B, 3, 64, 64], brought to the size it reads: [B, K]."""
    size = (recommender.size, recommender.size)
    if recommender.resample == "bilinear":
        return recommender.phi(F.interpolate(pictures, size=size, mode="bilinear", antialias=True))
    return recommender.phi(F.interpolate(pictures, size=size, mode="nearest"))


def _autocast(settings: DesignSettings, device: torch.device) -> torch.autocast:
    on = settings.bf16 and device.type == "cuda"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on)


def bounded(free: Tensor, generator: Generator) -> Tensor:
    """The latent itself, or its tanh where the generator has never seen anything outside [-1, 1]."""
    return torch.tanh(free) if generator.z_distribution == "uniform" else free


def shown_steps(settings: DesignSettings) -> list[int]:
    """The steps whose pictures are kept: all, or the first and the last."""
    return list(range(settings.steps + 1)) if settings.every_step else [0, settings.steps]


def on_cpu(recommender: Recommender) -> Recommender:
    """The recommender with theta as float32 on the CPU; ValueError for another shape."""
    theta = recommender.theta.detach().float().cpu()
    if theta.ndim != 2 or len(theta) == 0:
        raise ValueError(f"theta has shape {tuple(theta.shape)}; wanted [users, K] with at least one user")
    return replace(recommender, theta=theta)


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are."""
    return next(network.parameters()).device


@contextmanager
def frozen(*networks: nn.Module) -> Yields[None]:
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
