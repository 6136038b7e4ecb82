"""Make one attempt at one URL: connect, follow redirects, read under a cap, validate the bytes, name the outcome."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Annotated, Self

import aiohttp
from typing_extensions import Doc

from pipeline.core.address import (
    PrivateAddressError,
    Target,
    guarded_connector,
    is_public,
    literal_address,
    open_connector,
    redirected,
)
from pipeline.core.images.image_validator import ImageValidator
from pipeline.core.images.pictures import MAX_PIXELS, MIN_SIDE, Header, PictureError
from pipeline.core.images.watch import Watch, Watched
from pipeline.core.lines import asker

_REDIRECTS = (301, 302, 303, 307, 308)
_CLOSE = {"Connection": "close"}
_DRAIN = 16_384  # an error page up to this size is read away, so that its connection can be used again
_WRAPPING = 600_000  # bytes that a body may take beside twice its own: what is read ahead, and the marks of its chunks


@dataclass(frozen=True)
class FetchSettings:
    """How pictures are fetched. Times in seconds; raises ValueError naming the field."""

    concurrency: Annotated[int, Doc("Maximum number of concurrent requests.")] = 128
    per_host: Annotated[int, Doc("Maximum number of concurrent requests to one host.")] = 16
    rate_per_host: Annotated[float, Doc("Requests per second to one host, except redirects; 0: no limit.")] = 0.0
    burst_per_host: Annotated[int, Doc("Requests that an idle host may receive at once, if rate_per_host is set.")] = 4
    connect_timeout: Annotated[float, Doc("Timeout in seconds for name lookup, TCP and TLS.")] = 10.0
    read_timeout: Annotated[float, Doc("Timeout in seconds for the response's headers, then between reads.")] = 15.0
    total_timeout: Annotated[float, Doc("Timeout in seconds for one attempt, including its redirects.")] = 60.0
    retries: Annotated[int, Doc("Retries after the first attempt, for transient failures only.")] = 3
    backoff: Annotated[float, Doc("Seconds before the first retry; doubles with each retry, with jitter.")] = 0.5
    backoff_cap: Annotated[float, Doc("Longest backoff in seconds.")] = 30.0
    retry_after_cap: Annotated[float, Doc("Longest Retry-After in seconds; a longer one is cut to this.")] = 60.0
    host_failures: Annotated[
        int, Doc("Unanswered requests in a row after which a host is left for the next run; 0: never.")
    ] = 20
    max_redirects: Annotated[int, Doc("Maximum redirects per picture; each address is checked like the first.")] = 5
    max_bytes: Annotated[int, Doc("Maximum bytes of a response, under 2**31; a larger one is refused.")] = 10_000_000
    max_pixels: Annotated[int, Doc("Maximum width times height; a larger picture is refused as a bomb.")] = MAX_PIXELS
    min_side: Annotated[int, Doc("Minimum side in pixels; a smaller picture counts as a placeholder.")] = MIN_SIDE
    respect_robots: Annotated[bool, Doc("Obey X-Robots-Tag noai and noimageai.")] = True
    user_agent: Annotated[str, Doc("User-Agent header.")] = "Atelier/0.1 (fashion recommendation research)"
    allow_hosts: Annotated[frozenset[str], Doc("Private hosts allowed: host:port (ATELIER_ALLOW_HOSTS).")] = frozenset()
    flush_every: Annotated[
        int,
        Doc("Most ledger rows that a kill may lose, besides the requests under way; half of them are written at once."),
    ] = 2000
    flush_bytes: Annotated[int, Doc("Most bytes of pictures that a kill may lose.")] = 64_000_000
    flush_seconds: Annotated[float, Doc("Most seconds of work that a kill may lose.")] = 30.0

    def __post_init__(self) -> None:
        for name in (
            "concurrency",
            "per_host",
            "burst_per_host",
            "max_bytes",
            "max_pixels",
            "min_side",
            "flush_every",
            "flush_bytes",
        ):
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


@dataclass(slots=True)  # not frozen: one is made for every URL
class Attempt:
    """What one attempt came to; `reason` is one of schemas.REASONS."""

    reason: str
    http_status: int | None = None  # of the last answer; None where no server answered
    data: bytes | None = None
    sha256: str | None = None
    header: Header | None = None
    etag: str | None = None
    retry_after: float | None = None  # seconds
    repeated: int = 0  # requests that were sent again within the attempt


class Transfer:
    """The connections that attempts are made over; an async context manager. `requests` counts what was sent."""

    def __init__(self, settings: FetchSettings) -> None:
        self.settings = settings
        self.requests = 0
        self._agent = settings.user_agent.split("/")[0].strip().lower()
        self._watch = Watch(settings.read_timeout, settings.total_timeout)
        self._late: set[str] = set()  # `host:port` that sent bytes which nobody had asked for

    async def __aenter__(self) -> Self:
        def session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, connect=self.settings.connect_timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                # Compressed answers stay compressed: pictures are so already, and such an answer may be a bomb.
                auto_decompress=False,
                headers={"User-Agent": self.settings.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
                middlewares=(_once,),
            )

        self._guarded = session(guarded_connector(self.settings.allow_hosts))
        self._open = session(open_connector())
        self._validator = ImageValidator(self.settings.max_pixels, self.settings.min_side)
        await self._validator.start()
        self._watching = asyncio.create_task(self._watch.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watching.cancel()
        await self._guarded.close()
        await self._open.close()
        self._validator.close()

    async def attempt(self, asked: Target) -> Attempt:
        """Ask once, with its redirects. Never raises for what a server does or what the bytes are."""
        watched = self._watch.begin(self._late)
        seen = _Seen(asked)
        asker.set(watched)
        try:
            found = await self._follow(seen, watched)
        except asyncio.CancelledError:
            if not watched.expired or watched.task.uncancel() > 0:
                raise  # it is the run that ends
            found = Attempt("timeout", seen.status)
        except Exception as error:
            found = Attempt(_reason_of_error(error, seen.hop), seen.status)
        finally:
            self._watch.end(watched)
            self.requests += watched.requests
        found.repeated = max(0, watched.requests - seen.hops)
        return found

    async def _follow(self, seen: "_Seen", watched: Watched) -> Attempt:
        """Ask, and follow redirects, each checked anew."""
        for _ in range(self.settings.max_redirects + 1):
            seen.hops += 1
            found = await self._ask(seen, watched)
            if watched.misled:  # by bytes that had been waiting on the connection; it is asked on a fresh one
                found = await self._ask(seen, watched)
            if isinstance(found, Attempt):
                return found
            seen.hop = found
        return Attempt("too_many_redirects", seen.status)

    async def _ask(self, seen: "_Seen", watched: Watched) -> Attempt | Target:
        """Ask once: what the answer means, or where it redirects to."""
        watched.host = seen.hop.host_port
        watched.rest()
        session = self._open if watched.host in self.settings.allow_hosts else self._guarded
        headers = _CLOSE if watched.host in self._late else None
        answer = await session.get(seen.hop.exact, headers=headers, allow_redirects=False)
        seen.status = answer.status
        try:
            if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                return await self._meaning(answer, watched)
            onward = redirected(answer.headers["Location"], seen.hop)
            await _drain(answer)
        finally:
            answer.release()
        return Attempt("bad_url", seen.status) if onward is None else onward

    async def _meaning(self, answer: aiohttp.ClientResponse, watched: Watched) -> Attempt:
        """What a final (not redirecting) answer means."""
        status, headers = answer.status, answer.headers
        if not 200 <= status < 300:
            await _drain(answer)
            return Attempt(_reason_of(status), status, retry_after=_retry_after(headers.get("Retry-After")))
        if self.settings.respect_robots and forbids_ai(headers.getall("X-Robots-Tag", ()), self._agent):
            return Attempt("robots", status)
        data = await self._body(answer, watched)
        if data is None:
            return Attempt("too_large", status)
        answer.release()  # the next request need not wait for the decoding
        watched.rest()
        try:
            sha256, header = await self._validator.validate(data)
        except PictureError as error:
            return Attempt(error.reason, status)
        return Attempt("ok", status, data, sha256, header, _short(headers.get("ETag")))

    async def _body(self, answer: aiohttp.ClientResponse, watched: Watched) -> bytes | None:
        """The whole body, or None as soon as it is known to pass the cap, whatever was announced."""
        announced = _announced(answer)
        if announced is not None and announced > self.settings.max_bytes:
            return None
        size, pieces = 0, []
        while piece := await answer.content.readany():
            size += len(piece)
            if size > self.settings.max_bytes or watched.bytes > 2 * size + _WRAPPING:
                return None
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Seen:
    """How far an attempt came: what was asked last, after how many redirects, and the status of the last answer."""

    __slots__ = ("hop", "hops", "status")

    def __init__(self, hop: Target) -> None:
        self.hop = hop
        self.hops = 0
        self.status: int | None = None


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request; a middleware of aiohttp, which would send one again on any connection that breaks off.

    Only on a kept connection may it be sent again (RFC 9112, 9.3.1): that may close as it is written to. A server that
    hangs up on a fresh one would get twice its rate. Raises what the connector and the parser raise.
    """
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        watched = asker.get()
        if isinstance(watched, Watched) and watched.reused:
            raise
        raise aiohttp.ClientConnectionError(str(error)) from error  # not sent again


def _reason_of_error(error: Exception, hop: Target) -> str:
    """The reason for what the connector, the parser or the URL raised; an error of ours is raised again."""
    if isinstance(error, PrivateAddressError):
        return "private_address"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.InvalidURL):
        address = literal_address(hop.host)
        return "bad_url" if address is None or is_public(address) else "private_address"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "truncated"
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return "connection"
    if isinstance(error, ValueError):  # a host or a Location that cannot be encoded
        return "bad_url"
    raise error


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


def _announced(answer: aiohttp.ClientResponse) -> int | None:
    """The length of the body in bytes where the answer says it and will keep to it, else None."""
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and "Transfer-Encoding" not in answer.headers else None


async def _drain(answer: aiohttp.ClientResponse) -> None:
    """Read a short body away; a long or unannounced one costs the connection instead."""
    length = _announced(answer)
    if length is not None and length <= _DRAIN:
        with contextlib.suppress(aiohttp.ClientPayloadError):
            await answer.content.read()


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
