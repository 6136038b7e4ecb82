"""Cache remote input files and tables of databases: one folder per URL, with the copy, its record, and a partial one.

A folder is named by a hash of its URL without the signature, so a newly signed URL finds its copy. The copy is named by
a hash of its content. No file name comes from a URL or a server. `origin.meta` (JSON) records the copy's origin; it is
written last, and a copy is valid only with it. `part` and `part.meta` are a download in progress or stopped. A URL's
query may hold a secret and is not stored. The copies are made by `download.py`, `bucket.py` and `databases.py`.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from pipeline.core import signatures
from pipeline.core.durable import sole_writer, write_whole
from pipeline.core.raw import database_urls
from pipeline.core.raw.sources import SUFFIXES, shown

# Writes a file to another path without what must be erased; returns the number of removed objects, None if unparsable.
Rewrite = Callable[[Path, Path], int | None]
_ORIGIN, _PART, _PART_ORIGIN = "origin.meta", "part", "part.meta"


@dataclass(frozen=True)
class ServerVersion:
    """A file's version as the server describes it."""

    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None  # announced, bytes
    date: str | None = None  # of the response

    @property
    def conditions(self) -> dict[str, str]:
        """Return headers that request the file only if it changed; none if the server named no version."""
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.last_modified} if self.last_modified else {}

    @property
    def if_range(self) -> str | None:
        """Return a validator of exactly these bytes, to resume a download (RFC 9110, 13.1.5), or None."""
        if self.etag:
            return None if self.etag.startswith("W/") else self.etag
        if self.last_modified and self.date:
            with contextlib.suppress(ValueError):  # a file may change twice in the second of the response
                age = parsedate_to_datetime(self.date) - parsedate_to_datetime(self.last_modified)
                return self.last_modified if age.total_seconds() >= 1 else None
        return None

    def contradicts(self, other: "ServerVersion") -> bool:
        """Return whether a field is known in both and differs."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("etag", "last_modified", "size"))
        return any(one is not None and two is not None and one != two for one, two in pairs)

    def __str__(self) -> str:
        """Return the version's name; empty if the server named none (a size alone is no version)."""
        if self.etag:
            return f"etag {self.etag}"
        return f"last-modified {self.last_modified} size {self.size}" if self.last_modified else ""


@dataclass(frozen=True)
class Copy:
    """A complete file in the cache."""

    path: Path
    version: ServerVersion
    sha256: str
    fetched_at: float  # unix seconds
    checked_at: float  # when the server last confirmed that it is current

    def __str__(self) -> str:
        fetched, checked = (_age(time.time() - then) for then in (self.fetched_at, self.checked_at))
        return f"the copy that was fetched {fetched} ago and confirmed {checked} ago ({self.path})"

    @property
    def name(self) -> str:
        """Return the server's name of this version, else one from the content's digest."""
        return str(self.version) or f"sha256 {self.sha256}"


def is_copy(path: Path) -> bool:
    """Return whether the file at `path` was fetched into a cache, rather than named by its path."""
    return (path.parent / _ORIGIN).is_file()


def origin_name(path: Path) -> str:
    """Return the name of an input for people: a copy's URL, with its table if it has one, else the file's own path."""
    origin = _record(path.parent / _ORIGIN)
    if not isinstance(origin, dict) or not origin.get("url"):
        return str(path)
    return database_urls.with_table(str(origin["url"]), str(origin.get("table", "")))


def origin_folder(path: Path) -> Path | None:
    """Return the folder beside which an input's pictures lie: its own, or its database's; None if it has no place here.

    Links stay as they were named.
    """
    if not is_copy(path):
        return Path(os.path.abspath(path)).parent  # noqa: PTH100
    origin = _record(path.parent / _ORIGIN)
    url = str(origin.get("url", "")) if isinstance(origin, dict) else ""
    if database_urls.kind_of(url) != database_urls.SQLITE:
        return None
    return Path(os.path.abspath(database_urls.sqlite_path(url))).parent  # noqa: PTH100


def origin_kind(path: Path) -> str:
    """Name the database that a copy's rows come from; empty for a file."""
    origin = _record(path.parent / _ORIGIN)
    kind = database_urls.kind_of(str(origin.get("url", ""))) if isinstance(origin, dict) else None
    return {database_urls.SQLITE: "SQLite", database_urls.POSTGRES: "PostgreSQL"}.get(kind or "", "")


