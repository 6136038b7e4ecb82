"""Read single members of .zip and .tar archives, without unpacking anything to disk.

An archive's index is read once and bounded in size. A member is found by its name alone, so a name that is absolute or
has `..` in it leads nowhere. The size that a member announces is never trusted.
"""

import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

MEMBERS_AT_MOST = 1_000_000
INDEX_BYTES_AT_MOST = 64_000_000  # of a zip's central directory: some 600,000 members with usual names
RATIO_AT_MOST = 200  # pictures are compressed already
_NAME_BYTES, _PAX_BYTES = 4_096, 65_536  # longest name of a tar's member, and longest header with attributes
_ZIP_END, _ZIP_END_BYTES, _ZIP_COMMENT = b"PK\5\6", 22, 65_535
_UTF8_MARK = 0x800
_BLOCK = 512
_REGULAR = (b"0", b"\0", b"7")


class ArchiveError(Exception):
    """A member that is not read; `reason` is one of schemas.REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Archive(Protocol):
    """An open archive, which several threads may read."""

    def read(self, member: str, max_bytes: int, at_most: int | None) -> bytes | None:
        """Read a member; None if it has more than `at_most` bytes. Raises ArchiveError or OSError."""
        ...

    def names(self) -> Iterator[str]:
        """Iterate over the members' names, as `read` takes them; a name that leads out of the archive is left out."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def opened_archive(descriptor: int) -> Archive:
    """Open the archive in a file and read its index; the archive closes the descriptor.

    Raises:
        ArchiveError: it is neither a zip nor an uncompressed tar (unsupported_format), damaged (file_unreadable), or
            has too many members (too_costly).
    """
    file = os.fdopen(descriptor, "rb")
    try:
        start = file.read(_BLOCK)
        if start.startswith((b"PK\3\4", _ZIP_END)):
            return _Zip(file)
        if len(start) == _BLOCK and _tar_checksum(start):
            return _Tar(file)
        raise ArchiveError("unsupported_format" if start else "file_unreadable")
    except BaseException:
        file.close()
        raise


