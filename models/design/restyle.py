"""Restyle a product for a user: find the latent nearest to its picture, then maximise preference from there.

As in figure 5 of NAF, the re-run on Amazon Fashion 2018.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.design.networks import AnyGenerator, AnyRealism
from models.design.preference import (
    PictureTaste,
    Search,
    ascend_all,
    bounded,
    device_of,
    frozen,
    on_cpu,
    picture_features,
    show,
    shown_steps,
)
from models.design.settings import DesignSettings
from models.lsgan.networks import normalise
from models.training.progress import Progress


@dataclass(frozen=True)
class Restyled:
    """The results of `restyle`; axes: N products, U users, P shown steps."""

    products: np.ndarray  # uint8 [N, 64, 64, 3]
    approximation: np.ndarray  # uint8 [N, 64, 64, 3], the generator's nearest picture in L1
    distance: np.ndarray  # [N], its L1 distance: mean absolute difference in grey levels
    start: np.ndarray  # [N], which of the approximation's starts led to it
    shown_step: np.ndarray  # [P]
    pictures: np.ndarray  # uint8 [N, U, P, 64, 64, 3]; step 0 is the approximation
    shown_score: np.ndarray  # [N, U, P]
    shown_realism: np.ndarray  # [N, U, P]
    z: np.ndarray  # [N, U, z_dim], after the last step
    product_score: np.ndarray  # [N, U], of the product's own picture


def restyle(
    generator: AnyGenerator,
    discriminator: AnyRealism,
    recommender: PictureTaste,
    products: np.ndarray,
    labels: np.ndarray,
    *,
    settings: DesignSettings,
    on_progress: Callable[[Progress], None] | None = None,
) -> Restyled:
    """Move each product uint8 [N, 64, 64, 3] with class label int [N] towards the taste of each user.

    Finds the latent whose picture is nearest to the product in L1, then maximises preference from there; all users
    share the same approximation (NAF, figure 5). Raises ValueError for a class the generator does not know.
    """
    if len(products) == 0 or len(products) != len(labels):
        raise ValueError(f"{len(products)} products with {len(labels)} labels; give at least one, and a label for each")
    unknown = sorted({int(c) for c in labels if not 0 <= c < generator.classes})
    if unknown:
        raise ValueError(f"products of classes {unknown}; the generator knows 0 to {generator.classes - 1}")
    taste = on_cpu(recommender)
    users = len(taste.theta)
    row_label = torch.from_numpy(labels.astype(np.int64))
    search = Search(generator, discriminator, taste, settings)
    with frozen(generator, discriminator, recommender.phi):
        free, distance, start = approximate(generator, products, row_label, settings)
        free = free.repeat_interleave(users, dim=0)
        pair_label, pair_user = row_label.repeat_interleave(users), torch.arange(users).repeat(len(products))
        ascent = ascend_all(search, free, pair_label, pair_user, on_progress)
        steps = shown_steps(settings)
        flat_label, flat_user = (x.repeat_interleave(len(steps), dim=0) for x in (pair_label, pair_user))
        pictures, score, realism = show(search, ascent.path.flatten(0, 1), flat_label, flat_user)
        own = picture_features(recommender, products, settings.rows_at_once) @ taste.theta.numpy().T
    shown = (len(products), users, len(steps))
    pictures = pictures.reshape(*shown, *pictures.shape[1:])
    return Restyled(
        products=products,
        approximation=pictures[:, 0, 0],
        distance=distance,
        start=start,
        shown_step=np.array(steps),
        pictures=pictures,
        shown_score=score.reshape(shown),
        shown_realism=realism.reshape(shown),
        z=ascent.path[:, -1].reshape(len(products), users, -1).numpy(),
        product_score=own,
    )


def approximate(
    generator: AnyGenerator, products: np.ndarray, labels: Tensor, settings: DesignSettings
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Find the free latents whose pictures are nearest to the products in L1.

    Returns (latents [N, z_dim], distances [N] in grey levels, the start that led there int64 [N]).
    """
    device, starts = device_of(generator), settings.approximation_starts
    noise = torch.Generator().manual_seed(settings.seed + 1)
    first = torch.randn(starts, generator.z_dim, generator=noise) * settings.start_sd
    latents, distances, best_start = [], [], []
    at_once = max(1, settings.rows_at_once // starts)
    for begin in range(0, len(products), at_once):
        target = normalise(torch.from_numpy(products[begin : begin + at_once]).to(device))
        count = len(target)
        target = target.repeat_interleave(starts, dim=0)
        y = labels[begin : begin + at_once].to(device).repeat_interleave(starts)
        free = first.to(device).repeat(count, 1).requires_grad_()
        optimiser = torch.optim.Adam([free], lr=settings.approximation_lr)
        nearest = torch.full((count * starts,), float("inf"), device=device)
        kept = free.detach().clone()
        for step in range(settings.approximation_steps + 1):
            gap = (generator(bounded(free, generator), y) - target).abs().mean(dim=(1, 2, 3))
            nearer = gap.detach() < nearest
            nearest = torch.where(nearer, gap.detach(), nearest)
            kept = torch.where(nearer[:, None], free.detach(), kept)
            if step < settings.approximation_steps:
                optimiser.zero_grad(set_to_none=True)
                gap.sum().backward()
                optimiser.step()
        best = nearest.view(count, starts).argmin(dim=1)
        rows = torch.arange(count, device=device)
        latents.append(kept.view(count, starts, -1)[rows, best].cpu())
        distances.append(nearest.view(count, starts)[rows, best].cpu() * 127.5)
        best_start.append(best.cpu())
    return torch.cat(latents), torch.cat(distances).numpy(), torch.cat(best_start).numpy()
