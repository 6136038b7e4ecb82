"""Write, read and digest tables in Parquet files block by block, for stages whose rows may not fit in memory."""

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
from pipeline.core.durable import make_private, whole

DIGEST_ROWS = 1 << 16  # rows hashed at once; changing it changes digests


@dataclass(frozen=True)
class StoredTable:
    """A Parquet file, with the schema of all its columns or of those to use.

    `owner` keeps the file's temporary folder alive as long as this handle.
    """

    path: Path
    schema: pa.Schema
    owner: Any = field(default=None, repr=False, compare=False)

    @property
    def num_rows(self) -> int:
        """Read the number of rows from the file's footer."""
        return pq.read_metadata(self.path).num_rows

    def read(self, columns: Sequence[str] | None = None, where: pc.Expression | None = None) -> pa.Table:
        """Read the rows that match `where`, in order, with the given columns and the file's metadata."""
        import pyarrow.dataset as ds  # imports pandas, 40 MB that ingest does not need

        names = list(columns) if columns is not None else self.schema.names
        verified = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        with pq.named(self.path):
            file = ds.dataset(self.path, format=ds.ParquetFileFormat(default_fragment_scan_options=verified))
            carried = file.schema.metadata
            found = file.to_table(columns=names, filter=where)
        return found.cast(pa.schema([self.schema.field(name) for name in names], carried))

    def batches(self, rows: int = DIGEST_ROWS) -> Iterator[pa.Table]:
        """Iterate over the rows in order, `rows` at a time, independently of the file's row groups."""
        waiting: list[pa.RecordBatch] = []
        held = 0
        with pq.ParquetFile(self.path) as file:
            for read in file.iter_batches(batch_size=rows, columns=self.schema.names, use_threads=False):
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
        """Hash the rows in order to sixteen hex digits, independently of the file's layout."""
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
    """Open a Parquet file for writing; yield a function that adds rows. The file appears, complete, after the block.

    Rows are encoded in a thread while the caller makes the next ones; one table at a time waits. The file has no
    statistics, because it is written and read whole once a run. Only its owner may read it, because raw rows may hold
    URLs with signatures.

    Args:
        path: the file.
        schema: the rows' schema.
        repeating: columns to encode with a dictionary.
        packed: leaf columns to compress with LZ4. Leave out hashes and ids, which do not get shorter.
    """
    options = {
        "compression": dict.fromkeys(packed, "lz4"),
        "use_dictionary": list(repeating) or False,
        "write_statistics": False,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        whole(path) as temporary,
        pq.ParquetWriter(make_private(temporary), schema, **options) as file,
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
    """Write the rows of `tables`, all of one schema, one table after the other, to a file at `path`."""
    schema = tables[0].schema
    with written(path, schema) as add:
        for table in tables:
            for rows in table.batches():
                add(rows)
    return StoredTable(path, schema)


def table_digest(table: pa.Table) -> str:
    """Hash a table's rows in order to sixteen hex digits, independently of its chunks."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata(None).combine_chunks())
    return hashlib.sha256(sink.getbuffer()).hexdigest()[:16]
