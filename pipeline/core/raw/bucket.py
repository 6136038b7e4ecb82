"""Fetch input files from S3-compatible buckets into the cache, by fsspec (the extra `s3`), and list folders in buckets.

Keys, region and endpoint come from the usual environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, ...). The
host is the user's own, so the guard of `download.py` against private addresses does not apply.
"""

import contextlib
import glob
import re
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.core.durable import make_private
from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw.copies import Copy, CopyFolder, ServerVersion
from pipeline.core.raw.download import NoAnswerError, OnProgress, RemoteSettings
from pipeline.core.raw.sources import BUCKET, PERHAPS, SUFFIXES, shown

BLOCK_BYTES = 8 << 20
_PROGRESS_EVERY = 0.5  # seconds
_OF_SERVERS = ("botocore", "aiobotocore", "s3fs", "fsspec", "aiohttp")  # packages whose errors are a server's
_NO_KEYS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "CredentialRetrievalError")
KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (FSSPEC_S3_ANON=true for a public bucket)"


class BucketFile:
    """One object and its place in the cache.

    Raises:
        InputError: in every method: there is no such object, the bucket refuses, or the package is missing.
        NoAnswerError: the server does not answer now.
    """

    def __init__(self, url: str, cache: Path, settings: RemoteSettings) -> None:
        self.name, self._place = shown(url), _place(url)
        self.folder, self._settings = CopyFolder(cache, url, self._place), settings

    def version(self) -> str:
        """Ask for the object's version: its ETag."""
        return str(self._asked())

    def mark(self) -> str:
        """Return the version, which costs one request."""
        return self.version()

    def fetch(self, on_progress: OnProgress | None = None) -> Copy:
        """Bring the copy up to date and return it. Hold the folder's lock."""
        version, held = self._asked(), self.folder.current()
        if held is not None and str(held.version) == str(version):
            held = replace(held, checked_at=time.time())
            self.folder.record(held)
            return held
        size, begun = self.folder.partial_download()
        if begun != version or size > (version.size or 0):
            self.folder.start_download(version)
        with _explained(self.name):
            self._receive(version, on_progress)
        return self.folder.finish_download(version)

    def _receive(self, version: ServerVersion, on_progress: OnProgress | None) -> None:
        """Append what is missing of the object. The bucket refuses if it was replaced meanwhile."""
        reported = time.monotonic()
        with make_private(self.folder.part).open("ab") as file:
            opened = _filesystem(self._settings).open(self._place, "rb", block_size=BLOCK_BYTES, cache_type="none")
            with opened as remote:
                remote.seek(file.tell())
                while piece := remote.read(BLOCK_BYTES):
                    file.write(piece)
                    if on_progress is not None and time.monotonic() - reported >= _PROGRESS_EVERY:
                        reported = time.monotonic()
                        on_progress(file.tell(), version.size)
            size = file.tell()
        if size != version.size:
            raise NoAnswerError(f"the download broke off after {size:,} of {version.size:,} bytes")
        if on_progress is not None:
            on_progress(size, size)

    def _asked(self) -> ServerVersion:
        with _explained(self.name):
            info = _filesystem(self._settings).info(self._place)
        if info.get("type") != "file":
            raise InputError(f"{self.name}: is a folder of the bucket; end it with / to read the files in it")
        if not info.get("size"):
            raise InputError(f"{self.name}: the file is empty; write it again or take it out of the input")
        return ServerVersion(etag=info.get("ETag") or None, last_modified=str(info["LastModified"]), size=info["size"])


def listed(url: str, settings: RemoteSettings | None = None) -> list[str]:
    """List the objects that a bucket's URL names, in order: one, or those of a folder or a pattern that are not empty.

    A folder (it ends with `/`) means the files in it with one of `sources.SUFFIXES`, else of `sources.PERHAPS`, without
    subfolders. Nothing is asked for a URL that names one object.

    Raises:
        InputError: there are none, the bucket refuses, or the package is missing.
        NoAnswerError: the server does not answer now.
    """
    name, place = shown(url), _place(url)
    is_folder = place.endswith("/") or "/" not in place
    if not is_folder and not glob.has_magic(place):
        return [url]
    with _explained(name):
        filesystem = _filesystem(settings or RemoteSettings())
        if is_folder:
            found = {entry["name"]: entry for entry in filesystem.ls(place.rstrip("/"), detail=True)}
        else:
            found = filesystem.glob(place, detail=True)
    files = sorted(
        path
        for path, entry in found.items()
        if entry.get("type") == "file" and entry.get("size") and not path.rpartition("/")[2].startswith((".", "_"))
    )
    if is_folder:
        files = [f for f in files if f.lower().endswith(SUFFIXES)] or [f for f in files if f.lower().endswith(PERHAPS)]
    if not files:
        partitions = any(entry.get("type") == "directory" and "=" in path for path, entry in found.items())
        mend = (
            "Hive's partitions are read from local folders alone: copy them, for example with `aws s3 sync`"
            if partitions
            else "give the folder or pattern that has some"
        )
        raise InputError(f"{name}: names no file with rows; {mend}")
    return [BUCKET + path for path in files]


def _place(url: str) -> str:
    """Return `bucket/key` of a URL. Raises InputError if it is none."""
    place = url[len(BUCKET) :]
    if not re.fullmatch(r"[A-Za-z0-9._-]{3,255}", place.partition("/")[0]):
        raise InputError(f"{shown(url)}: write s3://bucket/key or s3://bucket/folder/, without keys; {KEYS}")
    return place


def _filesystem(settings: RemoteSettings) -> Any:
    try:
        import s3fs
    except ImportError as error:
        raise InputError("s3:// needs the package s3fs: install the extra, pip install -e .[s3]") from error
    filesystem = s3fs.S3FileSystem(
        config_kwargs={
            "connect_timeout": settings.connect_timeout,
            "read_timeout": settings.stall_timeout,
            "retries": {"max_attempts": settings.retries, "mode": "standard"},
        }
    )
    filesystem.invalidate_cache()  # fsspec keeps listings, and the bucket may have changed
    return filesystem


@contextlib.contextmanager
def _explained(name: str) -> Generator[None]:
    """Turn the errors of s3fs and botocore into ours; an error of the local disk stays."""
    try:
        yield
    except (InputError, NoAnswerError):
        raise
    except FileNotFoundError as error:
        raise InputError(
            f"{name}: there is no such object or bucket; check bucket, key and AWS_ENDPOINT_URL"
        ) from error
    except PermissionError as error:
        raise InputError(f"{name}: the bucket refuses ({printable(error, 100)}); {KEYS}") from error
    except Exception as error:
        said = f"{type(error).__name__}: {printable(error, 200)}"
        if type(error).__name__ in _NO_KEYS:
            raise InputError(f"{name}: no key for the bucket ({said}); {KEYS}") from error
        if not any(type(one).__module__.startswith(_OF_SERVERS) for one in (error, error.__cause__)):
            raise
        raise NoAnswerError(f"no answer from the bucket ({said})") from error
