"""What an asset says of itself after it ran: counts the UI plots over time, a table's head, small pictures.

Numbers and pictures only; computing them belongs to the stages. Pictures in metadata stay in Dagster's event log for
ever, so thumbnails here are kept under 200 kB and the full picture is a file that the metadata names.
"""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.core import meanings
from pipeline.core.raw.sources import shown_within
from pipeline.core.tables import StoredTable

THUMBNAIL_BYTES = 200_000
HEAD = 5
VECTOR = pa.list_(pa.float32())
COLUMNS = "dagster/column_schema"  # Dagster's name for it


def table_digest(table: pa.Table) -> str:
    """Content hash of a table: same rows in the same order, same digest, whatever its chunks."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata(None).combine_chunks())
    return hashlib.sha256(sink.getbuffer()).hexdigest()[:16]


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """The columns as Dagster shows them: types, what may be null, and what each means."""
    meaning = meanings.of_columns(schema.names)
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                str(field.type),
                description=meaning.get(field.name),
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
    """A table as an asset's value: with its row count, columns, head, and its content as data version.

    `version` takes the content's place where more than the rows tells two tables apart. The head leaves out vectors
    and the columns that are named.
    """
    metadata: dict[str, Any] = {
        "dagster/row_count": table.num_rows,
        COLUMNS: column_schema(table.schema),
        **{key: metadata_value(value) for key, value in more.items() if value is not None},
    }
    if table.num_rows:
        head = next(table.batches(HEAD)) if isinstance(table, StoredTable) else table.slice(0, HEAD)
        shown = [field.name for field in head.schema if field.type != VECTOR and field.name not in leave_out]
        # Dagster keeps and shows it for ever: no query of an address, which may hold a signature, no password.
        text = head.select(shown).to_pandas().to_markdown(index=False)
        metadata["preview"] = dg.MetadataValue.md(shown_within(text))
    if version is None:
        version = table.digest() if isinstance(table, StoredTable) else table_digest(table)
    return dg.Output(table, output_name=output_name, metadata=metadata, data_version=dg.DataVersion(version))


def metadata_value(value: Any) -> Any:
    """Plain Python for Dagster: numpy numbers become numbers, mappings become JSON."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dg.MetadataValue.json({str(k): v.item() if isinstance(v, np.generic) else v for k, v in value.items()})
    return value


def waterfall(steps: Mapping[str, int]) -> dg.MarkdownMetadataValue:
    """Counts step by step, as a table."""
    rows = [f"| {name.replace('_', ' ')} | {count:,} |" for name, count in steps.items()]
    return dg.MetadataValue.md("| step | count |\n|---|---:|\n" + "\n".join(rows))


def thumbnail(pixels: np.ndarray, width: int = 900) -> dg.MarkdownMetadataValue:
    """A picture, uint8 [H, W, 3], small enough for the event log."""
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
    """A file on disk."""
    return dg.MetadataValue.path(str(path))
