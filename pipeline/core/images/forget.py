"""URLs taken out of the picture store for good: their ledger rows, and the pictures that no other URL leads to.

The store itself only ever adds. Everything is rewritten whole, file by file, under the store's own lock; cut off, the
same call does the rest. Which URLs is decided by who calls.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.core import parquet as pq
from pipeline.core.durable import sole_writer, write_whole
from pipeline.core.images.ledger import read_part, write_part

_ROW_GROUP = 256  # as the store writes its shards


def forget(folder: Path, gone: Callable[[pa.Array], np.ndarray]) -> set[str]:
    """Take URLs out of the store in `folder`; the sha256 of the pictures that went.

    `gone` says of a string array which of its URLs go: bool [rows]. Pictures go first: a row whose picture is missing
    is asked again, a picture without a row would stay for ever.
    """
    if not folder.is_dir():
        return set()
    with sole_writer(folder):
        parts = {path: read_part(path) for path in sorted(folder.glob("ledger-*.parquet"))}
        masks = {path: gone(table["url"].combine_chunks()) for path, table in parts.items()}
        leaving, staying = set(), set()
        for path, table in parts.items():
            for sha, hit in zip(table["sha256"].to_pylist(), masks[path], strict=True):
                if sha is not None:
                    (leaving if hit else staying).add(sha)
        removed = leaving - staying
        if removed:
            for path in sorted(folder.glob("pictures-*.parquet")):
                _rewrite_shard(path, removed)
        for path, table in parts.items():
            if masks[path].any():
                write_part(path, table.filter(pa.array(~masks[path])))
    return removed


def _rewrite_shard(path: Path, removed: set[str]) -> None:
    shas = pq.read_table(path, columns=["sha256"])["sha256"].to_pylist()
    if removed.isdisjoint(shas):
        return
    kept = pq.ParquetFile(path).read().filter(pa.array([sha not in removed for sha in shas]))
    options = {"row_group_size": _ROW_GROUP, "compression": "none", "use_dictionary": False}
    write_whole(path, lambda temporary: pq.write_table(kept, temporary, write_page_checksum=True, **options))
