"""A table that lies in a Parquet file, for stages whose rows may not fit into memory: written block by block, read by
column, filtered, digested.

What the rows mean is their stage's business; where the file comes to lie at last is the io manager's.
"""

import contextlib
import hashlib
import io
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import parquet as pq
from pipeline.core.durable import own, whole

DIGEST_ROWS = 1 << 16  # rows hashed at once; part of the digest's definition


@dataclass(frozen=True)
class StoredTable:
    """A Parquet file of one schema. `owner` keeps a temporary folder alive as long as the handle."""

    path: Path
    schema: pa.Schema
    owner: Any = field(default=None, repr=False, compare=False)

    @property
    def num_rows(self) -> int:
        """Rows, from the file's footer."""
        return pq.read_metadata(self.path).num_rows

    def read(self, columns: Sequence[str] | None = None, where: pc.Expression | None = None) -> pa.Table:
        """The rows, in order, in memory: `columns` of those that `where` holds for; with the file's metadata."""
        import pyarrow.dataset as ds  # brings pandas along, 40 MB that ingest does without

        names = list(columns) if columns is not None else self.schema.names
        verified = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        with pq.named(self.path):
            file = ds.dataset(self.path, format=ds.ParquetFileFormat(default_fragment_scan_options=verified))
            carried = file.schema.metadata
            found = file.to_table(columns=names, filter=where)
        return found.cast(pa.schema([self.schema.field(name) for name in names], carried))

    def batches(self, rows: int = DIGEST_ROWS) -> Iterator[pa.Table]:
        """The rows in order, `rows` at a time, whatever the file's row groups."""
        waiting: list[pa.RecordBatch] = []
        held = 0
        with pq.ParquetFile(self.path) as file:
            for read in file.iter_batches(batch_size=rows, use_threads=False):
                batch = read
                while held + batch.num_rows >= rows:
                    head = batch.slice(0, rows - held)
                    yield pa.Table.from_batches([*waiting, head]).cast(self.schema)
                    batch, waiting, held = batch.slice(rows - held), [], 0
                if batch.num_rows:
                    waiting.append(batch)
                    held += batch.num_rows
        if waiting:
            yield pa.Table.from_batches(waiting).cast(self.schema)

    def digest(self) -> str:
        """Sixteen hex digits of the content: same rows in the same order, same digest, whatever the file's layout."""
        hashed = hashlib.sha256(str(self.schema).encode())
        for part in self.batches(DIGEST_ROWS):
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, part.schema.remove_metadata()) as writer:
                writer.write_table(part.combine_chunks())
            hashed.update(sink.getbuffer())
        return hashed.hexdigest()[:16]


@contextlib.contextmanager
def written(
    path: Path, schema: pa.Schema, repeating: Sequence[str] = (), packed: Sequence[str] = ()
) -> Generator[Callable[[pa.Table], None]]:
    """A function that adds rows to the Parquet file at `path`; the file appears, whole, at the end of the block.

    Rows are encoded in a thread while the caller makes the next ones; one table at a time waits. `repeating` names
    the columns worth a dictionary, `packed` the leaves worth LZ4 (hashes and ids are not: they cost its time and stay
    as long). No statistics: these files are written and read whole, once a run. The file is its owner's alone: raw rows
    hold addresses with signatures.
    """
    options = {
        "compression": dict.fromkeys(packed, "lz4"),
        "use_dictionary": list(repeating) or False,
        "write_statistics": False,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        whole(path) as temporary,
        pq.ParquetWriter(own(temporary), schema, **options) as file,
        ThreadPoolExecutor(1) as encoder,
    ):
        pending: Future[None] | None = None

        def add(rows: pa.Table) -> None:
            nonlocal pending
            if pending is not None:
                pending.result()
            pending = encoder.submit(file.write_table, rows.select(schema.names).cast(schema)) if len(rows) else None

        yield add
        if pending is not None:
            pending.result()


def concatenated(tables: Sequence[StoredTable], path: Path) -> StoredTable:
    """The rows of `tables`, all of one schema, one table after the other, in a file at `path`."""
    schema = tables[0].schema
    with written(path, schema) as add:
        for table in tables:
            for rows in table.batches():
                add(rows)
    return StoredTable(path, schema)
