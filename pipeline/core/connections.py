"""Check and count the bytes of HTTP responses before aiohttp sees them.

aiohttp's parser trusts the server: it accepts endless interim responses (1xx), and takes surplus bytes after a response
for the response to the next request on that connection. A `CheckedConnection` sits between the socket and aiohttp, by
asyncio's interfaces. It passes on one complete head, then the body that the head announces, and nothing else. aiohttp
parses the response; callers interpret it.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, Protocol, cast

from pipeline.core.chunked_body import ChunkedBody

try:
    from uvloop import Loop as _Loop
except ImportError:  # Windows has none; asyncio's own loop does the same, a sixth slower
    _Loop = type(asyncio.new_event_loop())

_LONGEST_HEAD = 65_536  # bytes; aiohttp allows 128 headers of 8 kB, browsers 256 kB in all
_INTERIM = 10  # most interim responses before the final one; after more, the server is ignored

_INTERIM_HEAD = re.compile(rb"HTTP/1\.\d 1(?!01)\d\d")  # 101 is final: the connection would speak another protocol
# A head that every parser reads alike, so that its connection may be kept: HTTP/1.1, complete lines, no blanks before
# colons, no continuation lines.
_PLAIN_HEAD = re.compile(rb"HTTP/1\.1 [2-5]\d\d[^\r\n\0]*\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)*\r\n")
_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding):([^\r\n]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"[ \t]*([0-9]{1,15})[ \t]*")
_CHUNKED = re.compile(rb"[ \t]*chunked[ \t]*", re.IGNORECASE)

# What may come next: nothing, a head, a known number of bytes, chunks, or bytes until the connection ends.
_IDLE, _HEAD, _BODY, _CHUNKS, _REST = range(5)


class RequestObserver(Protocol):
    """Receives the events of the requests that one task sends."""

    @property
    def host(self) -> str:
        """The `host:port` of the current request."""
        ...

    def request_sent(self, reused: bool) -> None:
        """Handle that a request was sent; `reused`: over a connection that carried other requests before."""
        ...

    def received(self, size: int) -> None:
        """Handle `size` more bytes of the response; the first call includes the complete head."""
        ...

    def surplus_received(self, host: str, reused: bool) -> None:
        """Handle that `host` sent bytes that belong to no response.

        `reused`: the connection carried other requests before the last one, so the last response may belong to them.
        """
        ...


request_observer: ContextVar[RequestObserver | None] = ContextVar(
    "request_observer", default=None
)  # of the task that sends a request


class CheckedConnection(asyncio.Transport, asyncio.Protocol):
    """One connection: the protocol of the socket's transport, and the transport of aiohttp's protocol."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        super().__init__()
        self.inner = inner
        self._expects = _IDLE
        self._left = 0  # announced bytes still to come, including the head
        self._chunked = ChunkedBody()
        self._ambiguous_end = False  # only the parser decides where the response ends
        self._held = b""  # an incomplete head
        self._interim = 0
        self._requests = 0
        self._kept = self._bodies = True  # whether the request allows keep-alive, and a body
        self._ignored = False
        self._observer: RequestObserver | None = None
        self._host = ""

    # ---- the socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport and connect aiohttp's protocol."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one only by its methods
        self.inner.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on; an incomplete head is dropped."""
        self.inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Pass it on to aiohttp."""
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        """Pass it on to aiohttp."""
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on to aiohttp."""
        self.inner.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Pass on the bytes of the response; close the connection if the server sends more."""
        head = 0
        if self._expects == _HEAD:
            data, head = self._whole_head(data)
            if not data:
                return
        if self._expects == _IDLE:
            self._surplus()
            return
        size = len(data)
        if self._expects == _BODY:
            size = min(size, self._left)
            self._left -= size
            if not self._left:
                self._expects = _IDLE
        elif self._expects == _CHUNKS:
            size = self._chunked.take(data, head)
            if self._chunked.ended:
                self._expects = _IDLE
            elif self._chunked.excessive:
                self._transport.abort()
                return
            elif self._chunked.ambiguous:
                self._expects, self._ambiguous_end = _REST, True
        if self._observer is not None:
            self._observer.received(size)
        if size == len(data):
            self.inner.data_received(data)
        else:
            self.inner.data_received(data[:size])
            self._surplus()

    def _whole_head(self, data: bytes) -> tuple[bytes, int]:
        """Return the bytes since the request without interim responses, and the end of the head in them.

        Until the head is complete, the bytes are empty.
        """
        data, self._held = self._held + data, b""
        while (end := _end_of_head(data)) and _INTERIM_HEAD.match(data):
            self._interim += 1
            if self._interim > _INTERIM:
                # Do not close: the request's time limit then reports a server that does not answer.
                self._ignored = True
                self._transport.pause_reading()
                return b"", 0
            data = data[end:]
        if not end:
            self._held = data
            if len(data) > _LONGEST_HEAD:
                self._transport.abort()
            return b"", 0
        length = _announced(data[:end]) if self._bodies else None
        if length is None or not self._kept:
            data, end = _closing(data, end)  # aiohttp then closes the connection after the response
        if length is None:
            self._expects = _REST
        elif length < 0:
            self._expects, self._chunked = _CHUNKS, ChunkedBody()
        else:
            self._expects, self._left = _BODY, end + length
        return data, end

    def _surplus(self) -> None:
        if self._observer is not None:
            self._observer.surplus_received(self._host, self._requests > 1)
        self._transport.abort()

    # ---- aiohttp's side

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a request; the bytes received from now on are its response."""
        self._begin(bytes(data))
        self._transport.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send a request given in pieces."""
        self.write(b"".join(list_of_data))

    def _begin(self, request: bytes) -> None:
        self._expects, self._interim = _HEAD, 0
        self._requests += 1
        self._kept = b"\r\nConnection: close\r\n" not in request
        self._bodies = request.startswith(b"GET ")  # a response to HEAD has none, whatever it announces
        self._observer = request_observer.get()
        if self._observer is not None:
            self._host = self._observer.host
            self._observer.request_sent(self._requests > 1)

    def is_closing(self) -> bool:
        """Return true also if a response's end was ambiguous, because the connection must not be reused then."""
        return self._ambiguous_end or self._transport.is_closing()

    def close(self) -> None:
        """Delegate to the transport."""
        self._transport.close()

    def abort(self) -> None:
        """Delegate to the transport."""
        self._transport.abort()

    def pause_reading(self) -> None:
        """Delegate to the transport."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Resume, unless the server is ignored."""
        if not self._ignored:
            self._transport.resume_reading()

    def is_reading(self) -> bool:
        """Delegate to the transport."""
        return self._transport.is_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Delegate to the transport."""
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Delegate to the transport."""
        return self._transport.get_write_buffer_size()


