"""A scratch file of rows that are partitioned by a key, so that all rows of a key can be read together.

The stage chooses the key. Tables that stay are Parquet (`tables.py`).
"""

import mmap
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from pipeline.core.arrow import to_arrow, to_numpy

PART = "part"  # the column with the number of a row's partition


class Partitions:
    """Rows in `parts` partitions: first add all rows, then iterate over the partitions. Ends with its `with` block.

    The file has no name, so nothing is left of it when the process ends, however it ends.
    """

    def __init__(self, parts: int, schema: pa.Schema, folder: Path | None = None) -> None:
        """Make an empty file for rows of `schema`, in `folder` (None: the system's temporary one)."""
        self._parts, self._schema = parts, schema
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by __exit__)
        self._writer = pa.ipc.new_file(self._file, schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Write rows to the partitions that their column `part`, uint16, says; the column itself is left out.

        Every batch becomes one record batch per partition. Rows keep their order within a partition. Memory is one
        batch and its copy.
        """
        for batch in batches:
            part = to_numpy(batch[PART])
            by_part = batch.select(self._schema.names).take(to_arrow(np.argsort(part, kind="stable")))
            start = 0
            for count in np.bincount(part, minlength=self._parts).tolist():
                self._writer.write_batch(by_part.slice(start, count))
                start += count

    def __iter__(self) -> Iterator[pa.Table]:
        """Iterate over the partitions; each is memory-mapped for as long as its table is in use."""
        self._writer.close()
        self._file.flush()
        for part in range(self._parts):
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            file = pa.ipc.open_file(pa.py_buffer(mapped))
            batches = [file.get_batch(number) for number in range(part, file.num_record_batches, self._parts)]
            yield pa.Table.from_batches(batches, self._schema)
