"""Merge the worker stores of an interrupted fetch by an earlier version into the main store.

Every worker had its own store. Their pictures must be neither lost nor requested again. Files are moved or rewritten
one at a time, pictures before the ledger rows that refer to them. If this is interrupted, the same call completes it.
"""

import shutil

from pipeline.core.durable import sole_writer
from pipeline.core.images.ledger import PictureStore

FOLDER = "shards"


def absorb(store: PictureStore) -> None:
    """Move the content of the store's shards into the store, every picture once, and remove the shards.

    A URL's row in a shard counts as newer than the store's. Raises BlockingIOError if a shard is still being written.
    """
    folders = sorted((store.folder / FOLDER).glob("*/"))
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
        (store.folder / FOLDER).rmdir()
