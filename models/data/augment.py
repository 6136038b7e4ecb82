"""DiffAugment (Zhao et al. 2020): the same kind of random, differentiable change for real and fake pictures; and how
often, where that follows from how far the discriminator has begun to know its pictures by heart (Karras et al. 2020).

Also what `modern` changes in pictures that go through its trunk. Every draw comes from the generator that is passed in
(None: torch's own), so that a resumed run repeats it. Changes that are made to the data before training do not belong
here.
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
    """Pictures [B, 3, H, W] in [-1, 1] changed one after the other as `policy` says; gradients pass through.

    With a probability (one number), each change befalls each picture that often, the others staying as they are.
    Where they are one rank's equal share of a batch, they change as they would in the whole one.
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
    """The probability moved by `move` up or down, within [0, 1], so that the overfit share nears `target`.

    The three are the discriminator's mean outputs for pictures it trains on, for fakes, and for real pictures that it
    never trains on. The share is (real - watched) / (real - fake), ADA's r_v: 0 where what it learnt holds for
    pictures it has not seen, 1 where those look as false to it as fakes. A discriminator that tells no real picture
    from a fake has learnt nothing by heart: 0.
    """
    apart = real - fake
    share = torch.where(apart > 0, (real - watched) / apart.clamp(min=1e-6), torch.zeros_like(apart))
    return (probability + move * torch.sign(share - target)).clamp(0, 1)


@dataclass(frozen=True)
class _Draws:
    """Random numbers of a rank's pictures, drawn for those of all ranks."""

    noise: torch.Generator | None
    ranks: Ranks

    def uniform(self, count: int, pictures: Tensor) -> Tensor:
        """U(0, 1) of shape [count, B, 1, 1, 1]."""
        rows = len(pictures) * self.ranks.count
        drawn = torch.rand(count, rows, 1, 1, 1, generator=self.noise, device=pictures.device, dtype=torch.float32)
        return drawn[:, self.ranks.share(rows)]

    def shifted(self, side: int, pictures: Tensor) -> Tensor:
        """Indices [B, side] into a picture padded by one, moved by up to an eighth; what lies outside is the margin."""
        reach, rows = max(1, side // 8), len(pictures) * self.ranks.count
        move = torch.randint(-reach, reach + 1, (rows, 1), generator=self.noise, device=pictures.device)
        move = move[self.ranks.share(rows)]
        return (torch.arange(side, device=pictures.device) + move + 1).clamp_(0, side + 1)


def _color(pictures: Tensor, draws: _Draws) -> Tensor:
    """Brightness by up to 0.5 either way, saturation times 0 to 2, contrast times 0.5 to 1.5."""
    brightness, saturation, contrast = draws.uniform(3, pictures).unbind()
    pictures = pictures + (brightness - 0.5)
    grey = pictures.mean(dim=1, keepdim=True)
    pictures = (pictures - grey) * (saturation * 2) + grey
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    return (pictures - mean) * (contrast + 0.5) + mean


def _translation(pictures: Tensor, draws: _Draws) -> Tensor:
    """Moved by up to an eighth of the side each way; what comes in is 0, mid-grey."""
    batch, _, height, width = pictures.shape
    # What lies outside is read from a margin of one pixel of 0.
    rows = draws.shifted(height, pictures)
    columns = draws.shifted(width, pictures)
    padded = torch.nn.functional.pad(pictures, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    which = torch.arange(batch, device=pictures.device)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cutout(pictures: Tensor, draws: _Draws) -> Tensor:
    """A square of half the side set to 0, its centre anywhere in the picture."""
    batch, _, height, width = pictures.shape
    inside = [
        (torch.arange(side, device=pictures.device) - torch.floor(centre.view(batch, 1) * side)).abs() < side // 4
        for side, centre in zip((height, width), draws.uniform(2, pictures).unbind(), strict=True)
    ]
    hole = inside[0][:, :, None] & inside[1][:, None, :]
    return pictures * (~hole)[:, None].to(pictures.dtype)


def _mirror(pictures: Tensor, draws: _Draws) -> Tensor:
    """Left and right exchanged for half of the pictures (ours, not DiffAugment's: garments have no handedness)."""
    (draw,) = draws.uniform(1, pictures).unbind()
    return torch.where(draw < 0.5, pictures.flip(3), pictures)


def _crop(pictures: Tensor, draws: _Draws) -> Tensor:
    """A window of 3/4 to all of each side, anywhere inside, stretched to the whole (ours, not DiffAugment's).

    Bilinear, as two products of matrices: torch's grid_sample has gradients in no fixed order on a GPU.
    """
    shares, places = draws.uniform(4, pictures)[..., 0, 0, 0].split(2)
    shares = 1 - shares / 4  # [2, B], of height and width
    rows, columns = (
        _stretched(share, place * (1 - share), side)
        for share, place, side in zip(shares, places, pictures.shape[2:], strict=True)
    )
    return torch.einsum("bph,bchw,bqw->bcpq", rows, pictures, columns)


def _stretched(share: Tensor, start: Tensor, side: int) -> Tensor:
    """[B, side, side]: how much each place of a side takes of each old one; share and start [B], of the side."""
    place = torch.arange(side, device=share.device)
    read = ((place + 0.5) * share[:, None] + start[:, None] * side - 0.5).clamp_(0, side - 1)  # [B, side]
    return (1 - (read[:, :, None] - place).abs()).clamp_(min=0)


# By the names of `augment_policy.CHANGES`.
CHANGES: dict[str, Callable[[Tensor, _Draws], Tensor]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
    "mirror": _mirror,
    "crop": _crop,
}
