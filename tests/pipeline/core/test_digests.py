"""A flipped bit is found in a Parquet page, a model's file, or a row of an array."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import digests
from pipeline.core import parquet as pq
from pipeline.core.errors import DamagedFileError
from pipeline.core.tables import StoredTable, written

TABLE = pa.table({"user": np.arange(3000), "asin": [f"B{n * 7919}" for n in range(3000)]})


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Flip one bit of a file, keeping its date."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ (1 << bit)]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7), st.booleans())
def test_a_table_is_read_as_it_was_written_or_not_at_all(tmp_path_factory, place: float, bit: int, in_blocks: bool):
    path = tmp_path_factory.getbasetemp() / f"t{in_blocks}.parquet"
    if in_blocks:
        with written(path, TABLE.schema) as add:
            add(TABLE)
    else:
        pq.write_table(TABLE, path, compression="zstd")
    flip(path, int(place * path.stat().st_size), bit)
    for reading in (pq.read_table, lambda path: StoredTable(path, TABLE.schema).read()):
        try:
            found = reading(path)
        except (DamagedFileError, ValueError) as error:
            assert not isinstance(error, DamagedFileError) or str(path) in str(error)
        else:
            assert found.equals(TABLE)  # the bit has no meaning, such as one in a page's statistics


def test_damage_names_the_file_and_the_remedy(tmp_path: Path):
    path = tmp_path / "reviews.parquet"
    pq.write_table(TABLE, path, compression="none", use_dictionary=False)
    flip(path, 5000)
    with pytest.raises(DamagedFileError, match=r"reviews\.parquet: damaged .*CRC.*: python -m pipeline\.check says"):
        pq.read_table(path)


def test_a_system_error_is_not_reported_as_damage(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        pq.read_table(tmp_path / "none.parquet")


def test_a_changed_or_missing_file_is_found_by_its_digest(tmp_path: Path):
    path = tmp_path / "best.pt"
    path.write_bytes(bytes(100_000))
    recorded = digests.file_digests(tmp_path, ["best.pt"])
    assert digests.mismatched(tmp_path, recorded) == [] and digests.mismatched(tmp_path, {}) == []
    path.write_bytes(bytes(99_999) + b"\1")
    assert digests.mismatched(tmp_path, recorded) == ["best.pt"]
    path.unlink()
    assert digests.mismatched(tmp_path, recorded) == ["best.pt"]


def test_a_damaged_row_is_found_by_all_rows_or_by_samples(tmp_path: Path):
    path, rows = tmp_path / "a.npy", np.arange(40 * 9, dtype=np.float32).reshape(40, 9)
    np.save(path, rows)
    assert digests.damaged_rows(path, rows) is None  # an earlier version wrote no sums
    digests.write_sums(path, rows)
    assert digests.damaged_rows(path, np.load(path, mmap_mode="r")) == []
    flip(path, path.stat().st_size - 1)
    mapped = np.load(path, mmap_mode="r")
    assert digests.damaged_rows(path, mapped) == [39]
    with pytest.raises(DamagedFileError, match=r"a\.npy: row 39 is damaged: make it again"):
        digests.expect_rows(path, mapped, "make it again")  # fewer rows than samples, so all are checked


def test_appending_rows_keeps_the_sums_of_the_others(tmp_path: Path):
    path, rows = tmp_path / "a.npy", np.arange(12, dtype=np.uint8).reshape(4, 3)
    digests.write_sums(path, rows[:2])
    rows[0, 0] ^= 1  # damaged before rows were appended
    digests.write_sums(path, rows, known=2)
    assert digests.damaged_rows(path, rows) == [0]
