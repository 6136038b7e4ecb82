"""One attempt at one URL: connect, follow redirects, read under a cap, judge the bytes, and name the outcome.

Retries, turns between hosts and the ledger belong to `fetch.py`; which addresses are refused to `address.py`; what a
picture is to `pictures.py`.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from pipeline.core.address import (
    PrivateAddressError,
    guarded_connector,
    host_port,
    is_public,
    literal_address,
    open_connector,
    parse_url,
)
from pipeline.core.pictures import MAX_PIXELS, MIN_SIDE, Header, PictureError, read_header, validate

_REDIRECTS = (301, 302, 303, 307, 308)
_DRAIN = 16_384  # an error page up to this size is read away, so that its connection can be used again
# Up to here a picture is judged on the spot (about 3 ms at most); a larger one in a thread, so that nobody waits.
_QUICK_BYTES = 32_768
_QUICK_PIXELS = 250_000


@dataclass(frozen=True)
class FetchSettings:
    """How pictures are fetched. Times in seconds; raises ValueError naming the field."""

    concurrency: int = 128  # requests under way
    per_host: int = 16  # of them to one host
    rate_per_host: float = 0.0  # requests a second to one host; 0: no limit
    connect_timeout: float = 10.0  # name, TCP and TLS
    read_timeout: float = 15.0  # silence between two reads
    total_timeout: float = 60.0  # one attempt with its redirects
    retries: int = 3  # after the first attempt, transient failures only
    backoff: float = 0.5  # before the first retry; doubles, with jitter
    backoff_cap: float = 30.0
    retry_after_cap: float = 60.0  # a longer Retry-After is shortened to this
    host_failures: int = 20  # unanswered in a row: the host's other URLs wait for the next run; 0: never
    max_redirects: int = 5
    max_bytes: int = 10_000_000
    max_pixels: int = MAX_PIXELS
    min_side: int = MIN_SIDE
    respect_robots: bool = True  # X-Robots-Tag noai, noimageai
    user_agent: str = "Atelier/0.1 (fashion recommendation research)"
    allow_hosts: frozenset[str] = frozenset()  # `host:port` that may be private (ATELIER_ALLOW_HOSTS)
    flush_every: int = 1000  # ledger rows
    flush_bytes: int = 64_000_000  # picture bytes
    flush_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name in ("concurrency", "per_host", "max_bytes", "max_pixels", "min_side", "flush_every", "flush_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("connect_timeout", "read_timeout", "total_timeout", "flush_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0 seconds")
        for name in (
            "retries",
            "backoff",
            "backoff_cap",
            "retry_after_cap",
            "host_failures",
            "max_redirects",
            "rate_per_host",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.max_bytes >= 2**31:
            raise ValueError(f"max_bytes is {self.max_bytes}; the ledger counts bytes in 31 bits")
        if not self.user_agent.strip() or not self.user_agent.isprintable():
            raise ValueError("user_agent is empty or has control characters; say who is asking")
        for host in self.allow_hosts:
            if not host.rpartition(":")[0] or not host.rpartition(":")[2].isdigit():
                raise ValueError(f"allow_hosts has {host!r}; write host:port, for example 127.0.0.1:8877")


@dataclass(frozen=True)
class Attempt:
    """What one attempt came to; `reason` is one of schemas.REASONS."""

    reason: str
    http_status: int | None = None  # of the last answer; None where no server answered
    data: bytes | None = None
    sha256: str | None = None
    header: Header | None = None
    etag: str | None = None
    retry_after: float | None = None  # seconds


class Transfer:
    """The sessions that attempts are made with; an async context manager. `requests` counts what was sent."""

    def __init__(self, settings: FetchSettings) -> None:
        self.settings = settings
        self.requests = 0
        self._agent = settings.user_agent.split("/")[0].strip().lower()

    async def __aenter__(self) -> Self:
        limits = aiohttp.ClientTimeout(
            total=None, connect=self.settings.connect_timeout, sock_read=self.settings.read_timeout
        )

        def session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=connector,
                timeout=limits,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # pictures are compressed already; a compressed answer may be a bomb
                headers={"User-Agent": self.settings.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
            )

        self._guarded = session(guarded_connector(self.settings.allow_hosts))
        self._open = session(open_connector())
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="judge")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._guarded.close()
        await self._open.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def attempt(self, url: URL) -> Attempt:  # noqa: PLR0911 (one return an outcome reads best)
        """Ask for `url` once, with its redirects. Never raises for what a server does or what the bytes are."""
        status: int | None = None
        hop = url
        try:
            async with asyncio.timeout(self.settings.total_timeout):
                for _ in range(self.settings.max_redirects + 1):
                    self.requests += 1
                    session = self._open if host_port(hop) in self.settings.allow_hosts else self._guarded
                    async with session.get(hop, allow_redirects=False) as response:
                        status = response.status
                        if status not in _REDIRECTS or "Location" not in response.headers:
                            return await self._answer(response)
                        onward = parse_url(hop.join(URL(response.headers["Location"])))
                        await _drain(response)
                    if onward is None:
                        return Attempt("bad_url", status)
                    hop = onward
            return Attempt("too_many_redirects", status)
        except PrivateAddressError:
            return Attempt("private_address", status)
        except TimeoutError:
            return Attempt("timeout", status)
        except aiohttp.InvalidURL:
            address = literal_address(hop.host or "")
            return Attempt("bad_url" if address is None or is_public(address) else "private_address", status)
        except aiohttp.ClientPayloadError:
            return Attempt("truncated", status)
        except (aiohttp.ClientError, OSError):
            return Attempt("connection", status)
        except ValueError:  # a host or a Location that cannot be encoded
            return Attempt("bad_url", status)

    async def _answer(self, response: aiohttp.ClientResponse) -> Attempt:
        """What a final (not redirecting) answer means."""
        status = response.status
        if not 200 <= status < 300:
            await _drain(response)
            return Attempt(_reason_of(status), status, retry_after=_retry_after(response.headers.get("Retry-After")))
        if self.settings.respect_robots and forbids_ai(response.headers.getall("X-Robots-Tag", ()), self._agent):
            return Attempt("robots", status)
        data = await self._body(response)
        if data is None:
            return Attempt("too_large", status)
        try:
            judged = await self._judge(data)
        except PictureError as error:
            return Attempt(error.reason, status)
        return replace(judged, http_status=status, etag=_short(response.headers.get("ETag")))

    async def _body(self, response: aiohttp.ClientResponse) -> bytes | None:
        """The whole body, or None as soon as it is known to pass the cap."""
        announced = response.content_length
        if announced is not None and "Transfer-Encoding" not in response.headers:
            return None if announced > self.settings.max_bytes else await response.read()
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > self.settings.max_bytes:
                return None
        return bytes(body)

    async def _judge(self, data: bytes) -> Attempt:
        """Check and name the picture. Raises PictureError."""
        settings = self.settings
        if len(data) <= _QUICK_BYTES:
            header = read_header(data, settings.max_pixels, settings.min_side)
            if header.width * header.height <= _QUICK_PIXELS:
                return _judged(data, header)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, lambda: _judged(data, read_header(data, settings.max_pixels, settings.min_side))
        )


def _judged(data: bytes, header: Header) -> Attempt:
    validate(data, header)
    return Attempt("ok", data=data, sha256=hashlib.sha256(data).hexdigest(), header=header)


def _reason_of(status: int) -> str:
    """The reason for an answer that is neither a success nor a redirect to follow."""
    if status in (404, 410):
        return "http_404"
    if status == 429:
        return "http_429"
    if status == 408:  # the server waited too long for us
        return "timeout"
    if status >= 500:
        return "http_5xx"
    return "http_4xx" if status >= 400 else "not_a_picture"  # 3xx without a Location


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read a short body away; a long or unannounced one costs the connection instead."""
    length = response.content_length
    if length is not None and length <= _DRAIN:
        with contextlib.suppress(aiohttp.ClientPayloadError):
            await response.read()


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header (RFC 9110, 10.2.3: seconds or a date); None where it says neither."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def forbids_ai(tags: Iterable[str], agent: str) -> bool:
    """Whether X-Robots-Tag headers hold `noai` or `noimageai` for everybody or for `agent` (lower case).

    A tag may begin with an agent's name, `somebot: noai, nofollow`, which then holds up to the header's end.
    """
    for tag in tags:
        addressee = ""
        for part in tag.lower().split(","):
            name, colon, rest = part.partition(":")
            addressed = colon and name.strip() != "unavailable_after"
            addressee = name.strip() if addressed else addressee
            rule = rest if addressed else part
            if rule.strip() in ("noai", "noimageai") and addressee in ("", "*", agent):
                return True
    return False


def _short(etag: str | None) -> str | None:
    """An ETag fit for a table: a hostile one may be kilobytes long or not text at all."""
    return etag if etag is not None and len(etag) <= 200 and etag.isprintable() else None
