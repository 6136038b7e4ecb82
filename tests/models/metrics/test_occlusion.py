"""The occlusion map shows where a score comes from, with its sign, and ignores empty background."""

import numpy as np
import pytest
import torch
from torch import nn

from models.metrics.occlusion import PATCHES, border_colour, occlusion

SIDE = 56  # eight pixels a cell
WHITE = 255


class Reds(nn.Module):
    """Phi with two factors: the redness of the upper left quarter and of the lower right quarter."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        red = pictures[:, 0] - pictures[:, 1]
        half = SIDE // 2
        return torch.stack([red[:, :half, :half].mean((1, 2)), red[:, half:, half:].mean((1, 2))], 1)


def red_square(top: int, left: int) -> torch.Tensor:
    picture = torch.full((1, SIDE, SIDE, 3), WHITE, dtype=torch.uint8)
    picture[0, top : top + 8, left : left + 8, 1:] = 0
    return picture


def test_the_map_is_positive_only_where_the_score_comes_from():
    heat = occlusion(Reds(), torch.tensor([1.0, 0.0]), red_square(16, 16))[0]
    assert heat.shape == (PATCHES + 1, PATCHES + 1)
    assert np.unravel_index(heat.argmax(), heat.shape) == (2, 2)
    assert heat[4:, 4:].tolist() == np.zeros((3, 3)).tolist()  # white under white: nothing was taken away


def test_the_map_is_negative_where_the_user_dislikes_the_picture():
    heat = occlusion(Reds(), torch.tensor([-1.0, 0.0]), red_square(16, 16))[0]
    assert heat.min() < 0 and heat.max() <= 0


def test_the_map_is_0_where_the_user_is_indifferent():
    assert not occlusion(Reds(), torch.tensor([1.0, 0.0]), red_square(40, 40)).any()


def test_a_patch_over_all_colour_removes_the_whole_score():
    picture, theta = red_square(16, 16), torch.tensor([1.0, 0.0])
    whole = float(Reds()(picture.permute(0, 3, 1, 2).float().sub(127.5).div(127.5)) @ theta)
    assert occlusion(Reds(), theta, picture)[0, 2, 2] == pytest.approx(whole, rel=1e-5)


def test_the_batch_size_does_not_change_the_maps():
    pictures, theta = torch.cat([red_square(16, 16), red_square(0, 0)]), torch.tensor([1.0, 0.5])
    together = occlusion(Reds(), theta, pictures, batch=5)
    for number in range(2):
        assert np.allclose(together[number], occlusion(Reds(), theta, pictures[number : number + 1])[0])


def test_the_patch_has_the_most_common_colour_of_the_border():
    picture = red_square(0, 0)[0]
    assert border_colour(picture).tolist() == [WHITE, WHITE, WHITE]


def test_pictures_that_are_not_uint8_squares_are_refused():
    with pytest.raises(ValueError, match=r"uint8 \[n, S, S, 3\]"):
        occlusion(Reds(), torch.ones(2), torch.zeros(1, 8, 9, 3, dtype=torch.uint8))
