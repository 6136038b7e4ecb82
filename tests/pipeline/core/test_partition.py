"""Partitioned rows: none is lost, their order stays, and their file has no name that a killed process could leave."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.partition import PART, Partitions

SCHEMA = pa.schema({"number": pa.int64(), "text": pa.string()})


def rows(numbers: list[int], parts: list[int], at_once: int = 3) -> pa.RecordBatchReader:
    table = pa.table({"number": numbers, "text": [f"é{n}" for n in numbers], PART: pa.array(parts, pa.uint16())})
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=at_once))


@pytest.mark.parametrize("parts", [4, 6])
def test_every_row_goes_to_its_partition_in_order_and_a_partition_may_have_none(parts, tmp_path):
    drawn = np.random.default_rng(0).choice([0, 1, 3], 100).tolist()
    with Partitions(parts, SCHEMA, tmp_path) as partitions:
        partitions.add(rows(list(range(70)), drawn[:70]))
        partitions.add(rows(list(range(70, 100)), drawn[70:]))
        for _ in range(2):  # they can be read again
            found = [part.to_pydict() for part in partitions]
            expected = [[number for number in range(100) if drawn[number] == part] for part in range(parts)]
            assert found == [{"number": of_part, "text": [f"é{n}" for n in of_part]} for of_part in expected]


def test_no_rows_are_no_rows_of_every_partition():
    with Partitions(2, SCHEMA) as partitions:
        partitions.add(rows([], []))
        assert [(len(part), part.schema) for part in partitions] == [(0, SCHEMA)] * 2


def test_a_partition_outlives_the_file(tmp_path):
    with Partitions(2, SCHEMA, tmp_path) as partitions:
        partitions.add(rows([1, 2, 3], [0, 1, 0]))
        kept = list(partitions)
        assert not list(tmp_path.iterdir())
    assert [part["number"].to_pylist() for part in kept] == [[1, 3], [2]]
