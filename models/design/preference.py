"""Preference maximisation: move latents so that a user likes the generated pictures more.

    argmax over z of  theta_u . Phi(up(G(z, c)))  -  eta (D(G(z, c), c) - 1)^2

Kang et al. 2017, section III-E. This is the gradient ascent that starts from noise and from a product's picture
share. Of the recommender it needs only Phi, its input size and theta. Training either model does not belong here.
"""

from collections.abc import Callable
from collections.abc import Generator as Yields
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.data.pictures import to_pixels
from models.design.distinct import Others
from models.design.networks import AnyGenerator, AnyRealism
from models.design.settings import DesignSettings
from models.lsgan.networks import normalise
from models.training.progress import Progress


@dataclass(frozen=True)
class PictureTaste:
    """The parts of a recommender that a design needs; `phi` maps pictures [B, 3, size, size] in [-1, 1] to [B, K]."""

    phi: nn.Module
    size: int
    theta: Tensor  # [users, K]
    resample: str = "nearest"  # how pictures are resized to `size` (K17); "bilinear", antialiased, if phi learnt so
    others: Others | None = None  # the reference users for the objective `distinct`

    def of(self, users: Tensor) -> "PictureTaste":
        """Keep only these users."""
        others = None if self.others is None else self.others.of(users)
        return replace(self, theta=self.theta[users], others=others)


@dataclass(frozen=True)
class Search:
    """The frozen networks and the settings that every pass of a search needs."""

    generator: AnyGenerator
    discriminator: AnyRealism
    recommender: PictureTaste
    settings: DesignSettings


def picture_features(recommender: PictureTaste, pictures: np.ndarray, rows_at_once: int = 256) -> np.ndarray:
    """Compute Phi of pictures uint8 [n, H, W, 3], resized to its input size: float32 [n, K]."""
    device = device_of(recommender.phi)
    features = []
    with frozen(recommender.phi), torch.no_grad():
        for start in range(0, len(pictures), rows_at_once):
            x = normalise(torch.from_numpy(pictures[start : start + rows_at_once]).to(device))
            features.append(_phi_of(recommender, x).float().cpu())
    return torch.cat(features).numpy()


@dataclass(frozen=True)
class Ascent:
    """The course of an ascent; axes: R rows, T + 1 steps (step 0 is the start), P shown steps."""

    score: Tensor  # [R, T + 1], theta . phi of the picture at that step
    realism: Tensor  # [R, T + 1], D's output: 1 is real, 0 is fake
    objective: Tensor  # [R, T + 1], the value that was maximised
    path: Tensor  # [R, P, z_dim], the latents of the shown steps


def ascend_all(
    search: Search, free: Tensor, labels: Tensor, user: Tensor, on_progress: Callable[[Progress], None] | None
) -> Ascent:
    """Run gradient ascent from free latents [R, z_dim] of classes [R] for users [R] (rows of theta).

    Runs `settings.rows_at_once` rows at a time.
    """
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
        # Score and realism belong to this step's latent, before it moves. The released code prints them one step late.
        climbing = step < settings.steps
        with torch.set_grad_enabled(climbing), _autocast(settings, device):
            z = bounded(free, generator)
            pictures = generator(z, labels)
            features = _phi_of(taste, pictures).float()
            assert features.shape == theta.shape, (features.shape, theta.shape)
            realism = search.discriminator(pictures, labels).float()
            objective = _preference(search, features, theta, user) - settings.eta * (realism - 1).square()
        columns["score"].append((features.detach() * theta).sum(dim=1))
        columns["realism"].append(realism.detach())
        columns["objective"].append(objective.detach())
        if step in shown:
            columns["path"].append(z.detach().clone())
        if climbing:
            # A sum, not a mean, so that a row's gradient does not depend on the number of rows.
            optimiser.zero_grad(set_to_none=True)
            (-objective.sum()).backward()
            optimiser.step()
    return Ascent(**{name: torch.stack(column, dim=1).float().cpu() for name, column in columns.items()})


def _preference(search: Search, features: Tensor, theta: Tensor, user: Tensor) -> Tensor:
    """Compute the preference term of the objective, without realism: [B]."""
    if search.settings.objective == "score":
        return (features * theta).sum(dim=1)
    if search.recommender.others is None:
        raise ValueError("objective 'distinct' needs `others` of the recommender: the users to compare with")
    return search.recommender.others.distinct(features, user)


@torch.no_grad()
def show(search: Search, z: Tensor, labels: Tensor, user: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generate the uint8 pictures of latents z [R, z_dim]; score them and their realism [R] after rounding to uint8."""
    device, at_once = device_of(search.generator), search.settings.rows_at_once
    pictures, scores, realisms = [], [], []
    for start in range(0, len(z), at_once):
        rows = slice(start, start + at_once)
        y = labels[rows].to(device)
        pixels = to_pixels(search.generator(z[rows].to(device), y))
        seen = normalise(pixels)
        theta = search.recommender.theta[user[rows]].to(device)
        features = _phi_of(search.recommender, seen)
        assert features.shape == theta.shape, (features.shape, theta.shape)
        scores.append((features * theta).sum(dim=1).float().cpu())
        realisms.append(search.discriminator(seen, y).float().cpu())
        pictures.append(pixels.cpu())
    return torch.cat(pictures).numpy(), torch.cat(scores).numpy(), torch.cat(realisms).numpy()


def _phi_of(recommender: PictureTaste, pictures: Tensor) -> Tensor:
    """Compute Phi of pictures [B, 3, 64, 64], resized to its input size: [B, K]."""
    size = (recommender.size, recommender.size)
    if recommender.resample == "bilinear":
        return recommender.phi(F.interpolate(pictures, size=size, mode="bilinear", antialias=True))
    return recommender.phi(F.interpolate(pictures, size=size, mode="nearest"))


def _autocast(settings: DesignSettings, device: torch.device) -> torch.autocast:
    on = settings.bf16 and device.type == "cuda"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on)


def bounded(free: Tensor, generator: AnyGenerator) -> Tensor:
    """Map free latents into the generator's domain: tanh if it was trained on U(-1, 1), unchanged otherwise."""
    return torch.tanh(free) if generator.z_distribution == "uniform" else free


def shown_steps(settings: DesignSettings) -> list[int]:
    """List the steps whose pictures are kept: all, or only the first and the last."""
    return list(range(settings.steps + 1)) if settings.every_step else [0, settings.steps]


def on_cpu(recommender: PictureTaste) -> PictureTaste:
    """Move the recommender's theta to the CPU as float32; ValueError unless it is [users, K] with at least one user."""
    theta = recommender.theta.detach().float().cpu()
    if theta.ndim != 2 or len(theta) == 0:
        raise ValueError(f"theta has shape {tuple(theta.shape)}; wanted [users, K] with at least one user")
    return replace(recommender, theta=theta)


def device_of(network: nn.Module) -> torch.device:
    """Return the device that holds a network's weights."""
    return next(network.parameters()).device


@contextmanager
def frozen(*networks: nn.Module) -> Yields[None]:
    """Put networks in eval mode without weight gradients inside the block, and restore their state afterwards.

    In eval mode batch norm uses its stored statistics and dropout is off.
    """
    training = [(module, module.training) for network in networks for module in network.modules()]
    trainable = [parameter for network in networks for parameter in network.parameters() if parameter.requires_grad]
    try:
        for network in networks:
            network.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in training:
            module.training = mode
        for parameter in trainable:
            parameter.requires_grad_(True)
