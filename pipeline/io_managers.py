"""Tables between assets: Parquet with an explicit schema, written beside and renamed into place.

A table that does not fit its schema in `core/schemas.py` is an error here, at the writer, not later at a reader.
Models, pictures and pages are files of their own (`storage.py`) and do not pass through this.
"""

import os

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from pipeline.core import schemas
from pipeline.core.sources import BadInput

SCHEMAS: dict[str, pa.Schema] = {
    "reviews": schemas.REVIEWS,
    "products": schemas.PRODUCTS,
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
    "restyled_products": schemas.DESIGNS,
}


def conform(name: str, table: pa.Table) -> pa.Table:
    """The table in its schema's columns, order and types.

    Raises:
        ValueError: a column is missing, of another type, or null where the schema forbids it; all problems at once.
    """
    if name == "triplets":
        negatives = table.schema.field("negative").type
        schema = schemas.triplets(negatives.list_size)
    else:
        schema = SCHEMAS[name]
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
    return table.select(schema.names).cast(schema)


class ParquetTables(dg.UPathIOManager):
    """Loads and stores pyarrow tables under the home's `tables/`."""

    extension = ".parquet"

    def dump_to_path(self, context: dg.OutputContext, obj: pa.Table, path: UPath) -> None:
        """Write a table, whole or not at all."""
        table = conform(context.asset_key.path[-1], obj)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            pq.write_table(table, str(temporary), compression="zstd")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pa.Table:
        """Read a table.

        Raises:
            BadInput: its asset was never materialised.
        """
        if not path.is_file():
            partition = f"[{path.stem}]" if context.has_asset_partitions else ""
            asset = context.asset_key.to_user_string()
            raise BadInput(f"{path} is missing: materialise {asset}{partition} first.")
        return pq.read_table(str(path))
