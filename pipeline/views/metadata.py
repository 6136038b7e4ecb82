"""Metadata that assets report: counts that the UI plots over time, previews of tables, small pictures.

Pictures in metadata stay in Dagster's event log for ever, so thumbnails are kept under 200 kB and the full picture is a
file that the metadata names. Computing figures does not belong here.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.core import column_docs
from pipeline.core.raw.sources import shown_within
from pipeline.core.tables import StoredTable, table_digest

THUMBNAIL_BYTES = 200_000
HEAD = 5
VECTOR = pa.list_(pa.float32())
COLUMNS = "dagster/column_schema"  # Dagster's name for it


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """Describe the columns for Dagster: type, whether null is allowed, and meaning."""
    meanings = column_docs.of_columns(schema.names)
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                str(field.type),
                description=meanings.get(field.name),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def table_output(
    table: pa.Table | StoredTable,
    output_name: str = "result",
    *,
    leave_out: Sequence[str] = (),
    version: str | None = None,
    **more: Any,
) -> dg.Output[Any]:
    """Wrap a table as an asset's output, with row count, columns, preview, and its digest as data version.

    Pass `version` if the rows alone do not identify the table. The preview omits vectors and the columns in
    `leave_out`.
    """
    metadata: dict[str, Any] = {
        "dagster/row_count": table.num_rows,
        COLUMNS: column_schema(table.schema),
        **{key: metadata_value(value) for key, value in more.items() if value is not None},
    }
    if table.num_rows:
        head = next(table.batches(HEAD)) if isinstance(table, StoredTable) else table.slice(0, HEAD)
        shown = [field.name for field in head.schema if field.type != VECTOR and field.name not in leave_out]
        # Dagster keeps and shows this for ever, so it must not contain passwords, or URL queries with signatures.
        text = head.select(shown).to_pandas().to_markdown(index=False)
        metadata["preview"] = dg.MetadataValue.md(shown_within(text))
    if version is None:
        version = table.digest() if isinstance(table, StoredTable) else table_digest(table)
    return dg.Output(table, output_name=output_name, metadata=metadata, data_version=dg.DataVersion(version))


def metadata_value(value: Any) -> Any:
    """Convert a value for Dagster: numpy numbers to Python numbers, mappings to JSON."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dg.MetadataValue.json({str(k): v.item() if isinstance(v, np.generic) else v for k, v in value.items()})
    return value


def waterfall(steps: Mapping[str, int]) -> dg.MarkdownMetadataValue:
    """Make a table of counts, one step in each row."""
    rows = [f"| {name.replace('_', ' ')} | {count:,} |" for name, count in steps.items()]
    return dg.MetadataValue.md("| step | count |\n|---|---:|\n" + "\n".join(rows))


def thumbnail(pixels: np.ndarray, width: int = 900) -> dg.MarkdownMetadataValue:
    """Shrink a picture, uint8 [H, W, 3], until it is small enough for the event log."""
    picture = Image.fromarray(pixels)
    for quality in (85, 70, 50, 30):
        shown = picture
        if picture.width > width:
            shown = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
        sink = io.BytesIO()
        shown.save(sink, "JPEG", quality=quality)
        if sink.tell() <= THUMBNAIL_BYTES * 3 // 4:  # base64 adds a third
            break
        width = width * 3 // 4
    return dg.MetadataValue.md(f"![picture](data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()})")


def file(path: Path) -> dg.PathMetadataValue:
    """Refer to a file on disk."""
    return dg.MetadataValue.path(str(path))
