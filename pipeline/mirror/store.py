"""The store: objects named by their content's digest, and numbered snapshots that list the files of a home.

    objects/<sha256>           a file's bytes, written once
    snapshots/<number>.json    {"files": {path: {"sha256", "size"}}, "made"}

A snapshot appears whole and its number is used once: of two machines that write at the same time, one fails. Any fsspec
address will do; `s3://bucket/prefix` needs the extra `s3`.
"""

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from upath import UPath

from pipeline.core.durable import whole, write_whole
from pipeline.core.errors import InputError
from pipeline.home.environment import redacted

GRACE = 3600.0  # seconds before an unreferenced object is removed: a machine may still be pulling an older snapshot
_BLOCK = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    """One file of a snapshot."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Snapshot:
    """The files of a home at one moment, by relative POSIX path. Number 0 is the empty snapshot."""

    number: int
    files: dict[str, StoredFile]


@dataclass(frozen=True)
class FileStat:
    """A file's identity in the file system. Every write changes it, because writers rename new files into place."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileStat":
        """Read the identity of the file at `path`."""
        now = path.stat()
        return cls(now.st_ino, now.st_size, now.st_mtime_ns)


class ChangedFileError(RuntimeError):
    """A file changed while it was copied; the next push copies it."""


class OutrunError(InputError):
    """Another machine wrote a snapshot since this home was last synchronised with the store."""

    def __init__(self, number: int, address: str) -> None:
        super().__init__(
            f"another machine wrote snapshot {number} of {address}, which this home does not have. Nothing is lost. "
            "Continue from it: python -m pipeline.mirror pull. Keep this home's files: set another ATELIER_STORE."
        )


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file's content."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


class Store:
    """A store in a folder, under a bucket's prefix, or at any other fsspec address."""

    def __init__(self, address: str) -> None:
        """Open the store at an fsspec address.

        Raises:
            InputError: fsspec does not know the protocol, or its package is not installed.
        """
        try:
            self.root = UPath(address)
            self._filesystem = self.root.fs
        except (ImportError, ValueError) as error:
            raise InputError(
                f"ATELIER_STORE {redacted(address)}: {error}. A folder or s3://bucket/prefix will do; for the latter "
                "install the extra: pip install -e .[s3]"
            ) from error
        self.address = redacted(address)  # as it is printed and remembered
        self._local = self.root.protocol in ("", "file", "local")

    def latest(self) -> Snapshot:
        """Read the snapshot with the highest number; return the empty one if there is none."""
        self._filesystem.invalidate_cache()  # fsspec caches listings, and another machine may have written
        folder = self.root / "snapshots"
        numbers = [int(p.stem) for p in folder.iterdir() if p.stem.isdecimal()] if folder.is_dir() else []
        if not numbers:
            return Snapshot(0, {})
        content = json.loads(self._snapshot(max(numbers)).read_text())
        return Snapshot(max(numbers), {name: StoredFile(**stored) for name, stored in content["files"].items()})

    def write(self, after: Snapshot, files: dict[str, StoredFile]) -> Snapshot:
        """Write the snapshot that follows `after`. All of its objects must be in the store.

        Raises:
            OutrunError: another machine has written a snapshot of that number.
        """
        made = Snapshot(after.number + 1, files)
        content = {
            "files": {name: vars(stored) for name, stored in sorted(files.items())},
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        path = self._snapshot(made.number)
        if self._local:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as opened:
                opened.write((json.dumps(content, indent=1) + "\n").encode())
        except FileExistsError as error:
            raise OutrunError(made.number, self.address) from error
        return made

    def objects(self) -> dict[str, tuple[int, float]]:
        """List the objects: size in bytes and time of writing (seconds since 1970) by digest."""
        self._filesystem.invalidate_cache()
        try:
            found = self._filesystem.find((self.root / "objects").path, detail=True)
        except FileNotFoundError:
            return {}
        return {path.rsplit("/", 1)[-1]: (info["size"], _written_at(info)) for path, info in found.items()}

    def put(self, path: Path, stored: StoredFile, stat: FileStat) -> None:
        """Copy a file to the store.

        Args:
            path: the file.
            stored: its digest and size.
            stat: its identity before the digest was computed.

        Raises:
            ChangedFileError: the file was replaced meanwhile; no object is left in the store.
        """
        target = self._object(stored.sha256)
        if self._local:
            destination = Path(target.path)
            destination.parent.mkdir(parents=True, exist_ok=True)
            write_whole(destination, lambda temporary: shutil.copyfile(path, temporary))
        else:
            # A large file goes in several parts; the object appears with the last one.
            self._filesystem.put_file(str(path), target.path)
        if FileStat.of(path) != stat:
            target.unlink()
            raise ChangedFileError(f"{path} changed while it was copied to {self.address}")

    def get(self, stored: StoredFile, path: Path) -> None:
        """Copy an object to `path`, whole or not at all.

        Raises:
            RuntimeError: the object's bytes do not have its digest.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with whole(path) as temporary:
            with self._object(stored.sha256).open("rb") as source, temporary.open("wb") as written:
                while block := source.read(_BLOCK):
                    digest.update(block)
                    written.write(block)
            if digest.hexdigest() != stored.sha256:
                raise RuntimeError(
                    f"{self.address}: object {stored.sha256} is damaged: push again from a machine that has the file."
                )

    def prune(self, kept: Snapshot, grace: float = GRACE) -> int:
        """Remove the snapshots before `kept`, and the objects that `kept` does not name and older than `grace` seconds.

        Returns the number of removed objects.
        """
        for path in list((self.root / "snapshots").iterdir()):
            if path.stem.isdecimal() and int(path.stem) < kept.number:
                path.unlink()
        needed = {stored.sha256 for stored in kept.files.values()}
        removed = [
            digest
            for digest, (_, written) in self.objects().items()
            if digest not in needed and time.time() - written >= grace
        ]
        for digest in removed:
            self._object(digest).unlink()
        return len(removed)

    def _snapshot(self, number: int) -> UPath:
        return self.root / "snapshots" / f"{number:08d}.json"

    def _object(self, sha256: str) -> UPath:
        return self.root / "objects" / sha256


def _written_at(info: dict[str, Any]) -> float:
    time_written = info.get("LastModified") or info.get("mtime") or info.get("created") or 0.0
    return time_written.timestamp() if isinstance(time_written, datetime) else float(time_written)
