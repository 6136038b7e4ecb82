"""Rows dealt out to files: none is lost, their order stays, and a file is what its last writer made it."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.dealt import PART, deal, dealt


def rows(numbers: list[int], parts: list[int], at_once: int = 3) -> pa.RecordBatchReader:
    table = pa.table({"number": numbers, "text": [f"é{n}" for n in numbers], PART: pa.array(parts, pa.uint16())})
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=at_once))


def test_every_row_goes_to_its_part_in_order_and_a_part_without_rows_is_an_empty_file(tmp_path):
    paths = [tmp_path / f"{part}.arrow" for part in range(4)]
    parts = np.random.default_rng(0).choice([0, 1, 3], 100).tolist()
    deal(rows(list(range(100)), parts), paths)
    for part, path in enumerate(paths):
        expected = [number for number in range(100) if parts[number] == part]
        assert dealt([path]).to_pydict() == {"number": expected, "text": [f"é{n}" for n in expected]}
    together = dealt([paths[3], paths[0]])["number"].to_pylist()
    assert together == dealt([paths[3]])["number"].to_pylist() + dealt([paths[0]])["number"].to_pylist()


def test_files_are_written_anew(tmp_path):
    paths = [tmp_path / "0.arrow", tmp_path / "1.arrow"]
    deal(rows([1, 2, 3, 4], [0, 0, 1, 1]), paths)
    deal(rows([5], [1]), paths)
    assert [dealt([path])["number"].to_pylist() for path in paths] == [[], [5]]


def test_a_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        dealt([tmp_path / "0.arrow"])