def _record(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


class CopyFolder:
    """The folder of one URL. Hold `durable.sole_writer(folder.path)` to write."""

    def __init__(self, cache: Path, url: str, ending: str, identity: str = "") -> None:
        """Locate the folder of a URL.

        `ending` is the end of the URL's path, of which only a known suffix is used. `identity` names the folder instead
        of the URL, where that holds a password.
        """
        self.key = hashlib.sha256((identity or signatures.key(url)).encode()).hexdigest()[:16]
        self.path = cache / self.key
        self.part = self.path / _PART
        self._url, self.table = shown(url), ""  # the table that was chosen in a database
        self._suffix = next((suffix for suffix in SUFFIXES if ending.lower().endswith(suffix)), "")

    @classmethod
    def at(cls, path: Path) -> "CopyFolder":
        """Open an existing folder of the cache, by its own record."""
        folder = cls(path.parent, "", "")
        folder.key, folder.path, folder.part = path.name, path, path / _PART
        origin = folder._read(_ORIGIN) or {}
        folder._url, folder.table = origin.get("url", ""), origin.get("table", "")
        names = [str(other) for other in path.iterdir()]
        folder._suffix = next((suffix for suffix in SUFFIXES if any(name.endswith(suffix) for name in names)), "")
        return folder

    @classmethod
    def find_by_shown_url(cls, cache: Path, url: str) -> "CopyFolder | None":
        """Find the only folder with a copy of a URL that is known without its query; None if several have one."""
        found = [cls.at(path) for path in sorted(cache.glob("*")) if path.is_dir()] if cache.is_dir() else []
        held = [folder for folder in found if folder._url == url and folder.current() is not None]
        return held[0] if len(held) == 1 else None

    def rewrite(self, copy: Copy, write: Rewrite) -> int | None:
        """Replace the copy by what `write` makes of it; return the number of removed objects, None if it must go.

        The record keeps the server's version and the times of fetching and confirming.
        """
        try:
            gone = write(copy.path, self.part)
            if gone:
                kept = self.finish_download(copy.version)
                self.record(replace(kept, fetched_at=copy.fetched_at, checked_at=copy.checked_at))
            return gone
        finally:
            self.part.unlink(missing_ok=True)

    def clear(self, but: Path | None = None) -> None:
        """Delete everything in the folder except the copy `but` and its record."""
        keep = {"lock", *([but.name, _ORIGIN] if but else [])}
        for other in self.path.iterdir():
            if other.name not in keep:
                other.unlink()

    def current(self) -> Copy | None:
        """Return the copy; None if there is none, or its size differs from the record."""
        origin = self._read(_ORIGIN)
        with contextlib.suppress(KeyError, TypeError, OSError):
            copy = Copy(
                self._copy_path(origin["sha256"]), ServerVersion(**origin["version"]), origin["sha256"],
                float(origin["fetched_at"]), float(origin["checked_at"]),
            )  # fmt: skip
            return copy if copy.path.stat().st_size == origin["bytes"] else None
        return None

    def partial_download(self) -> tuple[int, ServerVersion]:
        """Return the bytes of a partial download and their version; 0 if there is none."""
        with contextlib.suppress(TypeError, OSError):
            version = ServerVersion(**self._read(_PART_ORIGIN))
            return self.part.stat().st_size, version
        return 0, ServerVersion()

    def start_download(self, version: ServerVersion) -> None:
        """Begin a download from its first byte."""
        self.part.unlink(missing_ok=True)  # before the record, so that old bytes never get a new version
        self._write(_PART_ORIGIN, asdict(version))

    def finish_download(self, version: ServerVersion) -> Copy:
        """Turn the download into the copy. A kill in between leaves the old copy or none, and the downloaded bytes."""
        with self.part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        now = time.time()
        copy = Copy(self._copy_path(digest), version, digest, now, now)
        self.part.chmod(0o600)  # it may hold signed URLs
        self.part.replace(copy.path)
        self.record(copy)
        for other in self.path.iterdir():
            if other.name not in (copy.path.name, _ORIGIN, "lock"):
                other.unlink()
        return copy

    def record(self, copy: Copy) -> None:
        """Write the record of the copy's origin."""
        when = datetime.fromtimestamp(copy.fetched_at, UTC).isoformat(timespec="seconds")
        fields = {name: value for name, value in asdict(copy).items() if name != "path"}
        where = {"url": self._url, **({"table": self.table} if self.table else {})}
        self._write(_ORIGIN, {**where, "fetched": when, "bytes": copy.path.stat().st_size, **fields})

    def _copy_path(self, sha256: str) -> Path:
        return self.path / f"{sha256[:16]}{self._suffix}"

    def _read(self, name: str) -> Any:
        return _record(self.path / name)

    def _write(self, name: str, record: Mapping[str, Any]) -> None:
        write_whole(self.path / name, lambda temporary: temporary.write_text(json.dumps(record, indent=1) + "\n"))


def _age(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"


@dataclass(frozen=True)
class Rewritten:
    """The result of rewriting the copies in a cache."""

    gone: int  # removed objects
    again: tuple[Path, ...]  # copies that were deleted because they cannot be rewritten; the next run fetches them
    failed: tuple[tuple[Path, str], ...]  # unchanged folders, and the reasons


def rewrite_copies(cache: Path, write: Rewrite) -> Rewritten:
    """Rewrite every copy in the cache.

    A rewritten copy keeps the server's version, so that it is not fetched again. Partial downloads, and copies that
    differ from their record, are deleted.
    """
    gone, again, failed = 0, [], []
    for folder in sorted(path for path in cache.glob("*") if path.is_dir()) if cache.is_dir() else ():
        try:
            with sole_writer(folder):
                place = CopyFolder.at(folder)
                copy = place.current()
                place.clear(but=copy.path if copy else None)
                if copy is None:
                    continue
                went = place.rewrite(copy, write)
                if went is None:
                    place.clear()
                    again.append(copy.path)
                gone += went or 0
        except OSError as error:
            failed.append((folder, error.strerror or str(error)))
    return Rewritten(gone, tuple(again), tuple(failed))
