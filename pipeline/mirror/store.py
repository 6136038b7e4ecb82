"""The store's side: objects by their content, and numbered snapshots that say which of them make up a home.

    objects/<sha256>           a file's bytes, written once
    snapshots/<number>.json    {"files": {path: {"sha256", "size"}}, "made"}

A snapshot appears whole, under a number that nobody had: two machines that write at once cannot both win. Any fsspec
address will do, `s3://bucket/prefix` with the extra `s3`. Which files of a home count is `sync.py`'s.
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

GRACE = 3600.0  # seconds that an object no snapshot names is kept: somebody may be reading the snapshot before
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """One file of a snapshot."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Snapshot:
    """A home at one moment: relative POSIX paths and what lies there. Number 0 is the empty one."""

    number: int
    files: dict[str, Stored]


@dataclass(frozen=True)
class Seen:
    """A file as the file system tells it; every change of it shows here, since ours are renamed into place."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "Seen":
        """The file at `path` now."""
        found = path.stat()
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


class ChangedFileError(RuntimeError):
    """A file changed while it was copied: the next push takes it."""


class OutrunError(InputError):
    """Another machine wrote a snapshot since this home was last in step with the store."""

    def __init__(self, number: int, address: str) -> None:
        super().__init__(
            f"another machine wrote snapshot {number} of {address}, which this home does not have. Nothing is lost: to "
            "go on from there run python -m pipeline.mirror pull; to keep this home's own, name another ATELIER_STORE."
        )


def sha256_of(path: Path) -> str:
    """The hex digest of a file's content."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


class Store:
    """A folder, a bucket's prefix, or whatever else fsspec can address."""

    def __init__(self, address: str) -> None:
        """`address` as fsspec reads it.

        Raises:
            InputError: no such kind of address, or its package is not installed.
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
        """The snapshot with the highest number; the empty one where there is none."""
        self._filesystem.invalidate_cache()  # fsspec remembers listings, and another machine may have written
        folder = self.root / "snapshots"
        numbers = [int(p.stem) for p in folder.iterdir() if p.stem.isdecimal()] if folder.is_dir() else []
        if not numbers:
            return Snapshot(0, {})
        content = json.loads(self._snapshot(max(numbers)).read_text())
        return Snapshot(max(numbers), {name: Stored(**stored) for name, stored in content["files"].items()})

    def write(self, after: Snapshot, files: dict[str, Stored]) -> Snapshot:
        """Write the snapshot that follows `after`; all of its objects must be there.

        Raises:
            OutrunError: another machine has written it.
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
        """What lies there: size and when it was written (seconds since 1970) by digest."""
        self._filesystem.invalidate_cache()
        try:
            found = self._filesystem.find((self.root / "objects").path, detail=True)
        except FileNotFoundError:
            return {}
        return {path.rsplit("/", 1)[-1]: (about["size"], _written(about)) for path, about in found.items()}

    def put(self, path: Path, stored: Stored, seen: Seen) -> None:
        """Bring a file's content to the store.

        Args:
            path: the file.
            stored: what its content is.
            seen: the file as it was before its content was read for `stored`.

        Raises:
            ChangedFileError: the file is another one by now; nothing is left in the store.
        """
        target = self._object(stored.sha256)
        if self._local:
            destination = Path(target.path)
            destination.parent.mkdir(parents=True, exist_ok=True)
            write_whole(destination, lambda temporary: shutil.copyfile(path, temporary))
        else:
            # In several parts where it is large; the object appears with the last one.
            self._filesystem.put_file(str(path), target.path)
        if Seen.of(path) != seen:
            target.unlink()
            raise ChangedFileError(f"{path} changed while it was copied to {self.address}")

    def get(self, stored: Stored, path: Path) -> None:
        """Bring an object here, whole or not at all.

        Raises:
            RuntimeError: the store's bytes are not what the snapshot says.
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
                    f"{self.address}: object {stored.sha256} is damaged: push again from a machine that has it."
                )

    def prune(self, kept: Snapshot, grace: float = GRACE) -> int:
        """Remove the snapshots before `kept`, and objects that it does not name and that are older than `grace`.

        Returns how many objects went.
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


def _written(about: dict[str, Any]) -> float:
    when = about.get("LastModified") or about.get("mtime") or about.get("created") or 0.0
    return when.timestamp() if isinstance(when, datetime) else float(when)
