"""Sheets of pictures: nothing is cropped or distorted, small pictures are enlarged, each group has its own row."""

import numpy as np

from pipeline.views import sheets


def flat(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_a_framed_picture_fills_its_frame_without_distortion():
    for height, width in ((50, 25), (400, 200)):
        frame = sheets.framed(flat(height, width, 10), 40)
        rows, columns = np.nonzero((frame < 128).all(2))
        assert frame.shape == (40, 40, 3)
        assert (rows.min(), rows.max()) == (0, 39)
        assert (columns.min(), columns.max()) == (10, 29)


def test_a_picture_one_pixel_wide_is_still_visible():
    assert (sheets.framed(flat(300, 1, 10), 40) < 255).any()


def test_each_group_has_a_row_of_at_most_the_given_number_of_pictures():
    groups = [np.stack([flat(8, 8, 10)] * 5), np.stack([flat(8, 8, 90)] * 2)]
    sheet = sheets.rows_of(groups, columns=3, side=8, gap=6)
    dark = [int((sheet == value).all(2).sum()) for value in (10, 90)]
    assert dark == [3 * 64, 2 * 64]
    assert np.nonzero((sheet == 10).all(2))[0].max() < np.nonzero((sheet == 90).all(2))[0].min()
