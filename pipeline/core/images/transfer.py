"""Make one attempt at one URL: connect, follow redirects, read up to a limit, name the outcome."""

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
from pipeline.core.connections import request_observer
from pipeline.core.images.pictures import MAX_PIXELS, MIN_SIDE
from pipeline.core.images.time_limits import TimedAttempt, TimeLimits
from pipeline.core.quoting import printable
from pipeline.core.schemas import REASONS

ALL_REASONS = "all"  # every reason that can be retried
RETRYABLE = tuple(reason for reason in REASONS if reason != "ok")
HTML = "HTML"  # the `format` of a page that came in place of a picture
_REDIRECTS = (301, 302, 303, 307, 308)
_CLOSE = {"Connection": "close"}
_DRAIN = 16_384  # error pages up to this size are read, so that the connection can be reused
_WRAPPING = 600_000  # bytes that a body may take beyond twice its size: read-ahead, and the framing of chunks


@dataclass(frozen=True)
class FetchSettings:
    """Settings of the fetch, with times in seconds; an invalid one raises a ValueError naming the field."""

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
    picture_folders: Annotated[
        tuple[str, ...], Doc("Folders on this machine whose pictures may be read (those of the tables).")
    ] = ()
    retry: Annotated[
        tuple[str, ...],
        Doc("Ask again for pictures that failed for these reasons, or for all, although their outcome is final."),
    ] = ()
    retry_urls: Annotated[frozenset[str], Doc("Pictures to ask for again, whatever became of them.")] = frozenset()
    flush_every: Annotated[
        int,
        Doc("Most ledger rows that a kill may lose, besides the pictures under way; half of them are written at once."),
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
        object.__setattr__(self, "retry", tuple(self.retry))
        for reason in self.retry:
            if reason not in (ALL_REASONS, *RETRYABLE):
                known = ", ".join((ALL_REASONS, *RETRYABLE))
                raise ValueError(f"retry: {printable(reason, 60)!r} is no reason of the ledger; there are: {known}")
        if self.max_bytes >= 2**31:
            raise ValueError(f"max_bytes is {self.max_bytes}; the ledger counts bytes in 31 bits")
        if not self.user_agent.strip() or not self.user_agent.isprintable():
            raise ValueError("user_agent is empty or has control characters; say who is asking")
        for host in self.allow_hosts:
            if not host.rpartition(":")[0] or not host.rpartition(":")[2].isdigit():
                raise ValueError(f"allow_hosts has {host!r}; write host:port, for example 127.0.0.1:8877")


@dataclass(slots=True)  # not frozen: one is made for every URL
class Attempt:
    """The outcome of one attempt; `reason` is one of schemas.REASONS, and `ok` until the bytes are validated."""

    reason: str
    http_status: int | None = None  # of the last response; None if no server answered
    data: bytes | None = None  # if `ok`
    etag: str | None = None
    retry_after: float | None = None  # seconds
    repeated: int = 0  # requests repeated within the attempt
    format: str | None = None  # HTML if that came in place of a picture


class Transfer:
    """The connections of all attempts, as an async context manager; `requests` counts the requests sent."""

    def __init__(self, settings: FetchSettings) -> None:
        self.settings = settings
        self.requests = 0
        self._agent = settings.user_agent.split("/")[0].strip().lower()
        self._limits = TimeLimits(settings.read_timeout, settings.total_timeout)
        self._surplus_hosts: set[str] = set()  # `host:port` that sent bytes which belong to no response

    async def __aenter__(self) -> Self:
        def session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, connect=self.settings.connect_timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                # Pictures are compressed already, and a compressed response may be a decompression bomb.
                auto_decompress=False,
                headers={"User-Agent": self.settings.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
                middlewares=(_send_once,),
            )

        self._guarded = session(guarded_connector(self.settings.allow_hosts))
        self._open = session(open_connector())
        self._enforcing = asyncio.create_task(self._limits.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enforcing.cancel()
        await self._guarded.close()
        await self._open.close()

    async def attempt(self, asked: Target) -> Attempt:
        """Request a URL once and follow redirects; never raises for a server's behaviour."""
        timed = self._limits.begin(self._surplus_hosts)
        state = _AttemptState(asked)
        request_observer.set(timed)
        try:
            found = await self._follow(state, timed)
        except asyncio.CancelledError:
            if not timed.expired or timed.task.uncancel() > 0:
                raise  # the run was cancelled, not this attempt
            found = Attempt("timeout", state.status)
        except Exception as error:
            found = Attempt(_reason_of_error(error, state.hop), state.status)
        finally:
            self._limits.end(timed)
            self.requests += timed.requests
        found.repeated = max(0, timed.requests - state.hops)
        return found

    async def _follow(self, state: "_AttemptState", timed: TimedAttempt) -> Attempt:
        """Request a URL and follow redirects, checking each."""
        for _ in range(self.settings.max_redirects + 1):
            state.hops += 1
            found = await self._ask(state, timed)
            if timed.answer_doubtful:  # bytes were waiting on the connection: repeat on a fresh one
                found = await self._ask(state, timed)
            if isinstance(found, Attempt):
                return found
            state.hop = found
        return Attempt("too_many_redirects", state.status)

    async def _ask(self, state: "_AttemptState", timed: TimedAttempt) -> Attempt | Target:
        """Send one request; return its outcome, or the target it redirects to."""
        timed.host = state.hop.host_port
        timed.stop_waiting()
        session = self._open if timed.host in self.settings.allow_hosts else self._guarded
        headers = _CLOSE if timed.host in self._surplus_hosts else None
        answer = await session.get(state.hop.exact, headers=headers, allow_redirects=False)
        state.status = answer.status
        try:
            if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                return await self._meaning(answer, timed)
            onward = redirected(answer.headers["Location"], state.hop)
            await _drain(answer)
        finally:
            answer.release()
        return Attempt("bad_url", state.status) if onward is None else onward

    async def _meaning(self, answer: aiohttp.ClientResponse, timed: TimedAttempt) -> Attempt:
        """Turn a response that is no redirect into an outcome."""
        status, headers = answer.status, answer.headers
        if not 200 <= status < 300:
            await _drain(answer)
            return Attempt(_reason_of(status), status, retry_after=_retry_after(headers.get("Retry-After")))
        if self.settings.respect_robots and forbids_ai(headers.getall("X-Robots-Tag", ()), self._agent):
            return Attempt("robots", status)
        data = await self._body(answer, timed)
        if data is None:
            return Attempt("too_large", status)
        return Attempt("ok", status, data, _short(headers.get("ETag")))

    async def _body(self, answer: aiohttp.ClientResponse, timed: TimedAttempt) -> bytes | None:
        """Read the body; None as soon as it exceeds the limit, whatever length was announced."""
        announced = _announced(answer)
        if announced is not None and announced > self.settings.max_bytes:
            return None
        size, pieces = 0, []
        while piece := await answer.content.readany():
            size += len(piece)
            if size > self.settings.max_bytes or timed.bytes > 2 * size + _WRAPPING:
                return None
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _AttemptState:
    """State of an attempt: the last target, the number of hops, and the status of the last response."""

    __slots__ = ("hop", "hops", "status")

    def __init__(self, hop: Target) -> None:
        self.hop = hop
        self.hops = 0
        self.status: int | None = None


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request, as a middleware that keeps aiohttp from repeating it after a broken fresh connection.

    A request may be repeated only on a kept connection (RFC 9112, 9.3.1), which may close while it is written to. A
    server that hangs up on fresh connections would otherwise get twice its rate. Raises what aiohttp raises.
    """
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        timed = request_observer.get()
        if isinstance(timed, TimedAttempt) and timed.reused:
            raise
        raise aiohttp.ClientConnectionError(str(error)) from error  # aiohttp does not repeat this one


def _reason_of_error(error: Exception, hop: Target) -> str:
    """Map an error of the connector, the parser or the URL to a reason; raise other errors again."""
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
    """Map the status of a response that is neither a success nor a redirect to a reason."""
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
    """Return the announced length of the body in bytes; None if there is none, or the body is chunked."""
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and "Transfer-Encoding" not in answer.headers else None


async def _drain(answer: aiohttp.ClientResponse) -> None:
    """Read a short body, so that the connection can be reused; otherwise the connection is closed."""
    length = _announced(answer)
    if length is not None and length <= _DRAIN:
        with contextlib.suppress(aiohttp.ClientPayloadError):
            await answer.content.read()


def _retry_after(value: str | None) -> float | None:
    """Parse Retry-After (RFC 9110, 10.2.3: seconds or a date) to seconds; None if it is neither."""
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
    """Return whether X-Robots-Tag headers have `noai` or `noimageai` for everybody or for `agent` (lower case).

    A tag may begin with an agent's name, as in `somebot: noai, nofollow`; it then applies to the rest of the header.
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
    """Return the ETag if it is short and printable, else None; a hostile one may be kilobytes long or no text."""
    return etag if etag is not None and len(etag) <= 200 and etag.isprintable() else None
