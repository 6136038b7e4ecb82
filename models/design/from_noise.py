"""Garments for one user, generated from noise: preference maximisation for each user, class and random start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.design.networks import AnyGenerator, AnyRealism
from models.design.preference import PictureTaste, Search, ascend_all, frozen, on_cpu, show, shown_steps
from models.design.settings import DesignSettings
from models.training.progress import Progress


@dataclass(frozen=True)
class Designs:
    """The designs found by `personal_designs`.

    Axes: U users, C classes, S starts, T + 1 steps (step 0 is the start), P shown steps, B designs kept. B is
    `settings.best`, or S if that is smaller; the best design comes first, and only its steps are shown.
    """

    score: np.ndarray  # [U, C, S, T + 1], theta . phi of the picture at that step
    realism: np.ndarray  # [U, C, S, T + 1], D's output: 1 is real, 0 is fake
    objective: np.ndarray  # [U, C, S, T + 1], the value that was maximised
    best: np.ndarray  # [U, C, B], the starts whose last pictures have the highest objective
    shown_step: np.ndarray  # [P], the step of each shown picture
    path: np.ndarray  # [U, C, B, P, z_dim], the latents of the shown steps
    pictures: np.ndarray  # uint8 [U, C, P, 64, 64, 3], of the best start
    kept: np.ndarray  # uint8 [U, C, B, 64, 64, 3], the last picture of each start that is kept
    before: tuple[np.ndarray, np.ndarray]  # score and realism [U, C, B] of the first picture of each, as uint8
    after: tuple[np.ndarray, np.ndarray]  # score and realism [U, C, B] of the last picture, the one in `kept`

    @property
    def gain(self) -> np.ndarray:
        """Compute how much the score of the best design rose from the start to the last step: [U, C]."""
        return (self.after[0] - self.before[0])[..., 0]


def personal_designs(
    generator: AnyGenerator,
    discriminator: AnyRealism,
    recommender: PictureTaste,
    classes: Sequence[int],
    *,
    settings: DesignSettings,
    on_progress: Callable[[Progress], None] | None = None,
) -> Designs:
    """Design garments of each of `classes` for each user of `recommender.theta`, from `settings.starts` random latents.

    For each class, all users start from the same latents, so that designs differ only by the user and do not depend
    on which other users are included. Adam works element by element, so one optimiser over a batch equals a fresh one
    for each user and class. Raises ValueError for a class the generator does not know.
    """
    unknown = [c for c in classes if not 0 <= c < generator.classes]
    if unknown or not len(classes):
        raise ValueError(
            f"classes {unknown or list(classes)} asked for; the generator knows 0 to {generator.classes - 1}"
        )
    taste = on_cpu(recommender)
    users, starts = len(taste.theta), settings.starts
    noise = torch.Generator().manual_seed(settings.seed)
    first = torch.randn(generator.classes, starts, generator.z_dim, generator=noise) * settings.start_sd
    labels = torch.tensor(list(classes))
    # Rows are ordered by user, then class, then start.
    free = first[labels].expand(users, -1, -1, -1).reshape(-1, generator.z_dim)
    row_user = torch.arange(users).repeat_interleave(len(classes) * starts)
    row_label = labels.repeat_interleave(starts).repeat(users)

    search = Search(generator, discriminator, taste, settings)
    axes = (users, len(classes), starts)
    with frozen(generator, discriminator, recommender.phi):
        ascent = ascend_all(search, free, row_label, row_user, on_progress)
        objective = ascent.objective.view(*axes, -1)
        best = objective[..., -1].argsort(dim=2, descending=True, stable=True)[..., : settings.best]  # [U, C, B]
        path = ascent.path.view(*axes, *ascent.path.shape[1:])
        place = torch.arange(users)[:, None, None], torch.arange(len(classes))[None, :, None], best
        path = path[place]  # [U, C, B, P, z_dim]

        def shown(z: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            """Compute pictures, scores and realism of latents [U, C, n, z_dim]."""
            count = z.shape[2]
            y = labels[None, :, None].expand(users, -1, count).reshape(-1)
            user = torch.arange(users).repeat_interleave(len(classes) * count)
            pictures, *figures = show(search, z.reshape(-1, generator.z_dim), y, user)
            score, realism = (x.reshape(z.shape[:3]) for x in figures)
            return pictures.reshape(*z.shape[:3], *pictures.shape[1:]), score, realism

        pictures, _, _ = shown(path[:, :, 0])
        _, *before = shown(path[..., 0, :])
        kept, *after = shown(path[..., -1, :])
    return Designs(
        score=ascent.score.view(*axes, -1).numpy(),
        realism=ascent.realism.view(*axes, -1).numpy(),
        objective=objective.numpy(),
        best=best.numpy(),
        shown_step=np.array(shown_steps(settings)),
        path=path.numpy(),
        pictures=pictures,
        kept=kept,
        before=(before[0], before[1]),
        after=(after[0], after[1]),
    )