class _Zip:
    def __init__(self, file: BinaryIO) -> None:
        _expect_bounded(file)
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError, struct.error) as error:
            raise ArchiveError("file_unreadable") from error
        self._file = file
        if len(self._zip.filelist) > MEMBERS_AT_MOST:
            raise ArchiveError("too_costly")

    def read(self, member: str, max_bytes: int, at_most: int | None) -> bytes | None:
        found = next((info for name in _spellings(member) if (info := self._zip.NameToInfo.get(name))), None)
        if found is None or found.is_dir():
            raise ArchiveError("file_missing")
        if found.file_size > max_bytes:
            raise ArchiveError("too_large")
        if found.file_size > RATIO_AT_MOST * max(1, found.compress_size):
            raise ArchiveError("too_costly")
        if found.flag_bits & 1 or found.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveError("unsupported_format")  # encrypted, or compressed in a way that may take much memory
        if at_most is not None and found.file_size > at_most:
            return None
        try:
            with self._zip.open(found) as opened:
                data = opened.read(max_bytes + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
            raise ArchiveError("not_a_picture") from error  # damaged
        if len(data) > max_bytes:
            raise ArchiveError("too_large")
        if len(data) != found.file_size:
            raise ArchiveError("not_a_picture")
        return data

    def names(self) -> Iterator[str]:
        for info in self._zip.filelist:
            name = None if info.is_dir() else _member_name(_unmarked(info).encode("utf-8", "surrogateescape"))
            if name is not None:
                yield name

    def close(self) -> None:
        self._zip.close()
        self._file.close()


def _spellings(member: str) -> Iterator[str]:
    """List the names under which a zip may have a member. macOS writes UTF-8 without saying so: it reads as cp437."""
    yield member
    yield f"./{member}"
    if not member.isascii():
        yield member.encode("utf-8", "surrogateescape").decode("cp437")


def _unmarked(info: zipfile.ZipInfo) -> str:
    """Return the name of a zip's member, also where it is UTF-8 without saying so."""
    if info.flag_bits & _UTF8_MARK or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except ValueError:
        return info.filename


def _expect_bounded(file: BinaryIO) -> None:
    """Raise ArchiveError if a zip's index is too large, before zipfile reads it whole."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _ZIP_END_BYTES - _ZIP_COMMENT)
    file.seek(start)
    tail = file.read()
    at = len(tail) - _ZIP_END_BYTES
    if at < 0 or not (tail.startswith(_ZIP_END, at) and tail.endswith(b"\0\0")):
        at = tail.rfind(_ZIP_END)
    if at < 0 or len(tail) < at + _ZIP_END_BYTES:
        raise ArchiveError("file_unreadable")
    (index_bytes,) = struct.unpack_from("<I", tail, at + 12)
    file.seek(max(0, start + at - 20))
    locator = file.read(20)
    if locator.startswith(b"PK\6\7"):
        # zipfile looks for the 64-bit record right before its locator.
        file.seek(max(0, start + at - 20 - 56))
        record = file.read(56)
        index_bytes = struct.unpack_from("<Q", record, 40)[0] if len(record) == 56 else index_bytes
    file.seek(0)
    if index_bytes > INDEX_BYTES_AT_MOST:
        raise ArchiveError("too_costly")


class _Tar:
    """An uncompressed tar (POSIX.1-1988 and 2001, and GNU's long names). Links and devices are left out.

    The standard library's `tarfile` reads headers of any size into memory, and took quadratic time over some
    (CVE-2024-6232).
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._members = dict(_tar_members(file))

    def read(self, member: str, max_bytes: int, at_most: int | None) -> bytes | None:
        if member not in self._members:
            raise ArchiveError("file_missing")
        start, size = self._members[member]
        if size > max_bytes:
            raise ArchiveError("too_large")
        if at_most is not None and size > at_most:
            return None
        with self._lock:
            self._file.seek(start)
            data = self._file.read(size)
        if len(data) != size:
            raise ArchiveError("not_a_picture")  # the archive is cut off
        return data

    def names(self) -> Iterator[str]:
        yield from self._members

    def close(self) -> None:
        self._file.close()


def _tar_members(file: BinaryIO) -> Iterator[tuple[str, tuple[int, int]]]:
    """List name, start and size of the regular files of a tar, up to its end or the first damaged header.

    Raises ArchiveError (too_costly) if there are too many headers.
    """
    end = file.seek(0, os.SEEK_END)
    at, name, size = 0, None, None
    for _ in range(2 * MEMBERS_AT_MOST):
        file.seek(at)
        header = file.read(_BLOCK)
        if len(header) < _BLOCK or not _tar_checksum(header):
            return
        own = _tar_number(header[124:136])
        kind, start = header[156:157], at + _BLOCK
        length = size if size is not None and kind in _REGULAR else own
        if length is None or start + length > end + _BLOCK:
            return
        if kind == b"L" and length <= _NAME_BYTES:
            name = file.read(length).rstrip(b"\0")
        elif kind == b"x" and length <= _PAX_BYTES:
            name, size = _pax(file.read(length), name)
        elif kind not in (b"g", b"K", b"L", b"x"):
            if kind in _REGULAR and (path := _member_name(name or _tar_name(header))):
                yield path, (start, length)
            name = size = None
        at = start + -(-length // _BLOCK) * _BLOCK
    raise ArchiveError("too_costly")


def _tar_checksum(header: bytes) -> bool:
    given = _tar_number(header[148:156])
    return given == sum(header[:148]) + sum(header[156:]) + 8 * 0x20


def _tar_number(field: bytes) -> int | None:
    """Read an octal number, or GNU's base 256; None if it is neither."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    return int(text, 8) if text and all(b"0"[0] <= digit <= b"7"[0] for digit in text) else (None if text else 0)


def _tar_name(header: bytes) -> bytes:
    name, prefix = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _pax(content: bytes, name: bytes | None) -> tuple[bytes | None, int | None]:
    """Read path and size from a header with attributes: records of `LENGTH KEY=VALUE` and a line break."""
    at, size = 0, None
    while at < len(content):
        digits, _, _ = content[at : at + 8].partition(b" ")
        if not digits.isdigit() or int(digits) <= len(digits) or at + int(digits) > len(content):
            break
        key, _, value = content[at + len(digits) + 1 : at + int(digits) - 1].partition(b"=")
        if key == b"path":
            name = value
        elif key == b"size" and value.isdigit() and len(value) < 20:
            size = int(value)
        at += int(digits)
    return name, size


def _member_name(name: bytes) -> str | None:
    """Return a member's name without `./` before it; None if it leads out of the archive."""
    path = os.fsdecode(name)
    while path.startswith("./"):
        path = path[2:]
    return None if path.startswith("/") or ".." in path.split("/") else path
