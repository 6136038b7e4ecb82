"""Digests in the footer notice a flipped bit wherever it lies in a part of the ledger, and one that was edited."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.core import schemas
from pipeline.core.column_digests import KEY, with_digests
from pipeline.core.errors import DamagedFileError
from pipeline.core.images.ledger import read_part, write_part
from tests.pipeline.core.test_digests import flip

NOON = datetime(2026, 1, 1, tzinfo=UTC)


def ledger(rows: int = 40) -> pa.Table:
    made = [
        (f"http://h/{n}", "gone", "http_404", 404, 1, None, None, None, None, None, None, NOON)
        if n % 3
        else (f"http://h/{n}", "ok", "ok", 200, 1, f"{n:064x}", "JPEG", n + 20, 30, 4000 + n, f'"{n}"', NOON)
        for n in range(rows)
    ]
    return pa.table([list(column) for column in zip(*made, strict=True)], schema=schemas.IMAGE_LEDGER)


def test_a_flipped_bit_anywhere_is_noticed_or_changes_no_value(tmp_path: Path):
    path, table, noticed = tmp_path / "ledger-000001.parquet", ledger(), 0
    write_part(path, table)
    size, positions = path.stat().st_size, random.Random(0)
    for _ in range(400):
        at, bit = positions.randrange(size), positions.randrange(8)
        flip(path, at, bit)
        try:
            assert read_part(path).equals(table), (at, bit)
        except (DamagedFileError, OSError):
            noticed += 1
        flip(path, at, bit)
    assert noticed > 200 and read_part(path).equals(table)


def test_another_value_under_good_checksums_is_named_with_its_column_and_mend(tmp_path: Path):
    path, table = tmp_path / "ledger-000001.parquet", with_digests(ledger())
    other = pc.add(table["attempts"], pa.scalar(1, pa.int16()))
    place = table.schema.get_field_index("attempts")
    pq.write_table(table.set_column(place, table.schema.field(place), other), path)
    with pytest.raises(DamagedFileError, match=r"ledger-000001\.parquet: damaged \(attempts\): delete it and"):
        read_part(path)
    assert read_part(path, ["url"]).num_rows == 40  # of the columns that are read


def test_digests_follow_the_values_and_not_how_they_are_chunked_or_what_lies_under_a_null():
    table = ledger()
    pieces = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    holes = pa.array(["a", "b"]).filter(pa.array([True, True]))
    masked = pc.if_else(pa.array([True, False]), holes, None)
    assert with_digests(pieces).schema.metadata[KEY] == with_digests(table).schema.metadata[KEY]
    nulls = [with_digests(pa.table({"x": column})).schema.metadata for column in (masked, pa.array(["a", None]))]
    assert nulls[0] == nulls[1]


def test_a_part_of_an_earlier_version_has_none_and_is_read_as_it_is(tmp_path: Path):
    pq.write_table(ledger(), tmp_path / "ledger-000001.parquet")
    assert read_part(tmp_path / "ledger-000001.parquet").equals(ledger())
