"""Rows dealt out to files: none is lost, their order stays, and a file is what its last writer made it."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.partition import PART, deal, dealt


def rows(numbers: list[int], parts: list[int], at_once: int = 3) -> pa.RecordBatchReader:
    table = pa.table({"number": numbers, "text": [f"é{n}" for n in numbers], PART: pa.array(parts, pa.uint16())})
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=at_once))


def test_every_row_goes_to_its_part_in_order_and_a_part_may_have_none(tmp_path):
    parts = np.random.default_rng(0).choice([0, 1, 3], 100).tolist()
    deal(rows(list(range(100)), parts), tmp_path / "x.arrow", parts=4)
    for part in range(4):
        expected = [number for number in range(100) if parts[number] == part]
        found = dealt(tmp_path / "x.arrow", part, parts=4)
        assert found.to_pydict() == {"number": expected, "text": [f"é{n}" for n in expected]}


def test_no_rows_are_no_rows_of_every_part(tmp_path):
    deal(rows([], []), tmp_path / "x.arrow", parts=2)
    assert [len(dealt(tmp_path / "x.arrow", part, parts=2)) for part in (0, 1)] == [0, 0]


def test_a_file_is_written_anew(tmp_path):
    deal(rows([1, 2, 3, 4], [0, 0, 1, 1]), tmp_path / "x.arrow", parts=2)
    deal(rows([5], [1]), tmp_path / "x.arrow", parts=2)
    assert [dealt(tmp_path / "x.arrow", part, parts=2)["number"].to_pylist() for part in (0, 1)] == [[], [5]]


def test_a_file_that_is_missing_or_cut_short_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        dealt(tmp_path / "x.arrow", 0, parts=2)
    deal(rows([1, 2, 3, 4], [0, 0, 1, 1]), tmp_path / "x.arrow", parts=2)
    whole = (tmp_path / "x.arrow").read_bytes()
    (tmp_path / "x.arrow").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(pa.ArrowInvalid):
        dealt(tmp_path / "x.arrow", 0, parts=2)
