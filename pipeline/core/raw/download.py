"""The requests that bring one remote input file here: conditional, resumed, redirected, repeated.

Private addresses are refused: the first URL is the user's own, but a redirect is a stranger's.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import aiohttp
from yarl import URL

from pipeline.core.address import PrivateAddressError, guarded_connector, open_connector, redirected, target
from pipeline.core.errors import InputError
from pipeline.core.raw.copies import Copy, CopyFolder, Version

ReportBytes = Callable[[int, int | None], object]  # bytes here; bytes in all, where the server says how many
Say = Callable[[str], object]
_Answer = TypeVar("_Answer")

_REDIRECTS = (301, 302, 303, 307, 308)
_TRANSIENT = (408, 425, 429)  # and 5xx: the same request may succeed later
_READABLE = ("", "identity", "gzip", "x-gzip", "zstd")  # content codings that sources.py undoes by a file's first bytes
_GAIN = 1 << 20  # bytes; an attempt that brought so many more does not count as failed
_PROGRESS_EVERY = 0.5  # seconds


@dataclass(frozen=True)
class RemoteSettings:
    """How input files are fetched. Times in seconds; a download may last for ever, but not stand still."""

    connect_timeout: float = 10.0  # name, TCP and TLS
    stall_timeout: float = 60.0  # silence before an answer or within it
    retries: int = 5  # in a row without a gain, after the first attempt; 1 where nobody answers and a copy is there
    backoff: float = 1.0  # before the first retry; doubles
    backoff_cap: float = 60.0  # also of what Retry-After asks for
    max_redirects: int = 5
    # A server that names no version cannot be asked whether its file changed. A copy this young counts as current, so
    # that one run, which asks several times and from several processes, downloads once.
    unversioned_fresh: float = 900.0
    user_agent: str = "Atelier/0.1 (fashion recommendation research)"
    allow_hosts: frozenset[str] = frozenset()  # `host:port` that may be private (ATELIER_ALLOW_HOSTS)


class NoAnswerError(Exception):
    """No usable answer, for a reason that may pass."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds that the server asked for


