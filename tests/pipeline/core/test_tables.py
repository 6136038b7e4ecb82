"""Tables are written atomically, and their digest does not depend on the file's layout."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.core import tables
from pipeline.core.tables import StoredTable, concatenated, written

SCHEMA = pa.schema([pa.field("n", pa.int32(), nullable=False), ("names", pa.list_(pa.string()))])


def rows(start, stop):
    names = [[f"name {n}"] * (n % 3) for n in range(start, stop)]
    return pa.table([pa.array(range(start, stop), pa.int32()), names], schema=SCHEMA)


def stored(path, *parts):
    with written(path, SCHEMA) as add:
        for part in parts:
            add(part)
    return StoredTable(path, SCHEMA)


def test_what_was_written_in_parts_is_read_in_order(tmp_path):
    table = stored(tmp_path / "t.parquet", rows(0, 5), rows(5, 5), rows(5, 9))
    assert table.num_rows == 9
    assert table.read().equals(rows(0, 9))
    assert table.read(["n"], where=pc.field("n") > 6)["n"].to_pylist() == [7, 8]


def test_writing_nothing_gives_an_empty_table_with_the_schema(tmp_path):
    table = stored(tmp_path / "t.parquet")
    assert table.read().equals(SCHEMA.empty_table())
    assert list(table.batches()) == []


def test_the_digest_depends_on_the_rows_and_not_on_the_files_layout(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "DIGEST_ROWS", 4)
    one = stored(tmp_path / "one.parquet", rows(0, 11))
    many = stored(tmp_path / "many.parquet", *[rows(n, n + 1) for n in range(11)])
    assert one.digest() == many.digest()
    assert one.digest() != stored(tmp_path / "other.parquet", rows(0, 10)).digest()
    assert [part.num_rows for part in many.batches(4)] == [4, 4, 3]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "t.parquet"
    stored(path, rows(0, 3))
    with pytest.raises(RuntimeError, match="in the middle"), written(path, SCHEMA) as add:
        add(rows(0, 100))
        raise RuntimeError("in the middle")
    assert [file.name for file in tmp_path.iterdir()] == ["t.parquet"]
    assert pq.read_table(path).num_rows == 3


def test_a_null_where_the_schema_has_none_is_refused(tmp_path):
    with pytest.raises((ValueError, pa.ArrowInvalid)), written(tmp_path / "t.parquet", SCHEMA) as add:
        add(pa.table({"n": pa.array([1, None], pa.int32()), "names": pa.array([[], []], pa.list_(pa.string()))}))
    assert list(tmp_path.iterdir()) == []


def test_tables_are_concatenated_in_order(tmp_path):
    both = concatenated([stored(tmp_path / "a", rows(0, 3)), stored(tmp_path / "b", rows(3, 4))], tmp_path / "c")
    assert both.read().equals(rows(0, 4))
