"""Metadata of assets: digests of content, plain numbers, pictures small enough for the event log."""

import numpy as np
import pyarrow as pa

from pipeline.core.tables import table_digest
from pipeline.views.metadata import THUMBNAIL_BYTES, table_output, thumbnail
from pipeline.views.sheets import contact_sheet, grid, stack

TABLE = pa.table({"user": pa.array([1, 2, 3], pa.int32()), "name": ["a", None, "c"]})


def test_a_digest_depends_on_the_rows_and_not_on_chunks_or_file_metadata():
    chunked = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    assert table_digest(chunked) == table_digest(TABLE) == table_digest(TABLE.replace_schema_metadata({"by": "us"}))


def test_another_row_order_type_or_value_changes_the_digest():
    others = [
        TABLE.take([2, 1, 0]),
        TABLE.set_column(0, "user", TABLE["user"].cast(pa.int64())),
        TABLE.set_column(1, "name", pa.array(["a", "", "c"])),
        TABLE.slice(0, 2),
    ]
    assert len({table_digest(table) for table in [TABLE, *others]}) == 5


def test_a_slice_has_the_digest_of_the_rows_it_shows():
    assert table_digest(TABLE.slice(1, 2)) == table_digest(TABLE.take([1, 2]))


def test_a_table_output_has_its_row_count_and_its_digest_as_version():
    made = table_output(TABLE, share=np.float32(0.5), counts={"a": np.int64(2)}, missing=None)
    assert made.metadata["dagster/row_count"].value == 3
    assert made.metadata["share"].value == 0.5 and made.metadata["counts"].value == {"a": 2}
    assert "missing" not in made.metadata
    assert made.data_version.value == table_digest(TABLE)


def test_a_thumbnail_of_noise_still_fits_the_event_log():
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), np.uint8)
    assert len(thumbnail(noise).value) < THUMBNAIL_BYTES


def test_a_grid_shows_every_picture_once_row_by_row():
    pictures = np.stack([np.full((4, 6, 3), n, np.uint8) for n in (10, 20, 30)])
    sheet = grid(pictures, columns=2, gap=2)
    assert sheet.shape == (14, 18, 3)
    assert [sheet[3, 3, 0], sheet[3, 11, 0], sheet[9, 3, 0], sheet[9, 11, 0]] == [10, 20, 30, 255]


def test_sheets_accept_fewer_pictures_than_they_have_room_for():
    assert contact_sheet(np.zeros((1, 8, 8, 3), np.uint8)).shape == (12, 12, 3)
    assert stack([np.zeros((4, 9, 3), np.uint8), np.zeros((2, 5, 3), np.uint8)], gap=1).shape == (8, 9, 3)
