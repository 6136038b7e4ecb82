"""Fetch inputs into the cache once, and afterwards only ask whether they changed: URLs, buckets, tables of databases.

This module decides when to ask, and what to do if the server does not answer. http(s) URLs with user names or passwords
are refused. A URL's query and a database's password are used but neither printed nor stored. An address that the home
remembers therefore lacks them (`sources.lacks_query`): its copy is used unchanged, and without a copy the user must
give the whole address.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

from pipeline.core.connections import ConnectionLoop
from pipeline.core.durable import held, sole_writer
from pipeline.core.errors import InputError, UnreachableError
from pipeline.core.raw import bucket, database_urls
from pipeline.core.raw.copies import Copy, CopyFolder
from pipeline.core.raw.databases import DatabaseTable
from pipeline.core.raw.download import Download, NoAnswerError, OnProgress, RemoteSettings, Warn, exact_url
from pipeline.core.raw.sources import BUCKET, lacks_query, shown

__all__ = [
    "QueryMissingError",
    "RemoteSettings",
    "check",
    "data_version",
    "expanded",
    "fetch_to_cache",
    "named_version",
]

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


class Source(Protocol):
    """An input on a server or in a database, and its place in the cache. The methods raise NoAnswerError."""

    name: str  # as it may be printed
    folder: CopyFolder

    def fetch(self, on_progress: OnProgress | None = None) -> Copy:
        """Bring the copy up to date and return it."""
        ...

    def version(self) -> str:
        """Ask for the current version; empty if it has no name."""
        ...

    def mark(self) -> str:
        """Return a cheap text that changes when the input may have changed; empty if nothing can tell."""
        ...


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
    source = _source(url, folder, settings or RemoteSettings(), warn)
    return _fetched(source, on_progress, warn).path


def data_version(url: str, folder: Path, settings: RemoteSettings | None = None, warn: Warn = _log.warning) -> str:
    """Return a text that changes with the input at `url`: its ETag, else its Last-Modified and size.

    If the server names neither, the file is downloaded, and its content is the version; so it is with the rows of a
    database's table. Raises as `fetch_to_cache`.
    """
    is_table = bool(database_urls.kind_of(url))
    if lacks_query(url):
        copy = _without_asking(url, folder, warn)
        return f"rows {copy.sha256}" if is_table else f"{copy.path.parent.name} {copy.name}"
    source = _source(url, folder, settings or RemoteSettings(), warn)
    if is_table:
        return f"rows {_fetched(source, None, warn).sha256}"
    name = _answer(source, source.version, lambda copy: copy.name, warn)
    return f"{source.folder.key} {name or f'sha256 {_fetched(source, None, warn).sha256}'}"


def named_version(url: str, folder: Path, settings: RemoteSettings | None = None, warn: Warn = _log.warning) -> str:
    """Return a mark of the input at `url`, such as its version, empty if it has none; never downloads.

    Raises UnreachableError for a database that does not answer.
    """
    if lacks_query(url):
        return str(_without_asking(url, folder, warn).version)
    source = _source(url, folder, settings or RemoteSettings(), warn)
    if not database_urls.kind_of(url):
        return _answer(source, source.mark, lambda copy: copy.name, warn)
    try:
        return source.mark()
    except NoAnswerError as error:
        raise UnreachableError(f"{source.name}: {error}") from None


def check(url: str, folder: Path, settings: RemoteSettings | None = None, warn: Warn = _log.warning) -> None:
    """Check that `url` has a file or table, without reading it. Raises as `fetch_to_cache`."""
    if lacks_query(url):
        _without_asking(url, folder, warn)
        return
    source = _source(url, folder, settings or RemoteSettings(), warn)
    _answer(source, source.version, lambda copy: copy.name, warn)


def expanded(url: str, settings: RemoteSettings | None = None) -> list[str]:
    """List the URLs of the objects in a bucket's folder or pattern; any other URL is returned as it is.

    Raises:
        InputError: there are none, or the bucket refuses.
        UnreachableError: the bucket does not answer; a later call may succeed.
    """
    if not url.lower().startswith(BUCKET):
        return [url]
    try:
        return bucket.listed(url, settings)
    except NoAnswerError as error:
        raise UnreachableError(f"{shown(url)}: {error}; check the connection and run again") from error


def _source(url: str, folder: Path, settings: RemoteSettings, warn: Warn) -> Source:
    if database_urls.kind_of(url):
        return DatabaseTable(url, folder)
    if url.lower().startswith(BUCKET):
        return bucket.BucketFile(url, folder, settings)
    return _WebFile(url, folder, settings, warn)


def _fetched(source: Source, on_progress: OnProgress | None, warn: Warn) -> Copy:
    """Bring a copy up to date, as its only writer. Every look at a table reads it, so others wait there."""
    is_table = isinstance(source, DatabaseTable)
    try:
        with held(source.folder.path / "lock") if is_table else sole_writer(source.folder.path):
            return _answer(source, lambda: source.fetch(on_progress), lambda copy: copy, warn)
    except BlockingIOError as error:
        raise InputError(f"{source.name}: another process is downloading it; run again when that has ended") from error
    except OSError as error:
        raise InputError(
            f"{source.name}: {source.folder.path} cannot be written ({error.strerror}); make room on that disk or fix "
            "its permissions, and run again: the download then resumes"
        ) from error


def _answer(source: Source, question: Callable[[], _Answer], of_copy: Callable[[Copy], _Answer], warn: Warn) -> _Answer:
    """Ask; if no answer comes, warn and use the copy. Raises UnreachableError without a copy."""
    try:
        return question()
    except NoAnswerError as error:
        if (copy := source.folder.current()) is not None:
            warn(f"{source.name}: {error}; using {copy}")
            return of_copy(copy)
        size, _ = source.folder.partial_download()
        kept = f" ({size:,} bytes are here; the download resumes there if the server can)" if size else ""
        # Do not chain the cause: its own causes may hold what must not be logged.
        raise UnreachableError(
            f"{source.name}: {error}, and there is no earlier copy; check the address and the connection and run again"
            + kept
        ) from None


def _without_asking(url: str, folder: Path, warn: Warn) -> Copy:
    """Find the copy of a URL that is known without its query or password. Raises QueryMissingError if there is none."""
    place = CopyFolder.find_by_shown_url(folder, url)
    copy = place.current() if place is not None else None
    if copy is None:
        hidden = "password, which" if database_urls.kind_of(url) else "query, which may be a signature and"
        raise QueryMissingError(f"{url}: known without its {hidden} is not kept, and there is no copy")
    what = "password" if database_urls.kind_of(url) else "query"
    warn(f"{url}: known without its {what}, so the server is not asked; using {copy}")
    return copy


class QueryMissingError(InputError):
    """The URL is known only without its query or password, and there is no copy; the whole address is needed."""


class _WebFile:
    """One http(s) URL and its place in the cache."""

    def __init__(self, url: str, cache: Path, settings: RemoteSettings, warn: Warn) -> None:
        self.name = shown(url)
        parsed = exact_url(url)
        if parsed is None:
            raise InputError(
                f"{self.name}: not a URL that can be fetched; give http(s)://host/file without user name and password "
                "(a signed URL will do), or download the file and give its path"
            )
        self._settings = settings
        self.folder = CopyFolder(cache, str(parsed), parsed.path)
        self._download = Download(parsed, self.name, self.folder, settings, warn)

    def fetch(self, on_progress: OnProgress | None = None) -> Copy:
        """Bring the copy up to date and return it."""
        copy = self.folder.current()
        if copy and not str(copy.version) and 0 <= time.time() - copy.checked_at < self._settings.unversioned_fresh:
            return copy
        return self._asked(lambda: self._download.run(on_progress))

    def version(self) -> str:
        """Ask the server for the file's current version; empty if it names none."""
        return self._asked(self._download.version)

    def mark(self) -> str:
        """Return the version, which costs one request."""
        return self.version()

    def _asked(self, question: Callable[[], Awaitable[_Answer]]) -> _Answer:
        with asyncio.Runner(loop_factory=ConnectionLoop) as runner:
            return runner.run(self._download.retry(question))
