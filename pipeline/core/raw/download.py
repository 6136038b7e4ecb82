"""Download one remote input file with conditional, resumed, redirected and repeated requests.

Private addresses are refused, because redirects come from strangers even though the first URL is the user's.
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
from pipeline.core.raw.copies import Copy, CopyFolder, ServerVersion

OnProgress = Callable[[int, int | None], object]  # bytes received; total bytes, if the server says
Warn = Callable[[str], object]
_Answer = TypeVar("_Answer")

_REDIRECTS = (301, 302, 303, 307, 308)
_TRANSIENT = (408, 425, 429)  # and 5xx: the same request may succeed later
_READABLE = ("", "identity", "gzip", "x-gzip", "zstd")  # content codings that framing.py recognises by the first bytes
_GAIN = 1 << 20  # bytes; an attempt that received so many more does not count as failed
_PROGRESS_EVERY = 0.5  # seconds


@dataclass(frozen=True)
class RemoteSettings:
    """Settings of downloads, with times in seconds. Only silence has a time limit, not the whole download."""

    connect_timeout: float = 10.0  # for name resolution, TCP and TLS
    stall_timeout: float = 60.0  # most silence before a response or within it
    retries: int = 5  # in a row without a gain, after the first attempt; at most 1 if nothing answers and a copy exists
    backoff: float = 1.0  # wait before the first retry; doubles
    backoff_cap: float = 60.0  # longest wait, also for Retry-After
    max_redirects: int = 5
    # If a server names no version, it cannot say whether its file changed. A copy younger than this counts as current,
    # so that one run, whose several processes ask several times, downloads once.
    unversioned_fresh: float = 900.0
    user_agent: str = "Atelier/0.1 (fashion recommendation research)"
    allow_hosts: frozenset[str] = frozenset()  # `host:port` that may be private (ATELIER_ALLOW_HOSTS)


class NoAnswerError(Exception):
    """The server gave no usable response, for a reason that may pass."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds, from Retry-After


