"""The cache of remote input files: one folder a URL, with the copy, whose copy it is, and a download under way.

A folder is named by a hash of its URL without its signature (`signatures.py`) and the copy by a hash of its content: no
name comes from a URL or a server, and an address that was signed anew finds its copy again.
`origin.meta` (JSON) says whose copy it is and makes it one, because it is written last; `part` and `part.meta` are a
download that goes on or was stopped. A URL's query may hold a secret and is not written down. Asking servers belongs to
`remote.py`.
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
from pipeline.core.raw.sources import SUFFIXES, shown

# Writes a file to another place without what has to go: how much went, or None where it cannot be parsed.
Rewriting = Callable[[Path, Path], int | None]
_ORIGIN, _PART, _PART_ORIGIN = "origin.meta", "part", "part.meta"


@dataclass(frozen=True)
class Version:
    """What a server said about a file's state."""

    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None  # announced, bytes
    date: str | None = None  # of the answer

    @property
    def conditions(self) -> dict[str, str]:
        """Headers that ask for the file only if it changed; none where the server named no version."""
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.last_modified} if self.last_modified else {}

    @property
    def if_range(self) -> str | None:
        """What names exactly these bytes, so that a download may go on (RFC 9110, 13.1.5); None where nothing does."""
        if self.etag:
            return None if self.etag.startswith("W/") else self.etag
        if self.last_modified and self.date:
            with contextlib.suppress(ValueError):  # a date in the very second of the answer may stand for two files
                age = parsedate_to_datetime(self.date) - parsedate_to_datetime(self.last_modified)
                return self.last_modified if age.total_seconds() >= 1 else None
        return None

    def contradicts(self, other: "Version") -> bool:
        """Whether both say something and not the same."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("etag", "last_modified", "size"))
        return any(one is not None and two is not None and one != two for one, two in pairs)

    def __str__(self) -> str:
        """The version's name; empty where the server named none (a size alone is no version)."""
        if self.etag:
            return f"etag {self.etag}"
        return f"last-modified {self.last_modified} size {self.size}" if self.last_modified else ""


@dataclass(frozen=True)
class Copy:
    """A whole file in the cache."""

    path: Path
    version: Version
    sha256: str
    fetched_at: float  # unix seconds
    checked_at: float  # when the server last said that it is current

    def __str__(self) -> str:
        fetched, checked = (_age(time.time() - then) for then in (self.fetched_at, self.checked_at))
        return f"the copy that was fetched {fetched} ago and confirmed {checked} ago ({self.path})"

    @property
    def name(self) -> str:
        """The server's name for this content, else the content's own."""
        return str(self.version) or f"sha256 {self.sha256}"


