"""Recognise the addresses of pictures in an object store, `s3://bucket/key`.

A key is used as it is written, without escapes. Which buckets may be read is decided by `images/stored_files.py`.
"""

import re
from collections.abc import Iterable

S3 = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # as Amazon allows it
_LONGEST_KEY = 1024  # bytes: S3's limit


def is_stored(address: str) -> bool:
    """Return whether this is an address in an object store."""
    return address.startswith(S3)


def stored_path(address: str) -> str | None:
    """Return `bucket/key` of an address; None if it is none, or if its key could be read as another one."""
    if not is_stored(address):
        return None
    path = address.removeprefix(S3)
    bucket, _, key = path.partition("/")
    plain = bool(key) and key.isprintable() and not any(part in ("", ".", "..") for part in key.split("/"))
    short = len(key.encode("utf-8", "replace")) <= _LONGEST_KEY
    return path if plain and short and _BUCKET.fullmatch(bucket) else None


def is_inside(address: str, folders: Iterable[str]) -> bool:
    """Return whether an address is inside one of the folders, as far as these are `s3://bucket/prefix`."""
    return any(address.startswith(f"{folder.rstrip('/')}/") for folder in folders if is_stored(folder))
