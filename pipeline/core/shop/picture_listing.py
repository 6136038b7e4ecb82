"""List the names of picture files in folders and in archives, for patterns with a `*`."""

import fnmatch
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from pipeline.core.images.archives import opened_archive
from pipeline.core.local_address import file_address, local_place

FOLDERS_LISTED = 4_096  # whose names are kept in memory
ARCHIVES_LISTED = 16  # likewise; one has at most a million members


class PictureListing:
    """The sorted names in folders and archives, without hidden ones; each is listed once."""

    def __init__(self) -> None:
        self._of_folder = lru_cache(FOLDERS_LISTED)(_names)
        self._of_archive = lru_cache(ARCHIVES_LISTED)(_members)

    def names(self, folder: Path) -> Sequence[str]:
        """List the files in a folder, or in a folder of an archive (`pics.zip/small`); none if it is absent.

        Raises:
            ArchiveError: the archive cannot be read.
        """
        archive, inside = archived(folder)
        if inside is None:
            return self._of_folder(folder)
        return self._of_archive(archive).get(inside, ())


def archived(folder: Path) -> tuple[Path, str | None]:
    """Split a path at the archive that it leads through, into that file and a folder in it; None without one."""
    place = local_place(file_address(os.path.abspath(folder / "x")))  # noqa: PTH100  (links stay as named)
    if place is None or place.member is None or Path(place.path).is_dir():
        return folder, None
    return Path(place.path), place.member.rpartition("/")[0]


def present(folder: Path, components: Sequence[str]) -> Iterator[str]:
    """Describe what is at a path whose components may have a `*`: every file by its name, an archive by size and date.

    The components of an archive are not followed, because its date changes with its members.
    """
    name, *further = components
    if not any(mark in name for mark in "*?["):
        found = [name] if (folder / name).exists() else []
    else:
        found = fnmatch.filter(_names(folder), name)
    for each in found:
        path = folder / each
        if not further:
            yield str(path)
        elif path.is_dir():
            yield from present(path, further)
        elif path.is_file():
            status = path.stat()
            yield f"{path} {status.st_size} {status.st_mtime_ns}"


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError:
        return []


def _members(path: Path) -> dict[str, list[str]]:
    """List the members of an archive by their folders; none if there is no such file. Raises ArchiveError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return {}
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return {}
    archive, found = opened_archive(descriptor), defaultdict[str, list[str]](list)
    try:
        for member in archive.names():
            folder, _, name = member.rpartition("/")
            if name and not name.startswith("."):
                found[folder].append(name)
    finally:
        archive.close()
    return {folder: sorted(names) for folder, names in found.items()}
