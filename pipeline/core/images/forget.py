"""Remove URLs from the picture store: their ledger rows, and the pictures that no other URL has.

The store itself only adds. Here each file is rewritten atomically under the store's lock. If the process is killed,
calling it again finishes the work. The caller decides which URLs to remove.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.core import parquet as pq
from pipeline.core.durable import sole_writer, write_whole
from pipeline.core.images.ledger import read_part, write_part

_ROW_GROUP = 256  # as in the store's shards


def forget(folder: Path, gone: Callable[[pa.Array], np.ndarray]) -> set[str]:
    """Remove URLs from the store in `folder`; return the sha256 of the removed pictures.

    `gone` marks the URLs of a string array to remove: bool [rows]. Pictures are removed first, because a row without
    its picture is fetched again, while a picture without a row would stay for ever.
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
