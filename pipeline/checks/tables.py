"""Check every stored table against its schema.

The io manager refuses a wrong table when it is written. These checks read the file itself, because a restore, another
version or a person may have changed it since. Rules between tables belong in `dataset.py`.
"""

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import parquet as pq
from pipeline.core import schemas
from pipeline.home.io_managers import SCHEMAS
from pipeline.home.partitions import image_modes
from pipeline.home.storage import Storage
from pipeline.runtime.summary import LatestMetadata

BY_MODE = ("catalogue", "splits", "triplets", "recommender_evaluation", "recommendations")
# Table -> the columns of its unique key.
KEYS = {
    "reviews": ("review_id",),
    "products": ("asin",),
    "customers": ("reviewer_id",),
    "interactions": ("user", "item"),
    "users": ("reviewer_id",),
    "items": ("asin",),
    "image_ledger": ("url",),
    "near_duplicates": ("bank_row",),
    "catalogue": ("image",),
    "recommender_evaluation": ("user", "model", "split"),
    "recommendations": ("user", "rank"),
    "recommender_comparison": ("mode", "model", "split"),
    "garments": ("garment",),
}
# (table, column) -> the values that the column may have.
CLOSED = {
    ("image_urls", "source"): schemas.SOURCES,
    ("image_ledger", "status"): schemas.STATUSES,
    ("image_ledger", "reason"): schemas.REASONS,
    ("catalogue", "source"): schemas.SOURCES,
    ("splits", "split"): schemas.SPLIT_NAMES,
    ("garments", "source"): schemas.SOURCES,
}


def _check(name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=name,
        name="is_as_its_schema_says",
        partitions_def=image_modes if name in BY_MODE else None,
        blocking=True,
        description="The stored file has the schema's columns, types and nulls, all rows, unique keys and known words.",
    )
    def check(context: dg.AssetCheckExecutionContext, storage: Storage) -> dg.AssetCheckResult:
        mode = context.partition_key if name in BY_MODE else None
        path = storage.tables / (f"{name}/{mode}.parquet" if mode else f"{name}.parquet")
        rows = LatestMetadata(context.instance).of(name, mode).get("dagster/row_count")
        return validate(name, path, None if name == "customers" else rows)  # an erasure takes out rows at once

    return check


def validate(name: str, path: Path, expected_rows: int | None) -> dg.AssetCheckResult:
    """Compare the file at `path` with the schema of table `name`, and its row count with the materialisation's."""
    try:
        found = pq.read_schema(path)
        rows = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowInvalid) as error:
        return dg.AssetCheckResult(passed=False, metadata={"file": str(path), "cannot_be_read": str(error)})
    expected = _expected(name, found)
    wrong = {
        "missing_columns": sorted(set(expected.names) - set(found.names)),
        "columns_of_no_schema": sorted(set(found.names) - set(expected.names)),
        "other_types": [
            f"{field.name}: {_type_name(found.field(field.name))}, expected {_type_name(field)}"
            for field in expected
            if field.name in found.names and not found.field(field.name).equals(field)
        ],
        "unknown_words": [],
        "rows_with_a_key_twice": 0,
    }
    if not any(wrong.values()):
        wrong["unknown_words"] = _unknown_words(name, path)
        wrong["rows_with_a_key_twice"] = _repeated(name, path, rows)
    wrong["rows_not_as_materialised"] = 0 if expected_rows in (None, rows) else rows - expected_rows
    return dg.AssetCheckResult(
        passed=not any(wrong.values()),
        metadata={"rows": rows, "columns": len(found), **wrong, "expected_of_each": "none"},
    )


def _expected(name: str, found: pa.Schema) -> pa.Schema:
    if name != "triplets":
        return SCHEMAS[name]
    negatives = found.field("negative").type if "negative" in found.names else None
    return schemas.triplets(negatives.list_size if isinstance(negatives, pa.FixedSizeListType) else 1)


def _type_name(field: pa.Field) -> str:
    return str(field.type) + ("" if field.nullable else " without nulls")


def _unknown_words(name: str, path: Path) -> list[str]:
    unknown = []
    for (table, column), words in CLOSED.items():
        if table == name:
            values = pc.unique(pq.read_table(path, columns=[column])[column]).to_pylist()
            unknown += [f"{column}: {value!r}" for value in values if value not in words]
    return unknown


def _repeated(name: str, path: Path, rows: int) -> int:
    if name not in KEYS:
        return 0
    keys = pq.read_table(path, columns=list(KEYS[name]))
    return rows - keys.group_by(list(KEYS[name])).aggregate([]).num_rows


checks = [_check(name) for name in (*SCHEMAS, "triplets")]
