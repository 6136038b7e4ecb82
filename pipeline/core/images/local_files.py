"""Read pictures from files on this machine: only regular files, inside allowed folders, of bounded size.

An address comes from a shop's table, so it may name anything. Its folder is resolved, links included, before anything
is opened, and nothing that could block or act when it is opened (a pipe, a device) is opened.
"""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.core.images.archives import Archive, ArchiveError, opened_archive
from pipeline.core.images.image_validator import QUICK_BYTES
from pipeline.core.images.transfer import Attempt
from pipeline.core.local_address import LocalPlace, local_place
from pipeline.core.stored_address import is_stored

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


class Found(NamedTuple):
    """What is at a place now: a mark that changes with the file, or the reason why there is no file to read."""

    mark: str | None
    reason: str | None = None


class RefusedError(Exception):
    """A place that is not read; its message is one of schemas.REASONS."""


class LocalFiles:
    """The pictures in some folders; several threads may read. `close` closes the archives."""

    def __init__(self, folders: Iterable[str], max_bytes: int) -> None:
        self.max_bytes = max_bytes
        local = (os.path.realpath(folder) for folder in folders if not is_stored(folder))
        self._roots = tuple(sorted({os.path.join(folder, "") for folder in local}))  # noqa: PTH118
        self._real: dict[str, str] = {}  # folder -> the folder with links resolved, if it is allowed, else ""
        self._archives: dict[str, Archive] = {}

    def look(self, place: LocalPlace) -> Found:
        """Look whether a place has a file that may be read, without opening it."""
        try:
            _, status = self._status(place.path)
            if place.member is not None and stat.S_ISDIR(status.st_mode):  # a folder that is named like an archive
                return self.look(LocalPlace(f"{place.path}/{place.member}"))
            return Found(_mark(status))
        except RefusedError as refusal:
            return Found(None, str(refusal))

    def read(self, place: LocalPlace, at_most: int | None = None) -> Attempt | None:
        """Read a picture; None if it has more than `at_most` bytes. The attempt's `etag` is the file's mark."""
        mark = None
        try:
            path, status = self._status(place.path)
            if place.member is not None and stat.S_ISDIR(status.st_mode):
                return self.read(LocalPlace(f"{place.path}/{place.member}"), at_most)
            mark = _mark(status)
            if place.member is not None:
                return self._read_member(path, place.member, mark, at_most)
            if not stat.S_ISREG(status.st_mode):
                raise RefusedError("not_a_picture")
            if status.st_size > self.max_bytes:
                raise RefusedError("too_large")
            if at_most is not None and status.st_size > at_most:
                return None
            return Attempt("ok", data=_content(path, status), etag=mark)
        except RefusedError as refusal:
            return Attempt(str(refusal), etag=mark)

    def read_small(self, addresses: Sequence[str]) -> list[Attempt | None]:
        """Read pictures; an entry is None if the file has more than QUICK_BYTES."""
        return [self._read_at(address, QUICK_BYTES) for address in addresses]

    def read_one(self, address: str) -> Attempt:
        """Read one picture of any allowed size."""
        attempt = self._read_at(address, None)
        assert attempt is not None
        return attempt

    def close(self) -> None:
        """Close the archives."""
        for archive in self._archives.values():
            archive.close()
        self._archives.clear()

    def _read_at(self, address: str, at_most: int | None) -> Attempt | None:
        place = local_place(address)
        return Attempt("bad_url") if place is None else self.read(place, at_most)

    def _status(self, path: str) -> tuple[str, os.stat_result]:
        """Resolve a path; return it without links, and its status. Raises RefusedError."""
        folder, _, name = path.rpartition("/")
        real = self._real.get(folder)
        if real is None:
            real = os.path.realpath(folder or "/")
            self._real[folder] = real if self._allowed(real) and ".." not in folder.split("/") else ""
            real = self._real[folder]
        if not real or name == "..":
            raise RefusedError("outside_folders")
        if name in ("", "."):
            raise RefusedError("not_a_picture")  # a folder
        path = f"{real.rstrip('/')}/{name}"
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                path = os.path.realpath(path)
                if not self._allowed(os.path.dirname(path)):  # noqa: PTH120
                    raise RefusedError("outside_folders")
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode):  # a circle of links
                    raise RefusedError("file_missing")
        except OSError as error:
            raise _refusal(error) from error
        return path, status

    def _allowed(self, folder: str) -> bool:
        return os.path.join(folder, "").startswith(self._roots)  # noqa: PTH118

    def _read_member(self, path: str, member: str, mark: str, at_most: int | None) -> Attempt | None:
        try:
            archive = self._archives.get(path)
            if archive is None:
                archive = self._archives.setdefault(path, opened_archive(_descriptor(path)))
            data = archive.read(member, self.max_bytes, at_most)
        except ArchiveError as error:
            return Attempt(error.reason, etag=None if error.reason == "file_unreadable" else mark)
        except OSError as error:
            raise _refusal(error) from error
        return None if data is None else Attempt("ok", data=data, etag=mark)


def _mark(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def _refusal(error: OSError) -> RefusedError:
    return RefusedError("file_missing" if error.errno in _GONE else "file_unreadable")


def _descriptor(path: str) -> int:
    """Open a path that has no links, if it is a regular file. Raises RefusedError."""
    try:
        descriptor = os.open(path, _OPEN)
    except OSError as error:
        raise _refusal(error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RefusedError("not_a_picture")
    return descriptor


def _content(path: str, status: os.stat_result) -> bytes:
    """Read a file whose status is known. Raises RefusedError, also if it has changed since."""
    descriptor = _descriptor(path)
    try:
        data = os.read(descriptor, status.st_size + 1)
        while len(data) < status.st_size and (more := os.read(descriptor, status.st_size + 1 - len(data))):
            data += more
    except OSError as error:
        raise _refusal(error) from error
    finally:
        os.close(descriptor)
    if len(data) != status.st_size:
        raise RefusedError("truncated")  # it is being written
    return data
