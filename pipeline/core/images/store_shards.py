"""Merge the workers' picture stores, which are folders below a picture store, into that store.

Files are moved or rewritten one at a time, pictures before the ledger rows that refer to them. If the merge is
interrupted, the same call completes it.
"""

import shutil
from pathlib import Path

from pipeline.core.durable import sole_writer
from pipeline.core.images.ledger import PictureStore

_FOLDER = "shards"


def shard_folder(folder: Path, number: int) -> Path:
    """Return the folder of shard `number` of the store in `folder`."""
    return folder / _FOLDER / f"{number:04d}"


def absorb(store: PictureStore) -> None:
    """Move the content of the store's shards into the store, every picture once, and remove the shards.

    A URL's row in a shard counts as newer than the store's. Raises BlockingIOError if a shard is still being written.
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
