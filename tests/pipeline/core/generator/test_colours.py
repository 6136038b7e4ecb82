"""Colours have their usual names, ignore the background, and have a distance between shares."""

import numpy as np
import pytest

from pipeline.core.generator.colours import NAMES, by_class, distance, named, shares


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((10, 12, 14), "black"), ((128, 128, 130), "grey"), ((250, 250, 250), "white"), ((200, 20, 25), "red"),
        ((110, 70, 35), "brown"), ((245, 140, 20), "orange"), ((240, 225, 40), "yellow"), ((40, 140, 60), "green"),
        ((30, 60, 180), "blue"), ((130, 50, 170), "purple"), ((250, 150, 170), "pink"), ((235, 60, 150), "pink"),
    ],
)  # fmt: skip
def test_colours_have_their_usual_names(rgb: tuple[int, int, int], name: str):
    assert NAMES[named(np.full((1, 1, 3), rgb, np.uint8))[0, 0]] == name


def garment(rgb: tuple[int, int, int], background: int = 255) -> np.ndarray:
    picture = np.full((20, 20, 3), background, np.uint8)
    picture[5:15, 6:14] = rgb
    return picture


def test_the_background_does_not_count():
    for background in (255, 0, 120):
        assert shares(garment((200, 20, 25), background)[None])[NAMES.index("red")] == 1


def test_a_picture_of_only_background_counts_whole():
    assert shares(np.full((1, 8, 8, 3), 255, np.uint8))[NAMES.index("white")] == 1


def test_shares_are_means_over_pictures_not_over_pixels():
    small = np.full((20, 20, 3), 255, np.uint8)
    small[9:11, 9:11] = (30, 60, 180)
    found = shares(np.stack([garment((200, 20, 25)), small]))
    assert (found[NAMES.index("red")], found[NAMES.index("blue")]) == (0.5, 0.5)


def test_equal_sets_have_distance_zero_and_disjoint_sets_one():
    red, blue = shares(garment((200, 20, 25))[None]), shares(garment((30, 60, 180))[None])
    assert distance(red, red) == 0
    assert distance(red, blue) == 1
    assert distance(red, (red + blue) / 2) == pytest.approx(0.5)


def test_colours_are_measured_by_class():
    pictures = np.stack([garment((200, 20, 25)), garment((30, 60, 180))])
    found = by_class(pictures, np.array([0, 2]), ("tops", "none of them", "shoes"))
    assert set(found) == {"tops", "shoes"}
    assert found["tops"]["red"] == found["shoes"]["blue"] == 1