class CopyFolder:
    """The folder of one URL. Who writes holds `durable.sole_writer(folder.path)`."""

    def __init__(self, cache: Path, url: str, ending: str) -> None:
        """`ending`: the end of the URL's path, of which only a known suffix is kept."""
        self.key = hashlib.sha256(signatures.key(url).encode()).hexdigest()[:16]
        self.path = cache / self.key
        self.part = self.path / _PART
        self._url = shown(url)
        self._suffix = next((suffix for suffix in SUFFIXES if ending.lower().endswith(suffix)), "")

    @classmethod
    def at(cls, path: Path) -> "CopyFolder":
        """The folder as it lies in the cache, by what it says of itself."""
        folder = cls(path.parent, "", "")
        folder.key, folder.path, folder.part = path.name, path, path / _PART
        told = folder._read(_ORIGIN) or {}
        folder._url = told.get("url", "")
        names = [str(other) for other in path.iterdir()]
        folder._suffix = next((suffix for suffix in SUFFIXES if any(name.endswith(suffix) for name in names)), "")
        return folder

    @classmethod
    def shown_as(cls, cache: Path, url: str) -> "CopyFolder | None":
        """The folder in which the copy of a URL lies that is known without its query; None where none or several do."""
        found = [cls.at(path) for path in sorted(cache.glob("*")) if path.is_dir()] if cache.is_dir() else []
        held = [folder for folder in found if folder._url == url and folder.held() is not None]
        return held[0] if len(held) == 1 else None

    def rewrite(self, copy: Copy, write: Rewriting) -> int | None:
        """Put in the copy's place what `write` makes of it; how much of it went, None: it is to be fetched again.

        It stays the copy of the server's version, fetched and confirmed when it was.
        """
        try:
            gone = write(copy.path, self.part)
            if gone:
                kept = self.finish(copy.version)
                self.record(replace(kept, fetched_at=copy.fetched_at, checked_at=copy.checked_at))
            return gone
        finally:
            self.part.unlink(missing_ok=True)

    def clear(self, but: Path | None = None) -> None:
        """Remove all that lies here, but for a copy with its record."""
        keep = {"lock", *([but.name, _ORIGIN] if but else [])}
        for other in self.path.iterdir():
            if other.name not in keep:
                other.unlink()

    def held(self) -> Copy | None:
        """The copy; None where there is none, or not with the bytes that were recorded."""
        told = self._read(_ORIGIN)
        with contextlib.suppress(KeyError, TypeError, OSError):
            copy = Copy(
                self._named(told["sha256"]), Version(**told["version"]), told["sha256"],
                float(told["fetched_at"]), float(told["checked_at"]),
            )  # fmt: skip
            return copy if copy.path.stat().st_size == told["bytes"] else None
        return None

    def begun(self) -> tuple[int, Version]:
        """How many bytes of a download are here, and of which version; 0 where there is none."""
        with contextlib.suppress(TypeError, OSError):
            version = Version(**self._read(_PART_ORIGIN))
            return self.part.stat().st_size, version
        return 0, Version()

    def begin(self, version: Version) -> None:
        """Make room for a download from its first byte."""
        self.part.unlink(missing_ok=True)  # before the record: old bytes never stand under a new version
        self._write(_PART_ORIGIN, asdict(version))

    def finish(self, version: Version) -> Copy:
        """Make the downloaded bytes the copy. Killed in between it leaves the old copy, or none, and the bytes."""
        with self.part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        now = time.time()
        copy = Copy(self._named(digest), version, digest, now, now)
        self.part.chmod(0o600)  # it may hold addresses with signatures
        self.part.replace(copy.path)
        self.record(copy)
        for other in self.path.iterdir():
            if other.name not in (copy.path.name, _ORIGIN, "lock"):
                other.unlink()
        return copy

    def record(self, copy: Copy) -> None:
        """Write down whose copy it is."""
        when = datetime.fromtimestamp(copy.fetched_at, UTC).isoformat(timespec="seconds")
        told = {name: value for name, value in asdict(copy).items() if name != "path"}
        self._write(_ORIGIN, {"url": self._url, "fetched": when, "bytes": copy.path.stat().st_size, **told})

    def _named(self, sha256: str) -> Path:
        return self.path / f"{sha256[:16]}{self._suffix}"

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text())
        except (OSError, ValueError):
            return None

    def _write(self, name: str, told: Mapping[str, Any]) -> None:
        write_whole(self.path / name, lambda temporary: temporary.write_text(json.dumps(told, indent=1) + "\n"))


def _age(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"


@dataclass(frozen=True)
class Rewritten:
    """What became of the copies in a cache."""

    gone: int  # objects
    again: tuple[Path, ...]  # could not be rewritten and are removed: the next run fetches them again
    failed: tuple[tuple[Path, str], ...]  # are as they were, and why


def rewrite_copies(cache: Path, write: Rewriting) -> Rewritten:
    """Rewrite every copy in the cache.

    A copy stays the copy of the server's version, so that it is not fetched again for having been rewritten. What is
    no copy goes: downloads that were cut off, and copies that are not what was recorded.
    """
    gone, again, failed = 0, [], []
    for folder in sorted(path for path in cache.glob("*") if path.is_dir()) if cache.is_dir() else ():
        try:
            with sole_writer(folder):
                place = CopyFolder.at(folder)
                copy = place.held()
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
