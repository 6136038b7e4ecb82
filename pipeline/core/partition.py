"""Rows dealt out by a key, so that what belongs together is read together: the step between two kinds of shards.

What the key is, and what becomes of a part, is the stage's. Tables that stay are Parquet (`tables.py`); these files are
read once or twice and removed.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.core.arrow import to_arrow, to_numpy

PART = "part"  # the column that says where a row goes


def deal(rows: pa.RecordBatchReader, path: Path, parts: int) -> None:
    """Write the rows to a file from which `dealt` reads those of one part, which their column `part`, uint16, says.

    One file for all parts, since one for each would cost more than its rows: the file's batches go round the parts.
    The column is left out; within a part the rows keep their order. Memory is a batch and its copy.
    """
    schema = pa.schema([field for field in rows.schema if field.name != PART])
    with pa.ipc.new_file(str(path), schema) as file:
        for batch in rows:
            part = to_numpy(batch[PART])
            in_order = batch.select(schema.names).take(to_arrow(np.argsort(part, kind="stable")))
            start = 0
            for count in np.bincount(part, minlength=parts).tolist():
                file.write_batch(in_order.slice(start, count))
                start += count


def dealt(path: Path, part: int, parts: int) -> pa.Table:
    """The rows of a part in such a file; mapped, not read: the system may drop them where it wants the memory.

    Raises FileNotFoundError where there is no file, pa.ArrowInvalid where its writer did not come to the end.
    """
    with pa.memory_map(str(path)) as mapped:
        file = pa.ipc.open_file(mapped)
        batches = [file.get_batch(number) for number in range(part, file.num_record_batches, parts)]
        return pa.Table.from_batches(batches, file.schema)
