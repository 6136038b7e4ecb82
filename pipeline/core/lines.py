"""Connections whose bytes are counted before the HTTP library sees them, and the event loop that makes them.

A parser believes what it is sent: it takes interim answers (1xx) without end and without a pause, and hands bytes that
come after an answer to the next request on the same connection. Here each connection is a `Line` between the socket
and aiohttp, by asyncio's own interfaces: it passes on one whole head, then the body that the head announced, and
nothing else. What an answer means belongs to the callers, its syntax to aiohttp.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, Protocol, cast

from pipeline.core.chunks import Chunks

try:
    from uvloop import Loop as _Loop
except ImportError:  # there is none for Windows; asyncio's own loop does the same, a sixth slower
    _Loop = type(asyncio.new_event_loop())

_LONGEST_HEAD = 65_536  # bytes; aiohttp allows 128 headers of 8 kB, browsers 256 kB in all
_INTERIM = 10  # answers before the answer; a server that has more to announce is not listened to any longer

_INTERIM_HEAD = re.compile(rb"HTTP/1\.\d 1(?!01)\d\d")  # 101 is final: the connection would speak another protocol
# A head that every parser understands in the same way, and after which a connection may be kept: HTTP/1.1, whole
# lines, names without blanks before the colon, no continued lines.
_PLAIN_HEAD = re.compile(rb"HTTP/1\.1 [2-5]\d\d[^\r\n\0]*\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,15})[ \t]*(?=\r\n)")
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*(?=\r\n)")

# What may come now: nothing, a head, so many bytes, chunks, bytes until the connection ends.
_IDLE, _HEAD, _BODY, _CHUNKS, _REST = range(5)


class Asker(Protocol):
    """Who sends requests over lines, told what becomes of them."""

    @property
    def host(self) -> str:
        """The `host:port` that is being asked."""
        ...

    def asked(self, reused: bool) -> None:
        """Take note that a request is on its way; `reused`: over a line that has carried others before."""
        ...

    def heard(self, size: int) -> None:
        """Take note of so many bytes of the answer, the first of them a whole head."""
        ...

    def surplus(self, host: str, reused: bool) -> None:
        """Take note that `host` sent bytes that nobody had asked for.

        `reused`: the line had carried other requests before this asker's last one, so its answer may be another's.
        """
        ...


asker: ContextVar[Asker | None] = ContextVar("asker", default=None)  # of the task that sends a request


class Line(asyncio.Transport, asyncio.Protocol):
    """One connection: a protocol to the socket's transport, a transport to aiohttp's protocol."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        super().__init__()
        self.inner = inner
        self._expects = _IDLE
        self._left = 0  # announced bytes that are still to come, the head's among them
        self._chunks = Chunks()
        self._doubtful = False  # where the answer ends is the parser's word alone
        self._held = b""  # a head that is not whole yet
        self._interim = 0
        self._requests = 0
        self._kept = self._bodies = True  # the request lets the connection be kept, and its answer have a body
        self._deaf = False
        self._asker: Asker | None = None
        self._host = ""

    # ---- towards the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are ones by their methods alone
        self.inner.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on; a head that was not whole is no answer."""
        self.inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        """Pass it on."""
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self.inner.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Pass on what belongs to the answer; whoever sends more has the connection closed."""
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
            size = self._chunks.take(data, head)
            if self._chunks.ended:
                self._expects = _IDLE
            elif self._chunks.excessive:
                self._transport.abort()
                return
            elif self._chunks.doubtful:
                self._expects, self._doubtful = _REST, True
        if self._asker is not None:
            self._asker.heard(size)
        if size == len(data):
            self.inner.data_received(data)
        else:
            self.inner.data_received(data[:size])
            self._surplus()

    def _whole_head(self, data: bytes) -> tuple[bytes, int]:
        """What came since the request, once the answer's head is whole and without interim answers; empty till then.

        With it, where the head ends.
        """
        data, self._held = self._held + data, b""
        while (end := _end_of_head(data)) and _INTERIM_HEAD.match(data):
            self._interim += 1
            if self._interim > _INTERIM:
                # Not closed: to the asker it is a server that does not answer, and its time limit ends it.
                self._deaf = True
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
            data, end = _closing(data, end)  # aiohttp closes the connection where it sees the answer's end
        if length is None:
            self._expects = _REST
        elif length < 0:
            self._expects, self._chunks = _CHUNKS, Chunks()
        else:
            self._expects, self._left = _BODY, end + length
        return data, end

    def _surplus(self) -> None:
        if self._asker is not None:
            self._asker.surplus(self._host, self._requests > 1)
        self._transport.abort()

    # ---- towards aiohttp

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a request: what comes from now on is its answer."""
        self._begin(bytes(data))
        self._transport.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send a request that lies in pieces."""
        self.write(b"".join(list_of_data))

    def _begin(self, request: bytes) -> None:
        self._expects, self._interim = _HEAD, 0
        self._requests += 1
        self._kept = b"\r\nConnection: close\r\n" not in request
        self._bodies = request.startswith(b"GET ")  # an answer to HEAD has none, whatever it announces
        self._asker = asker.get()
        if self._asker is not None:
            self._host = self._asker.host
            self._asker.asked(self._requests > 1)

    def is_closing(self) -> bool:
        """As the transport; and a connection whose answer had a doubtful end is not to be written to again."""
        return self._doubtful or self._transport.is_closing()

    def close(self) -> None:
        """As the transport."""
        self._transport.close()

    def abort(self) -> None:
        """As the transport."""
        self._transport.abort()

    def pause_reading(self) -> None:
        """As the transport."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """As the transport, unless the server is not listened to any longer."""
        if not self._deaf:
            self._transport.resume_reading()

    def is_reading(self) -> bool:
        """As the transport."""
        return self._transport.is_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the transport."""
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """As the transport."""
        return self._transport.get_write_buffer_size()


def _end_of_head(data: bytes) -> int:
    """Where the first empty line ends, by CRLF or by LF alone; 0 where there is none."""
    end = data.find(b"\n\r\n") + 3
    bare = data.find(b"\n\n", 0, end if end > 2 else len(data)) + 2
    return bare if bare > 1 else end if end > 2 else 0


def _closing(data: bytes, end: int) -> tuple[bytes, int]:
    """The answer with a word in its head that its connection is not to be kept; and where that head ends."""
    word, empty = b"Connection: close\r\n", 2 if data[end - 2 : end] == b"\r\n" else 1
    return data[: end - empty] + word + data[end - empty :], end + len(word)


def _announced(head: bytes) -> int | None:
    """The length of the body by a head that leaves no doubt about it, -1 where it comes in chunks, else None."""
    if not _PLAIN_HEAD.fullmatch(head):
        return None
    lower = head.lower()
    lengths, codings = lower.count(b"\r\ncontent-length:"), lower.count(b"\r\ntransfer-encoding:")
    if lengths + codings != 1:
        return None
    if head[9:12] in (b"204", b"304"):  # no body, whatever they announce
        return 0 if lengths else None
    if codings:
        return -1 if _CHUNKED.search(lower) else None
    found = _LENGTH.search(lower)
    return int(found[1]) if found is not None else None


class LineLoop(_Loop):  # type: ignore[misc, valid-type]
    """An event loop all of whose client connections are lines."""

    async def create_connection(
        self, protocol_factory: Callable[[], asyncio.Protocol], *args: Any, **options: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """As the loop's own, with a line in between."""
        _, line = await super().create_connection(lambda: Line(protocol_factory()), *args, **options)
        return line, line.inner
