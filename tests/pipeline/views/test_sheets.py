"""Sheets of pictures: nothing is cut off or squashed, small pictures are enlarged, groups keep to their row."""

import numpy as np

from pipeline.views import sheets


def flat(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_a_framed_picture_fills_its_frame_in_its_own_shape():
    for height, width in ((50, 25), (400, 200)):
        frame = sheets.framed(flat(height, width, 10), 40)
        rows, columns = np.nonzero((frame < 128).all(2))
        assert frame.shape == (40, 40, 3)
        assert (rows.min(), rows.max()) == (0, 39)
        assert (columns.min(), columns.max()) == (10, 29)


def test_a_picture_one_pixel_wide_still_shows():
    assert (sheets.framed(flat(300, 1, 10), 40) < 255).any()


def test_each_group_has_a_row_of_at_most_so_many_pictures():
    groups = [np.stack([flat(8, 8, 10)] * 5), np.stack([flat(8, 8, 90)] * 2)]
    sheet = sheets.rows_of(groups, columns=3, side=8, gap=6)
    dark = [int((sheet == value).all(2).sum()) for value in (10, 90)]
    assert dark == [3 * 64, 2 * 64]
    assert np.nonzero((sheet == 10).all(2))[0].max() < np.nonzero((sheet == 90).all(2))[0].min()
