"""What was made from a part of a shop says which part, in words and in the file."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core import schemas
from pipeline.core.dataset.extent import Extent, carrying, extent_of, recorded
from pipeline.home.io_managers import conform

SAMPLED = Extent(5, users=10_000, of_users=1_234_567, seed=0)


@pytest.mark.parametrize(
    ("extent", "label"),
    [
        (Extent(), ""),
        (Extent(3), "k = 3"),
        (Extent(iterative=True), "k = 5 for users and items"),
        (SAMPLED, "sample: 10,000 of 1,234,567 users (seed 0), k = 5"),
    ],
)
def test_the_label_names_what_is_not_the_whole_shop_with_five_items(extent: Extent, label: str):
    assert extent.label == label
    assert extent.tags() == ({"data.extent": label} if label else {})


def test_parameters_have_the_sample_only_if_one_was_drawn():
    assert Extent(3).parameters() == {"data.k": 3}
    drawn = {"data.sample_users": 10_000, "data.of_users": 1_234_567, "data.sample_seed": 0}
    assert SAMPLED.parameters() == {"data.k": 5, **drawn}


def test_a_table_of_the_home_keeps_its_extent_on_disk(tmp_path: Path):
    extent = dataclasses.replace(SAMPLED, modes=("vendor_single",))
    table = carrying(pa.table({"user": [0], "item": [1], "time": [2]}, schema=schemas.INTERACTIONS), extent)
    pq.write_table(conform("interactions", table), tmp_path / "interactions.parquet")
    assert recorded(pq.read_table(tmp_path / "interactions.parquet")) == extent
    assert Extent.of(extent.plain()) == extent


def test_a_table_of_an_earlier_version_is_everything_with_the_methods_k():
    table = schemas.INTERACTIONS.empty_table()
    assert recorded(table) is None and extent_of(table, 3) == Extent(3)
    assert recorded(carrying(table, None)) is None
    assert Extent.of(None) == Extent()
