"""DiffAugment (Zhao et al. 2020): random, differentiable changes, applied to real and fake pictures alike.

How often they apply can adapt to the discriminator's overfitting (ADA, Karras et al. 2020). `modern` uses the same
changes on pictures that go through its trunk. All random numbers come from the torch generator that is passed in
(None: torch's own), so that a resumed run repeats them. Changes made to the data before training do not belong here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.data.augment_policy import changes_of
from models.training.ranks import ALONE, Ranks


def diff_augment(
    pictures: Tensor,
    policy: str,
    noise: torch.Generator | None = None,
    probability: Tensor | None = None,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Apply the changes of `policy` in turn to pictures [B, 3, H, W] in [-1, 1]; gradients pass through.

    With a probability (one number), each change is applied to each picture with that probability. If the pictures are
    one rank's equal share of a batch, they change exactly as they would in the whole batch.
    """
    draws = _Draws(noise, ranks)
    for name in changes_of(policy):
        changed = CHANGES[name](pictures, draws)
        if probability is not None:
            (draw,) = draws.uniform(1, pictures).unbind()
            changed = torch.where(draw < probability, changed, pictures)
        pictures = changed
    return pictures


def adapted(probability: Tensor, real: Tensor, fake: Tensor, watched: Tensor, target: float, move: float) -> Tensor:
    """Move the probability by `move`, up or down within [0, 1], to bring the overfitting share closer to `target`.

    `real`, `fake` and `watched` are the discriminator's mean outputs for its training pictures, for fakes, and for
    real pictures that it never trains on. The share is (real - watched) / (real - fake), ADA's r_v: 0 if the
    discriminator generalises to unseen pictures, 1 if unseen real pictures look like fakes to it. If it cannot
    separate real pictures from fakes, it has not overfitted and the share is 0.
    """
    apart = real - fake
    share = torch.where(apart > 0, (real - watched) / apart.clamp(min=1e-6), torch.zeros_like(apart))
    return (probability + move * torch.sign(share - target)).clamp(0, 1)


@dataclass(frozen=True)
class _Draws:
    """Random numbers for a rank's pictures: drawn for the pictures of all ranks, then cut to this rank's share."""

    noise: torch.Generator | None
    ranks: Ranks

    def uniform(self, count: int, pictures: Tensor) -> Tensor:
        """Draw from U(0, 1): [count, B, 1, 1, 1]."""
        rows = len(pictures) * self.ranks.count
        drawn = torch.rand(count, rows, 1, 1, 1, generator=self.noise, device=pictures.device, dtype=torch.float32)
        return drawn[:, self.ranks.share(rows)]

    def shifted(self, side: int, pictures: Tensor) -> Tensor:
        """Draw indices [B, side] into a picture padded by one pixel, shifted by up to an eighth of the side.

        Positions outside the picture read the padding.
        """
        reach, rows = max(1, side // 8), len(pictures) * self.ranks.count
        move = torch.randint(-reach, reach + 1, (rows, 1), generator=self.noise, device=pictures.device)
        move = move[self.ranks.share(rows)]
        return (torch.arange(side, device=pictures.device) + move + 1).clamp_(0, side + 1)


def _color(pictures: Tensor, draws: _Draws) -> Tensor:
    """Change brightness by up to 0.5 either way, saturation by a factor 0 to 2, contrast by a factor 0.5 to 1.5."""
    brightness, saturation, contrast = draws.uniform(3, pictures).unbind()
    pictures = pictures + (brightness - 0.5)
    grey = pictures.mean(dim=1, keepdim=True)
    pictures = (pictures - grey) * (saturation * 2) + grey
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    return (pictures - mean) * (contrast + 0.5) + mean


def _translation(pictures: Tensor, draws: _Draws) -> Tensor:
    """Shift by up to an eighth of the side in each direction, filling with 0 (mid-grey)."""
    batch, _, height, width = pictures.shape
    # Positions outside the picture read a margin of one pixel of 0.
    rows = draws.shifted(height, pictures)
    columns = draws.shifted(width, pictures)
    padded = torch.nn.functional.pad(pictures, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    which = torch.arange(batch, device=pictures.device)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cutout(pictures: Tensor, draws: _Draws) -> Tensor:
    """Set a square of half the side to 0, with its centre anywhere in the picture."""
    batch, _, height, width = pictures.shape
    inside = [
        (torch.arange(side, device=pictures.device) - torch.floor(centre.view(batch, 1) * side)).abs() < side // 4
        for side, centre in zip((height, width), draws.uniform(2, pictures).unbind(), strict=True)
    ]
    hole = inside[0][:, :, None] & inside[1][:, None, :]
    return pictures * (~hole)[:, None].to(pictures.dtype)


def _mirror(pictures: Tensor, draws: _Draws) -> Tensor:
    """Flip half of the pictures horizontally (ours, not DiffAugment's: garments look the same mirrored)."""
    (draw,) = draws.uniform(1, pictures).unbind()
    return torch.where(draw < 0.5, pictures.flip(3), pictures)


def _crop(pictures: Tensor, draws: _Draws) -> Tensor:
    """Crop a random window of 3/4 to 1 of each side and stretch it to full size (ours, not DiffAugment's).

    Bilinear, as two matrix products, because the gradients of torch's grid_sample are not deterministic on a GPU.
    """
    shares, places = draws.uniform(4, pictures)[..., 0, 0, 0].split(2)
    shares = 1 - shares / 4  # [2, B], of height and width
    rows, columns = (
        _stretched(share, place * (1 - share), side)
        for share, place, side in zip(shares, places, pictures.shape[2:], strict=True)
    )
    return torch.einsum("bph,bchw,bqw->bcpq", rows, pictures, columns)


def _stretched(share: Tensor, start: Tensor, side: int) -> Tensor:
    """Compute bilinear weights [B, side, side] of each old pixel in each new one along a side.

    `share` and `start` [B] are the length and the start of the window, as fractions of the side.
    """
    pixel = torch.arange(side, device=share.device)
    read = ((pixel + 0.5) * share[:, None] + start[:, None] * side - 0.5).clamp_(0, side - 1)  # [B, side]
    return (1 - (read[:, :, None] - pixel).abs()).clamp_(min=0)


# Keyed by the names in `augment_policy.CHANGES`.
CHANGES: dict[str, Callable[[Tensor, _Draws], Tensor]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
    "mirror": _mirror,
    "crop": _crop,
}
