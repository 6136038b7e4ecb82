"""Tables between assets: written atomically, and only with their schema."""

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from pipeline.core import schemas
from pipeline.core.errors import InputError
from pipeline.home.io_managers import SCHEMAS, ParquetTables, conform
from pipeline.home.partitions import image_modes


def users(*names: str) -> pa.Table:
    return pa.table({"user": pa.array(range(len(names)), pa.int32()), "reviewer_id": list(names)}, schema=schemas.USERS)


@pytest.fixture
def tables(tmp_path: Path) -> ParquetTables:
    return ParquetTables(base_path=UPath(tmp_path / "tables"))


def store(tables: ParquetTables, name: str, table: pa.Table, partition: str | None = None) -> None:
    context = dg.build_output_context(
        asset_key=dg.AssetKey(name),
        partition_key=partition,
        asset_partitions_def=image_modes if partition else None,
    )
    tables.handle_output(context, table)


def test_a_loaded_table_equals_the_stored_one(tables: ParquetTables):
    store(tables, "users", users("ann", "bo"))
    context = dg.build_input_context(asset_key=dg.AssetKey("users"), upstream_output=dg.build_output_context())
    assert tables.load_input(context).equals(users("ann", "bo"))


def test_a_partition_is_a_file_in_its_assets_folder(tables: ParquetTables, tmp_path: Path):
    store(tables, "splits", schemas.SPLITS.empty_table(), "vendor_all")
    assert (tmp_path / "tables" / "splits" / "vendor_all.parquet").is_file()


def test_a_table_without_a_schema_is_refused_and_says_where_to_add_it(tables: ParquetTables, tmp_path: Path):
    with pytest.raises(ValueError, match=r"brand_counts has no schema: add it to SCHEMAS in pipeline/home/io_managers"):
        store(tables, "brand_counts", users("ann"))
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_failed_write_leaves_only_the_old_table(tables, tmp_path, monkeypatch):
    store(tables, "users", users("ann"))

    def fails(table: pa.Table, where: str, **_: object) -> None:
        Path(where).write_bytes(b"half of a table")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", fails)
    with pytest.raises(OSError, match="No space left"):
        store(tables, "users", users("ann", "bo"))
    monkeypatch.undo()
    folder = tmp_path / "tables"
    assert [path.name for path in folder.iterdir()] == ["users.parquet"]
    assert pq.read_table(folder / "users.parquet").equals(users("ann"))


def test_a_table_that_does_not_match_its_schema_is_not_written(tables: ParquetTables, tmp_path: Path):
    with pytest.raises(ValueError, match="reviewer_id is missing"):
        store(tables, "users", users("ann").drop_columns("reviewer_id"))
    assert not list((tmp_path / "tables").rglob("*")) if (tmp_path / "tables").exists() else True


def test_a_table_of_another_version_is_refused_and_names_the_asset_to_materialise(
    tables: ParquetTables, tmp_path: Path
):
    path = tmp_path / "tables" / "splits" / "vendor_all.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(schemas.SPLITS.empty_table().drop_columns("sha256"), path)
    context = dg.build_input_context(
        asset_key=dg.AssetKey("splits"),
        upstream_output=dg.build_output_context(),
        asset_partitions_def=image_modes,
        asset_partition_key_range=dg.PartitionKeyRange("vendor_all", "vendor_all"),
    )
    with pytest.raises(InputError, match=r"column sha256 is missing: .* materialise splits\[vendor_all\] again"):
        tables.load_input(context)


def test_one_error_lists_all_problems_of_a_table():
    table = pa.table({"user": pa.array([1, None], pa.int64()), "name": ["ann", "bo"]})
    with pytest.raises(ValueError) as caught:
        conform("users", table)
    for problem in (
        "table users:",
        "column reviewer_id is missing",
        "column name is not in the schema",
        "column user is int64, expected int32",
        "column user has 1 nulls, expected none",
    ):
        assert problem in str(caught.value)


def test_columns_follow_the_schemas_order():
    assert conform("users", users("ann").select(["reviewer_id", "user"])).equals(users("ann"))


def test_triplets_may_have_any_number_of_negatives():
    table = schemas.triplets(3).empty_table()
    assert conform("triplets", table).schema.equals(schemas.triplets(3))


def test_every_table_asset_has_a_schema():
    from pipeline.build import build_definitions

    graph = build_definitions().resolve_asset_graph()
    kinds = {key.to_user_string(): graph.get(key).kinds for key in graph.get_all_asset_keys()}
    assert {name for name, kind in kinds.items() if "parquet" in kind} == {*SCHEMAS, "triplets"}
