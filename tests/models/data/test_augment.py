"""DiffAugment is repeatable and differentiable, and each change does what its name says."""

import numpy as np
import pytest
import torch

from models.data import augment_policy
from models.data.augment import CHANGES, adapted, diff_augment
from models.data.augment_policy import check_policy


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 6, side: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=noise(9)) * 2 - 1


def test_no_policy_changes_nothing() -> None:
    assert torch.equal(diff_augment(pictures(), "", noise()), pictures())


def test_the_policy_names_and_the_implemented_changes_are_the_same() -> None:
    assert tuple(CHANGES) == augment_policy.CHANGES


@pytest.mark.parametrize("change", list(CHANGES))
def test_the_same_noise_gives_the_same_change_and_other_noise_another(change: str) -> None:
    first = diff_augment(pictures(), change, noise(1))
    assert torch.equal(first, diff_augment(pictures(), change, noise(1)))
    assert not torch.equal(first, diff_augment(pictures(), change, noise(2)))
    assert first.shape == pictures().shape


@pytest.mark.parametrize("change", list(CHANGES))
def test_gradients_reach_the_picture_through_every_change(change: str) -> None:
    x = pictures().requires_grad_()
    diff_augment(x, change, noise()).square().sum().backward()
    assert x.grad is not None
    assert (x.grad.flatten(1).abs().sum(dim=1) > 0).all()


def test_translation_shifts_by_whole_pixels_and_fills_with_mid_grey() -> None:
    x = pictures(8, 16)
    moved = diff_augment(x, "translation", noise(3)).numpy()
    for before, after in zip(x.numpy(), moved, strict=True):
        padded = np.pad(before, ((0, 0), (2, 2), (2, 2)))  # an eighth of 16
        candidates = [padded[:, i : i + 16, j : j + 16] for i in range(5) for j in range(5)]
        assert any(np.array_equal(after, candidate) for candidate in candidates)


def test_cutout_blanks_one_square_of_at_most_half_the_side() -> None:
    x = torch.ones(40, 3, 16, 16)
    holes = (diff_augment(x, "cutout", noise()) == 0).all(dim=1)  # [B, 16, 16]
    heights, widths = holes.any(dim=2).sum(dim=1), holes.any(dim=1).sum(dim=1)
    assert (holes.sum(dim=(1, 2)) == heights * widths).all()  # a rectangle
    assert heights.max() <= 8
    assert heights.min() >= 1


def test_colour_changes_are_the_same_for_every_pixel_of_a_picture() -> None:
    flat = torch.rand(5, 3, 1, 1, generator=noise(4)).expand(5, 3, 8, 8)
    changed = diff_augment(flat, "color", noise(5))
    assert torch.allclose(changed, changed[:, :, :1, :1].expand_as(changed), atol=1e-5)


def test_the_probability_is_the_share_of_pictures_that_change() -> None:
    x = pictures(400, 4)
    never, half, always = (diff_augment(x, "color", noise(2), torch.tensor(p)) for p in (0.0, 0.5, 1.0))
    assert torch.equal(never, x)
    assert torch.equal(always, diff_augment(x, "color", noise(2)))
    same = (half == x).flatten(1).all(dim=1)
    assert 0.4 < same.float().mean() < 0.6
    assert torch.equal(half[~same], always[~same])


def test_the_probability_follows_the_overfitting_share_in_a_hand_computed_case() -> None:
    def after(real: float, fake: float, watched: float) -> float:
        outputs = [torch.tensor(value) for value in (real, fake, watched)]
        return adapted(torch.tensor(0.25), *outputs, target=0.5, move=0.125).item()

    assert after(0.75, 0.25, 0.75) == 0.125  # share 0
    assert after(0.75, 0.25, 0.375) == 0.375  # share 0.75
    assert after(0.25, 0.75, 0.0) == 0.125  # tells nothing apart: nothing learnt by heart
    full, none = (
        adapted(torch.tensor(p), *map(torch.tensor, (1.0, 0.0, w)), 0.5, 0.5).item()
        for p, w in ((0.9, 0.0), (0.1, 1.0))
    )
    assert (full, none) == (1, 0)


def test_the_error_for_an_unknown_change_lists_the_allowed_ones() -> None:
    with pytest.raises(ValueError, match=r"augment names zoom; allowed.*translation"):
        check_policy("color,zoom")
