"""Tables between assets: Parquet with an explicit schema, written to a temporary file and renamed into place.

A table that does not match its schema in `core/schemas.py` fails when it is written, not later when it is read.
Models, pictures and pages are separate files (`storage.py`).
"""

from pathlib import Path

import dagster as dg
import pyarrow as pa
from upath import UPath

from pipeline.core import parquet as pq
from pipeline.core import schemas
from pipeline.core.dataset import extent
from pipeline.core.durable import make_private, write_whole
from pipeline.core.errors import InputError, TableMissingError
from pipeline.core.generator import garment_classes
from pipeline.core.tables import StoredTable

# Keys of a table's schema metadata that are stored with it.
CARRIED = (garment_classes.CARRIED, extent.CARRIED)
SCHEMAS: dict[str, pa.Schema] = {
    "reviews": schemas.REVIEWS,
    "products": schemas.PRODUCTS,
    "customers": schemas.CUSTOMERS,
    "rejects": schemas.REJECTS,
    "interactions": schemas.INTERACTIONS,
    "users": schemas.USERS,
    "items": schemas.ITEMS,
    "image_urls": schemas.IMAGE_URLS,
    "image_ledger": schemas.IMAGE_LEDGER,
    "near_duplicates": schemas.NEAR_DUPLICATES,
    "catalogue": schemas.CATALOGUE,
    "splits": schemas.SPLITS,
    "recommender_evaluation": schemas.RECOMMENDER_EVALUATION,
    "recommendations": schemas.RECOMMENDATIONS,
    "recommender_comparison": schemas.RECOMMENDER_COMPARISON,
    "garments": schemas.GARMENTS,
    "personal_designs": schemas.DESIGNS,
    "design_steps": schemas.DESIGN_STEPS,
    "restyled_products": schemas.DESIGNS,
}


def schema_of(name: str) -> pa.Schema:
    """Return the schema of an asset's table. Raises ValueError, with the fix, if SCHEMAS does not list the asset."""
    if name not in SCHEMAS:
        raise ValueError(
            f"table {name} has no schema: add it to SCHEMAS in pipeline/home/io_managers.py, with a schema from "
            "pipeline/core/schemas.py"
        )
    return SCHEMAS[name]


def conform(name: str, table: pa.Table) -> pa.Table:
    """Convert a table to its schema's columns, order and types; keep its metadata on garment classes and extent.

    Raises:
        ValueError: the table has no schema; or a column is missing, of another type, or null where the schema forbids
            it, all problems at once.
    """
    if name == "triplets":
        negatives = table.schema.field("negative").type
        schema = schemas.triplets(negatives.list_size)
    else:
        schema = schema_of(name)
    problems = [f"column {field.name} is missing" for field in schema if field.name not in table.column_names]
    problems += [f"column {column} is not in the schema" for column in table.column_names if column not in schema.names]
    for field in schema:
        if field.name in table.column_names:
            column = table.column(field.name)
            if column.type != field.type:
                problems.append(f"column {field.name} is {column.type}, expected {field.type}")
            if not field.nullable and column.null_count:
                problems.append(f"column {field.name} has {column.null_count} nulls, expected none")
    if problems:
        raise ValueError(f"table {name}: " + "; ".join(problems))
    converted = table.select(schema.names).cast(schema)
    carried = {key: value for key, value in (table.schema.metadata or {}).items() if key in CARRIED}
    return converted.replace_schema_metadata(carried) if carried else converted


def read_table(path: Path, asset: str) -> pa.Table:
    """Read a table of the home. Raises InputError naming the file and its asset if it is damaged."""
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # an error of the disk, not of the file
        raise InputError(
            f"{path}: cut off or damaged ({path.stat().st_size:,} bytes): delete it and materialise {asset} again, or "
            "restore it."
        ) from error


class ParquetTables(dg.UPathIOManager):
    """Loads and stores tables under the home's `tables/`, as pyarrow tables or as files (StoredTable)."""

    extension = ".parquet"

    def dump_to_path(self, context: dg.OutputContext, obj: pa.Table | StoredTable, path: UPath) -> None:
        """Write a table atomically, or move a StoredTable's file from elsewhere in the home."""
        name = context.asset_key.path[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(obj, StoredTable):
            found = pq.read_schema(obj.path)
            if not found.equals(schema := schema_of(name)):
                raise ValueError(f"table {name}: {obj.path} has the columns {found}, expected {schema}")
            obj.path.replace(str(path))
            return
        table = conform(name, obj)
        # For its owner alone: several hold addresses with signatures, all of them people.
        write_whole(
            Path(str(path)), lambda temporary: pq.write_table(table, str(make_private(temporary)), compression="zstd")
        )

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pa.Table | StoredTable:
        """Read a table, or return its file if the asset asks for a StoredTable.

        Raises:
            TableMissingError: its asset was never materialised.
            InputError: another version wrote it with other columns, or it is damaged.
        """
        asset = context.asset_key.to_user_string() + (f"[{path.stem}]" if context.has_asset_partitions else "")
        if not path.is_file():
            raise TableMissingError(f"{path} is missing: materialise {asset} first.")
        if _requested_type(context) is StoredTable:
            return StoredTable(Path(str(path)), schema_of(context.asset_key.path[-1]))
        try:
            return conform(context.asset_key.path[-1], read_table(Path(str(path)), asset))
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{path}: {error}: another version wrote it, so materialise {asset} again.") from error


def _requested_type(context: dg.InputContext) -> object:
    """Return the type that the loading asset annotates, or None."""
    try:
        return context.dagster_type.typing_type
    except dg.DagsterInvariantViolationError:
        return None