class Download:
    """The requests about one file, as often as it takes."""

    def __init__(self, url: URL, name: str, folder: CopyFolder, settings: RemoteSettings, say: Say) -> None:
        """`name`: the URL as it may be printed."""
        self.url, self.name, self.folder, self.settings, self.say = url, name, folder, settings, say
        self.answered = False

    async def insist(self, question: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask until there is an answer, or `retries` in a row brought nothing.

        Raises NoAnswerError for the last of them, InputError for what will not pass, OSError for what the disk refuses.
        """
        limits = aiohttp.ClientTimeout(
            total=None, connect=self.settings.connect_timeout, sock_read=self.settings.stall_timeout
        )

        def session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=connector,
                timeout=limits,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # the file as it is: its length and ranges are those of the bytes sent
                headers={"User-Agent": self.settings.user_agent, "Accept-Encoding": "identity"},
            )

        failures, most = 0, self.folder.begun()[0]
        async with session(guarded_connector(self.settings.allow_hosts)) as guarded, session(open_connector()) as free:
            self._guarded, self._free = guarded, free
            while True:
                try:
                    return await question()
                except NoAnswerError as error:
                    size, _ = self.folder.begun()
                    if size >= most + _GAIN:
                        failures, most = 0, size
                    failures += 1
                    patient = self.answered or self.folder.held() is None
                    if failures > (self.settings.retries if patient else min(1, self.settings.retries)):
                        raise NoAnswerError(f"{error} (attempts: {failures})") from error
                    wait = self.settings.backoff * 2 ** (failures - 1) if error.wait is None else error.wait
                    await asyncio.sleep(min(wait, self.settings.backoff_cap))

    async def version(self) -> str:
        """The server's name for the file's state, by HEAD; by a GET that is not read where HEAD is not understood."""
        async with self._answer("HEAD", {}) as response:
            if response.status == 200:
                return str(_version(response))
            if _passes(response.status):
                raise self._refusal(response)
        async with self._answer("GET", {}) as response:
            if response.status == 200:
                return str(_version(response))
            raise self._refusal(response)

    async def run(self, on_progress: ReportBytes | None) -> Copy:
        """One attempt to bring the copy up to date."""
        held = self.folder.held()
        size, version = self.folder.begun()
        whole = 0 < size == version.size and bool(version.conditions)  # stopped just before it became the copy
        goes_on = 0 < size != version.size and version.if_range is not None
        if whole:
            headers = version.conditions
        elif goes_on:
            headers = {"Range": f"bytes={size}-", "If-Range": version.if_range or ""}
        else:
            headers = held.version.conditions if held else {}
        async with self._answer("GET", headers) as response:
            status = response.status
            if status == 304 and whole:
                return self.folder.finish(version)
            if status == 304 and held and not goes_on:
                held = replace(held, checked_at=time.time())
                self.folder.record(held)
                return held
            if status == 206 and goes_on and _continues(response, size, version):
                return await self._receive(response, size, version, on_progress)
            if status == 200:
                self.folder.begin(_version(response))
                return await self._receive(response, 0, _version(response), on_progress)
            if not (goes_on and status in (206, 416)):
                raise self._refusal(response)
        # The server goes on with another file, or from another place: what is here is of no use.
        self.folder.begin(Version())
        return await self.run(on_progress)

    async def _receive(
        self, response: aiohttp.ClientResponse, size: int, version: Version, on_progress: ReportBytes | None
    ) -> Copy:
        """Add the answer's body to the `size` bytes that are here; the copy, if it is whole then."""
        self.answered = True
        coding = response.headers.get("Content-Encoding", "").strip().lower()
        if coding not in _READABLE:
            raise InputError(f"{self.name}: sent as {coding}, which is not read; have it served as gzip or plain")
        total, told = version.size, time.monotonic()
        try:
            with self.folder.part.open("ab") as file:
                async for piece in response.content.iter_any():
                    file.write(piece)
                    size += len(piece)
                    if on_progress is not None and time.monotonic() - told >= _PROGRESS_EVERY:
                        told = time.monotonic()
                        on_progress(size, total)
        except aiohttp.ClientPayloadError:
            raise NoAnswerError(_broke_off(size, total)) from None
        if total is not None and size != total:
            raise NoAnswerError(_broke_off(size, total))
        if size == 0:
            raise InputError(f"{self.name}: the file is empty; check the address or take it out of the input")
        if total is None and "Transfer-Encoding" not in response.headers:
            self.say(f"{self.name}: the server tells no length, so a cut would not show ({size:,} bytes came)")
        if on_progress is not None:
            on_progress(size, size)
        return self.folder.finish(version)

    @contextlib.asynccontextmanager
    async def _answer(self, method: str, headers: dict[str, str]) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The answer behind all redirects. Raises NoAnswerError for what may pass, InputError for what will not."""
        hop = self.url
        try:
            for _ in range(self.settings.max_redirects + 1):
                session = self._free if _host_port(hop) in self.settings.allow_hosts else self._guarded
                async with session.request(method, hop, headers=headers, allow_redirects=False) as response:
                    if response.status not in _REDIRECTS or "Location" not in response.headers:
                        yield response
                        return
                    onward = exact_url(response.headers["Location"], hop)
                if onward is None:
                    raise InputError(
                        f"{self.name}: redirects to what is no http(s) URL without a password; find its new one"
                    )
                hop = onward
            raise InputError(
                f"{self.name}: more than {self.settings.max_redirects} redirects; give the address they end at"
            )
        except PrivateAddressError as error:
            raise InputError(f"{self.name}: leads to {_host_port(hop)}, but {error}") from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise InputError(
                f"{self.name}: the certificate of {_host_port(hop)} does not hold; check the address"
            ) from error
        except aiohttp.InvalidURL:
            raise InputError(
                f"{self.name}: leads to {_host_port(hop)}, which is no host's name; check the address"
            ) from None
        except TimeoutError as error:
            raise NoAnswerError(f"{_host_port(hop)} was silent for too long") from error
        except (aiohttp.ClientError, ConnectionError) as error:  # no other OSError: those are the disk's
            reason = getattr(error, "strerror", None) or type(error).__name__
            # Its own text may hold the whole URL, and an event log keeps the chain of causes.
            raise NoAnswerError(f"no answer from {_host_port(hop)} ({reason})") from None

    def _refusal(self, response: aiohttp.ClientResponse) -> Exception:
        """What an answer without the file is raised as."""
        status, asked = response.status, response.headers.get("Retry-After", "").strip()
        if _passes(status):
            return NoAnswerError(f"HTTP {status}", float(asked) if asked.isascii() and asked.isdigit() else None)
        mend = "check the address"
        if status in (401, 403):
            mend = "give a signed URL, or download the file and give its path"
        elif "," in self.name:
            mend += ", and put a blank behind the comma where the next input begins"
        held = self.folder.held()
        kept = f". To go on with {held}, give its path" if held else ""
        return InputError(f"{self.name}: the server answers HTTP {status}; {mend}{kept}")


def _host_port(url: URL) -> str:
    found = target(url)
    assert found is not None  # `exact_url` made it
    return found.host_port


def exact_url(url: str, base: URL | None = None) -> URL | None:
    """The URL with its characters as they are, because a signature may be over them; None where it is not fetched."""
    asked = target(base) if base is not None else None
    found = redirected(url, asked) if asked is not None else target(url)
    return found.exact if found is not None else None


def _version(response: aiohttp.ClientResponse) -> Version:
    said = response.headers
    size = None if "Transfer-Encoding" in said else response.content_length
    return Version(_sound(said.get("ETag")), _sound(said.get("Last-Modified")), size, _sound(said.get("Date")))


def _sound(value: str | None) -> str | None:
    """A header fit to be kept and sent back; a hostile one may be kilobytes long or not text at all."""
    return value if value and len(value) <= 1000 and value.isascii() and value.isprintable() else None


def _continues(response: aiohttp.ClientResponse, size: int, version: Version) -> bool:
    """Whether a 206 answer goes on after `size` bytes of this version, to its end."""
    span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", "").strip())
    if span is None or int(span[1]) != size:
        return False
    return not replace(_version(response), size=int(span[3])).contradicts(version)


def _passes(status: int) -> bool:
    """Whether a refusal may pass by itself; 501 will not."""
    return status in _TRANSIENT or (status >= 500 and status != 501)


def _broke_off(size: int, total: int | None) -> str:
    return f"the download broke off after {size:,} of {'an unknown number of' if total is None else f'{total:,}'} bytes"
