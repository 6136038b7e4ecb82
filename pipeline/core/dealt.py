"""Rows dealt out to files by a key, so that what belongs together lies together: the step between two kinds of shards.

What the key is, and what becomes of a part, is the stage's. Tables that stay are Parquet (`tables.py`); these files are
read once or twice and removed.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.core.arrow import to_arrow, to_numpy

PART = "part"  # the column that says where a row goes


def deal(rows: pa.RecordBatchReader, paths: Sequence[Path]) -> None:
    """Write each row to the file of the number in its column `part`, uint16, without that column.

    Every file is written anew, an empty one where it gets no row; within a file the rows keep their order. Memory is a
    batch and its copy.
    """
    schema = pa.schema([field for field in rows.schema if field.name != PART])
    with ExitStack() as opened:
        files = [opened.enter_context(pa.ipc.new_stream(str(path), schema)) for path in paths]
        for batch in rows:
            part = to_numpy(batch[PART])
            in_order = batch.select(schema.names).take(to_arrow(np.argsort(part, kind="stable")))
            counts = np.bincount(part, minlength=len(paths)).tolist()
            start = 0
            for file, count in zip(files, counts, strict=True):
                if count:
                    file.write_batch(in_order.slice(start, count))
                start += count


def dealt(paths: Sequence[Path]) -> pa.Table:
    """The rows of such files, one file after the other; mapped, so that the system may drop what it needs the room of.

    Raises FileNotFoundError where one is missing.
    """
    tables = []
    for path in paths:
        with pa.memory_map(str(path)) as file:
            tables.append(pa.ipc.open_stream(file).read_all())
    return pa.concat_tables(tables)