def _end_of_head(data: bytes) -> int:
    """Find the end of the first empty line, with CRLF or LF alone; 0 if there is none."""
    end = data.find(b"\n\r\n") + 3
    bare = data.find(b"\n\n", 0, end if end > 2 else len(data)) + 2
    return bare if bare > 1 else end if end > 2 else 0


def _closing(data: bytes, end: int) -> tuple[bytes, int]:
    """Add `Connection: close` to the response's head; return the response and the new end of its head."""
    header, empty = b"Connection: close\r\n", 2 if data[end - 2 : end] == b"\r\n" else 1
    return data[: end - empty] + header + data[end - empty :], end + len(header)


def _announced(head: bytes) -> int | None:
    """Read the body's length from an unambiguous head: -1 for a chunked body, None if the head is ambiguous."""
    if not _PLAIN_HEAD.fullmatch(head):
        return None
    framing = _FRAMING.findall(head)
    if len(framing) != 1:
        return None
    name, value = framing[0]
    if head[9:12] in (b"204", b"304"):  # these have no body, whatever they announce
        return 0 if name[:1] in b"Cc" else None
    if name[:1] in b"Tt":
        return -1 if _CHUNKED.fullmatch(value) else None
    found = _LENGTH.fullmatch(value)
    return int(found[1]) if found is not None else None


class ConnectionLoop(_Loop):  # type: ignore[misc, valid-type]
    """An event loop whose client connections are all checked."""

    async def create_connection(
        self, protocol_factory: Callable[[], asyncio.Protocol], *args: Any, **options: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Connect as the base loop does, with a CheckedConnection in between."""
        _, checked = await super().create_connection(lambda: CheckedConnection(protocol_factory()), *args, **options)
        return checked, checked.inner
