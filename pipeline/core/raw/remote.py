"""Fetch input files from http(s) URLs into the cache once, and afterwards only ask whether they changed.

This module decides when to ask, and what to do if the server does not answer. URLs with user names or passwords are
refused. A URL's query may hold a signature, so it is used but neither printed nor stored. A URL that the home remembers
therefore lacks its query (`sources.lacks_query`): its copy is used unchanged, and without a copy the user must give
the whole address.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from pipeline.core.connections import ConnectionLoop
from pipeline.core.durable import sole_writer
from pipeline.core.errors import InputError, UnreachableError
from pipeline.core.raw.copies import Copy, CopyFolder
from pipeline.core.raw.download import Download, NoAnswerError, OnProgress, RemoteSettings, Warn, exact_url
from pipeline.core.raw.sources import lacks_query, shown

__all__ = ["QueryMissingError", "RemoteSettings", "check", "data_version", "fetch_to_cache", "named_version"]

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


def fetch_to_cache(
    url: str,
    folder: Path,
    settings: RemoteSettings | None = None,
    on_progress: OnProgress | None = None,
    warn: Warn = _log.warning,
) -> Path:
    """Fetch the file of `url` into the cache `folder`, unless the copy there is current; return the copy's path.

    A stopped download resumes if the server still has the same file. If the server is unreachable, an existing copy is
    used and `warn` gets its age. `on_progress` is called at most every half second, and at the end of a download.

    Raises:
        InputError: there is no file; the message names the URL, the status and the remedy.
        UnreachableError: there is no file now; a later call may succeed.
    """
    if lacks_query(url):
        return _without_asking(url, folder, warn).path
    source = _Source(url, folder, settings or RemoteSettings(), warn)
    try:
        with sole_writer(source.folder.path):
            return source.fetch(on_progress).path
    except BlockingIOError as error:
        raise InputError(f"{source}: another process is downloading it; run again when that has ended") from error
    except OSError as error:
        raise InputError(
            f"{source}: {source.folder.path} cannot be written ({error.strerror}); make room on that disk or fix its "
            "permissions, and run again: the download then resumes"
        ) from error


def data_version(url: str, folder: Path, settings: RemoteSettings | None = None, warn: Warn = _log.warning) -> str:
    """Return a text that changes with the file of `url`: its ETag, else its Last-Modified and size.

    If the server names neither, the file is downloaded, and its content is the version. Raises as `fetch_to_cache`.
    """
    if lacks_query(url):
        held = _without_asking(url, folder, warn)
        return f"{held.path.parent.name} {held.name}"
    source = _Source(url, folder, settings or RemoteSettings(), warn)
    name = source.look()
    if not name:
        fetch_to_cache(url, folder, settings, warn=warn)
        held = source.folder.current()
        name = held.name if held else ""
    return f"{source.folder.key} {name}"


def named_version(url: str, folder: Path, settings: RemoteSettings | None = None, warn: Warn = _log.warning) -> str:
    """Return the server's version like `data_version`, but empty if it names none; never downloads."""
    if lacks_query(url):
        return str(_without_asking(url, folder, warn).version)
    return _Source(url, folder, settings or RemoteSettings(), warn).look()


def check(url: str, folder: Path, settings: RemoteSettings | None = None, warn: Warn = _log.warning) -> None:
    """Check that `url` has a file, without downloading it. Raises as `fetch_to_cache`."""
    if lacks_query(url):
        _without_asking(url, folder, warn)
        return
    _Source(url, folder, settings or RemoteSettings(), warn).look()


def _without_asking(url: str, folder: Path, warn: Warn) -> Copy:
    """Find the copy of a URL that is known without its query. Raises QueryMissingError if there is none."""
    place = CopyFolder.find_by_shown_url(folder, url)
    held = place.current() if place is not None else None
    if held is None:
        raise QueryMissingError(
            f"{url}: known without its query, which may be a signature and is not kept, and there is no copy"
        )
    warn(f"{url}: known without its query, so the server is not asked; using {held}")
    return held


class QueryMissingError(InputError):
    """The URL is known only without its query, and there is no copy; the whole address is needed."""


class _Source:
    """One URL and its place in the cache."""

    def __init__(self, url: str, cache: Path, settings: RemoteSettings, warn: Warn) -> None:
        self.name = shown(url)
        parsed = exact_url(url)
        if parsed is None:
            raise InputError(
                f"{self}: not a URL that can be fetched; give http(s)://host/file without user name and password "
                "(a signed URL will do), or download the file and give its path"
            )
        self.settings, self.warn = settings, warn
        self.folder = CopyFolder(cache, str(parsed), parsed.path)
        self.download = Download(parsed, self.name, self.folder, settings, warn)

    def __str__(self) -> str:
        return self.name

    def fetch(self, on_progress: OnProgress | None) -> Copy:
        """Bring the copy up to date and return it."""
        held = self.folder.current()
        if held and not str(held.version) and 0 <= time.time() - held.checked_at < self.settings.unversioned_fresh:
            return held
        return self._ask(lambda: self.download.run(on_progress), lambda copy: copy)

    def look(self) -> str:
        """Ask the server for the file's current version; empty if it names none."""
        return self._ask(self.download.version, lambda copy: copy.name)

    def _ask(self, question: Callable[[], Awaitable[_Answer]], of_copy: Callable[[Copy], _Answer]) -> _Answer:
        """Ask the server; if it does not answer, warn and use the copy. Raises UnreachableError without a copy."""
        try:
            with asyncio.Runner(loop_factory=ConnectionLoop) as runner:
                return runner.run(self.download.retry(question))
        except NoAnswerError as error:
            if (held := self.folder.current()) is not None:
                self.warn(f"{self}: {error}; using {held}")
                return of_copy(held)
            size, _ = self.folder.partial_download()
            kept = f" ({size:,} bytes are here; the download resumes there if the server can)" if size else ""
            raise UnreachableError(
                f"{self}: {error}, and there is no earlier copy; check the address and the connection and run again"
                + kept
            ) from error
