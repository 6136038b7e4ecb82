"""Picture stores below a picture store, one a worker, and how the store takes in what they hold.

Everything is moved or rewritten a file at a time, pictures before the ledger rows that refer to them: cut off at any
moment, the same call does the rest. The store itself is `ledger.py`'s, who fills the shards `fetch_shards.py`'s.
"""

import shutil
from pathlib import Path

from pipeline.core.durable import sole_writer
from pipeline.core.images.ledger import PictureStore

_FOLDER = "shards"


def shard_folder(folder: Path, number: int) -> Path:
    """Where shard `number` of the store in `folder` keeps what it fetches."""
    return folder / _FOLDER / f"{number:04d}"


def absorb(store: PictureStore) -> None:
    """Take in what lies in the store's shards, every picture once, and remove them.

    A URL's row in a shard is newer than the store's. Raises BlockingIOError where a shard is still being written.
    """
    folders = sorted((store.folder / _FOLDER).glob("*/"))
    if not folders:
        return
    with store.writing():
        for folder in folders:
            with sole_writer(folder):
                for path in sorted(folder.glob("pictures-*.parquet")):
                    store.adopt_pictures(path)
                for path in sorted(folder.glob("ledger-*.parquet")):
                    store.adopt_ledger(path)
            shutil.rmtree(folder)
        (store.folder / _FOLDER).rmdir()