class Download:
    """The requests for one file, with retries."""

    def __init__(self, url: URL, name: str, folder: CopyFolder, settings: RemoteSettings, warn: Warn) -> None:
        """Prepare requests; `name` is the URL as it may be printed."""
        self.url, self.name, self.folder, self.settings, self.warn = url, name, folder, settings, warn
        self.answered = False

    async def retry(self, question: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Repeat `question` until it succeeds, or `retries` attempts in a row gain nothing.

        Raises:
            NoAnswerError: the last attempt failed.
            InputError: the failure will not pass.
            OSError: the disk fails.
        """
        limits = aiohttp.ClientTimeout(
            total=None, connect=self.settings.connect_timeout, sock_read=self.settings.stall_timeout
        )

        def session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=connector,
                timeout=limits,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # lengths and ranges refer to the bytes as sent
                headers={"User-Agent": self.settings.user_agent, "Accept-Encoding": "identity"},
            )

        failures, most = 0, self.folder.partial_download()[0]
        async with session(guarded_connector(self.settings.allow_hosts)) as guarded, session(open_connector()) as free:
            self._guarded, self._free = guarded, free
            while True:
                try:
                    return await question()
                except NoAnswerError as error:
                    size, _ = self.folder.partial_download()
                    if size >= most + _GAIN:
                        failures, most = 0, size
                    failures += 1
                    patient = self.answered or self.folder.current() is None
                    if failures > (self.settings.retries if patient else min(1, self.settings.retries)):
                        raise NoAnswerError(f"{error} (attempts: {failures})") from error
                    wait = self.settings.backoff * 2 ** (failures - 1) if error.wait is None else error.wait
                    await asyncio.sleep(min(wait, self.settings.backoff_cap))

    async def version(self) -> str:
        """Ask for the file's version by HEAD, or by GET without reading the body if HEAD is not understood."""
        async with self._answer("HEAD", {}) as response:
            if response.status == 200:
                return str(_version(response))
            if _passes(response.status):
                raise self._refusal(response)
        async with self._answer("GET", {}) as response:
            if response.status == 200:
                return str(_version(response))
            raise self._refusal(response)

    async def run(self, on_progress: OnProgress | None) -> Copy:
        """Attempt once to bring the copy up to date."""
        held = self.folder.current()
        size, version = self.folder.partial_download()
        whole = 0 < size == version.size and bool(version.conditions)  # a kill just before finish_download
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
                return self.folder.finish_download(version)
            if status == 304 and held and not goes_on:
                held = replace(held, checked_at=time.time())
                self.folder.record(held)
                return held
            if status == 206 and goes_on and _continues(response, size, version):
                return await self._receive(response, size, version, on_progress)
            if status == 200:
                self.folder.start_download(_version(response))
                return await self._receive(response, 0, _version(response), on_progress)
            if not (goes_on and status in (206, 416)):
                raise self._refusal(response)
        # The server cannot resume this version, so the partial download is useless.
        self.folder.start_download(ServerVersion())
        return await self.run(on_progress)

    async def _receive(
        self, response: aiohttp.ClientResponse, size: int, version: ServerVersion, on_progress: OnProgress | None
    ) -> Copy:
        """Append the response's body to the `size` bytes received before; return the complete copy."""
        self.answered = True
        coding = response.headers.get("Content-Encoding", "").strip().lower()
        if coding not in _READABLE:
            raise InputError(f"{self.name}: sent as {coding}, which is not read; have it served as gzip or plain")
        total, reported = version.size, time.monotonic()
        try:
            with self.folder.part.open("ab") as file:
                async for piece in response.content.iter_any():
                    file.write(piece)
                    size += len(piece)
                    if on_progress is not None and time.monotonic() - reported >= _PROGRESS_EVERY:
                        reported = time.monotonic()
                        on_progress(size, total)
        except aiohttp.ClientPayloadError:
            raise NoAnswerError(_broke_off(size, total)) from None
        if total is not None and size != total:
            raise NoAnswerError(_broke_off(size, total))
        if size == 0:
            raise InputError(f"{self.name}: the file is empty; check the address or take it out of the input")
        if total is None and "Transfer-Encoding" not in response.headers:
            self.warn(f"{self.name}: the server announces no length, so a cut would not show ({size:,} bytes came)")
        if on_progress is not None:
            on_progress(size, size)
        return self.folder.finish_download(version)

    @contextlib.asynccontextmanager
    async def _answer(self, method: str, headers: dict[str, str]) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Request and follow redirects. Raises NoAnswerError if the failure may pass, InputError if it will not."""
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
        except (aiohttp.ClientError, ConnectionError) as error:  # other OSErrors come from the disk
            reason = getattr(error, "strerror", None) or type(error).__name__
            # Do not chain the cause: its text may hold the whole URL, and event logs keep causes.
            raise NoAnswerError(f"no answer from {_host_port(hop)} ({reason})") from None

    def _refusal(self, response: aiohttp.ClientResponse) -> Exception:
        """Create the error for a response without the file."""
        status, asked = response.status, response.headers.get("Retry-After", "").strip()
        if _passes(status):
            return NoAnswerError(f"HTTP {status}", float(asked) if asked.isascii() and asked.isdigit() else None)
        remedy = "check the address"
        if status in (401, 403):
            remedy = "give a signed URL, or download the file and give its path"
        elif "," in self.name:
            remedy += ", and put a blank after the comma where the next input begins"
        held = self.folder.current()
        kept = f". To go on with {held}, give its path" if held else ""
        return InputError(f"{self.name}: the server answers HTTP {status}; {remedy}{kept}")


def _host_port(url: URL) -> str:
    found = target(url)
    assert found is not None  # because `exact_url` returned it
    return found.host_port


def exact_url(url: str, base: URL | None = None) -> URL | None:
    """Parse a URL, or resolve it against `base`, without rewriting characters that a signature may cover.

    None if it must not be fetched.
    """
    asked = target(base) if base is not None else None
    found = redirected(url, asked) if asked is not None else target(url)
    return found.exact if found is not None else None


def _version(response: aiohttp.ClientResponse) -> ServerVersion:
    said = response.headers
    size = None if "Transfer-Encoding" in said else response.content_length
    return ServerVersion(_sound(said.get("ETag")), _sound(said.get("Last-Modified")), size, _sound(said.get("Date")))


def _sound(value: str | None) -> str | None:
    """Return a header value that is fit to store and send back, else None; hostile ones may be long or no text."""
    return value if value and len(value) <= 1000 and value.isascii() and value.isprintable() else None


def _continues(response: aiohttp.ClientResponse, size: int, version: ServerVersion) -> bool:
    """Return whether a 206 response resumes after `size` bytes of this version, up to its end."""
    span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", "").strip())
    if span is None or int(span[1]) != size:
        return False
    return not replace(_version(response), size=int(span[3])).contradicts(version)


def _passes(status: int) -> bool:
    """Return whether a refusal may pass by itself; 501 will not."""
    return status in _TRANSIENT or (status >= 500 and status != 501)


def _broke_off(size: int, total: int | None) -> str:
    return f"the download broke off after {size:,} of {'an unknown number of' if total is None else f'{total:,}'} bytes"
