"""Input files behind http(s) URLs: fetched once into the cache, afterwards only asked whether they changed.

Here is when to ask, and what to do where nobody answers. User names and passwords in URLs are refused. A URL's query,
which may hold a signature, is used but neither printed nor stored. So a home's remembered URL may lack its query
(`sources.is_cut`): its copy is used as it is; without a copy the whole address is asked for.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from pipeline.core.durable import sole_writer
from pipeline.core.errors import InputError, UnreachableError
from pipeline.core.lines import LineLoop
from pipeline.core.raw.copies import Copy, CopyFolder
from pipeline.core.raw.download import Download, NoAnswerError, RemoteSettings, ReportBytes, Say, exact_url
from pipeline.core.raw.sources import is_cut, shown

__all__ = ["CutAddressError", "RemoteSettings", "check", "data_version", "fetch_to_cache", "named_version"]

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


def fetch_to_cache(
    url: str,
    folder: Path,
    settings: RemoteSettings | None = None,
    on_progress: ReportBytes | None = None,
    say: Say = _log.warning,
) -> Path:
    """The file behind `url` in the cache `folder`, downloaded unless the copy there is still the server's.

    A stopped download goes on where it was if the server has the same file still. Where the server cannot be reached
    and there is a copy, that is used and `say` is told its age. `on_progress` is called at most every half second,
    and at the end of a download.
    Raises InputError, naming URL, status and mend, where there is no file to give; UnreachableError where a later call
    may succeed.
    """
    if is_cut(url):
        return _without_asking(url, folder, say).path
    source = _Source(url, folder, settings or RemoteSettings(), say)
    try:
        with sole_writer(source.folder.path):
            return source.fetch(on_progress).path
    except BlockingIOError as error:
        raise InputError(f"{source}: another process is downloading it; run again when that has ended") from error
    except OSError as error:
        raise InputError(
            f"{source}: {source.folder.path} cannot be written ({error.strerror}); make room on that disk or mend its "
            "permissions, and run again: the download goes on from what is there"
        ) from error


def data_version(url: str, folder: Path, settings: RemoteSettings | None = None, say: Say = _log.warning) -> str:
    """A text that changes with the file behind `url`: its ETag, else its Last-Modified and size, without a download.

    Where the server names neither, the file is fetched and its content is the version. Raises as `fetch_to_cache`.
    """
    if is_cut(url):
        held = _without_asking(url, folder, say)
        return f"{held.path.parent.name} {held.name}"
    source = _Source(url, folder, settings or RemoteSettings(), say)
    name = source.look()
    if not name:
        fetch_to_cache(url, folder, settings, say=say)
        held = source.folder.held()
        name = held.name if held else ""
    return f"{source.folder.key} {name}"


def named_version(url: str, folder: Path, settings: RemoteSettings | None = None, say: Say = _log.warning) -> str:
    """As `data_version`, but empty where the server names no version: one request for headers, never a download."""
    if is_cut(url):
        return str(_without_asking(url, folder, say).version)
    return _Source(url, folder, settings or RemoteSettings(), say).look()


def check(url: str, folder: Path, settings: RemoteSettings | None = None, say: Say = _log.warning) -> None:
    """Ask whether there is a file behind `url`, without downloading it. Raises as `fetch_to_cache`."""
    if is_cut(url):
        _without_asking(url, folder, say)
        return
    _Source(url, folder, settings or RemoteSettings(), say).look()


def _without_asking(url: str, folder: Path, say: Say) -> Copy:
    """The copy of a URL that is known without its query. Raises CutAddressError where there is none."""
    place = CopyFolder.shown_as(folder, url)
    held = place.held() if place is not None else None
    if held is None:
        raise CutAddressError(
            f"{url}: known without its query, which may be a signature and is not kept, and there is no copy"
        )
    say(f"{url}: known without its query, so the server is not asked; using {held}")
    return held


class CutAddressError(InputError):
    """The whole address is needed: it is known without its query only."""


class _Source:
    """One URL and its place in the cache."""

    def __init__(self, url: str, cache: Path, settings: RemoteSettings, say: Say) -> None:
        self.name = shown(url)
        parsed = exact_url(url)
        if parsed is None:
            raise InputError(
                f"{self}: not a URL that can be fetched; give http(s)://host/file without user name and password "
                "(a signed URL will do), or download the file and give its path"
            )
        self.settings, self.say = settings, say
        self.folder = CopyFolder(cache, str(parsed), parsed.path)
        self.download = Download(parsed, self.name, self.folder, settings, say)

    def __str__(self) -> str:
        return self.name

    def fetch(self, on_progress: ReportBytes | None) -> Copy:
        """The copy, brought up to date."""
        held = self.folder.held()
        if held and not str(held.version) and 0 <= time.time() - held.checked_at < self.settings.unversioned_fresh:
            return held
        return self._ask(lambda: self.download.run(on_progress), lambda copy: copy)

    def look(self) -> str:
        """The server's name for the file as it is now; empty where it has none."""
        return self._ask(self.download.version, lambda copy: copy.name)

    def _ask(self, question: Callable[[], Awaitable[_Answer]], of_copy: Callable[[Copy], _Answer]) -> _Answer:
        """Ask the server; where it gives no answer, use the copy and say so. Raises InputError without a copy."""
        try:
            with asyncio.Runner(loop_factory=LineLoop) as runner:
                return runner.run(self.download.insist(question))
        except NoAnswerError as error:
            if (held := self.folder.held()) is not None:
                self.say(f"{self}: {error}; using {held}")
                return of_copy(held)
            size, _ = self.folder.begun()
            kept = f" ({size:,} bytes are here; the download goes on from them where the server can)" if size else ""
            raise UnreachableError(
                f"{self}: {error}, and there is no earlier copy; check the address and the connection and run again"
                + kept
            ) from error
