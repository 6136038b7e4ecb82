"""Write and read the addresses of pictures on this machine: `file:///...`, and `archive:///a.zip!/1.jpg` in archives.

Paths are absolute, and percent-encoded in UTF-8. Nothing here touches the disk: `images/local_files.py` decides which
files may be opened.
"""

import os
import re
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

FILE, ARCHIVE = "file:///", "archive:///"
INSIDE = "!/"  # between an archive and its member; a `!` of a name is written as %21
LONGEST_PATH = 4095  # bytes: Linux' PATH_MAX without its final zero
# A path that names a member of an archive: `a.zip/1.jpg`, `a.tar!/1.jpg`.
_MEMBER = re.compile(
    r"([^\0]*?\.(?:zip|tar|tgz|tar\.gz|tar\.bz2|tar\.xz|tar\.zst|7z|rar))(?:!/|/(?!$))([^\0]+)", re.IGNORECASE
)


class LocalPlace(NamedTuple):
    """A picture on this machine: an absolute path, and for one in an archive the name of the member."""

    path: str
    member: str | None = None


def is_local(address: str) -> bool:
    """Return whether this is an address that this module writes."""
    return address.startswith((FILE, ARCHIVE))


def file_address(path: str) -> str:
    """Write the address of an absolute path; a component that names an archive makes it that of a member."""
    found = _MEMBER.fullmatch(path)
    if found is not None:
        return archive_address(found[1], found[2])
    return "file://" + quote(os.fsencode(path))


def archive_address(path: str, member: str) -> str:
    """Write the address of a member of the archive at an absolute path."""
    return f"archive://{quote(os.fsencode(path))}{INSIDE}{quote(os.fsencode(member))}"


def local_place(address: str) -> LocalPlace | None:
    """Read an address of this machine; None if it is none, or names no absolute path.

    A path through an archive names its member, also in a `file:///` address.
    """
    if address.startswith(FILE):
        path, member = address.removeprefix("file://"), None
    elif address.startswith(ARCHIVE):
        path, inside, name = address.removeprefix("archive://").partition(INSIDE)
        if not inside or not name:
            return None
        member = os.fsdecode(unquote_to_bytes(name))
    else:
        return None
    if "%" in path:
        path = os.fsdecode(unquote_to_bytes(path))
    if member is None and (found := _MEMBER.fullmatch(path)) is not None:
        path, member = found[1], found[2]
    if "\0" in path or (member is not None and "\0" in member):
        return None
    return LocalPlace(path, member)
