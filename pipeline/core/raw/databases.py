"""Copy a table of a database into the cache as Parquet, so that it is read like any other table and at one moment.

The connection is read-only. The rows come in the order of the table's key, and are numbered from 1 in that order. The
data version is a digest of the rows that were read; they are read again only if the database's own version of the table
changed. `sqlite_table.py` and `postgres_table.py` know the two databases.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pipeline.core import parquet as pq
from pipeline.core.durable import make_private
from pipeline.core.raw import database_urls
from pipeline.core.raw.copies import Copy, CopyFolder, ServerVersion
from pipeline.core.raw.database_rows import Rows
from pipeline.core.raw.dialects import distinct
from pipeline.core.raw.download import OnProgress
from pipeline.core.raw.postgres_table import PostgresTable
from pipeline.core.raw.sqlite_table import SqliteTable


class DatabaseTable:
    """One table and its place in the cache. Raises as `SqliteTable` and `PostgresTable` do."""

    def __init__(self, url: str, cache: Path) -> None:
        sqlite = database_urls.kind_of(url) == database_urls.SQLITE
        self._table = SqliteTable(url) if sqlite else PostgresTable(url)
        self.name = self._table.name
        self.folder = CopyFolder(cache, self.name, ".parquet", self._table.identity)

    def version(self) -> str:
        """Look whether the table is there; its version is known only by its rows, hence empty."""
        self._table.check()
        return ""

    def mark(self) -> str:
        """Return a text that changes when the table may have changed, without reading it; empty if nothing can tell."""
        return self._table.mark()

    def fetch(self, on_progress: OnProgress | None = None) -> Copy:
        """Bring the copy up to date and return it. Hold the folder's lock."""
        with self._table.rows() as rows:
            held, self.folder.table = self.folder.current(), rows.table
            if held is not None and rows.version and held.version.etag == rows.version:
                held = replace(held, checked_at=time.time())
                self.folder.record(held)
                return held
            version = ServerVersion(etag=rows.version or None)
            self.folder.start_download(version)
            try:
                self._write(rows, on_progress)
            except BaseException:
                self.folder.part.unlink(missing_ok=True)  # rows cannot be resumed
                raise
        return self.folder.finish_download(version)

    def _write(self, rows: Rows, on_progress: OnProgress | None) -> None:
        schema = pa.schema([(name, rows.kind) for name in distinct(rows.names, len(rows.names))])
        with pq.ParquetWriter(make_private(self.folder.part), schema, compression="zstd") as writer:
            for columns in rows.batches():
                writer.write_table(_table(columns, schema))
                if on_progress is not None:
                    on_progress(self.folder.part.stat().st_size, None)


def _table(columns: Iterable[Sequence[bytes | str | None]], schema: pa.Schema) -> pa.Table:
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
