"""Serve files on loopback, record the requests, and misbehave on demand.

Raw HTTP/1.1, a connection a request: a proper server library refuses to break off, to lie about a length or to
forget what If-Range means.
"""

import asyncio
from dataclasses import dataclass, field
from email.utils import formatdate

from tests.pipeline.core.loopback import LoopbackHost


@dataclass
class Served:
    """The response for one path; each request uses up one element of a list."""

    data: bytes = b""
    etag: str | None = '"one"'
    last_modified: str | None = None
    statuses: list[int] = field(default_factory=list)  # answered first
    retry_after: str | None = None  # with them
    # The connection closes once the client has reported (`FileServer.received`) so many bytes of the body.
    cuts: list[int] = field(default_factory=list)
    hangs: list[int] = field(default_factory=list)  # silence after so many bytes of the body
    location: str | None = None  # redirect there
    understands_head: bool = True
    understands_ranges: bool = True
    understands_if_range: bool = True  # False: the range of the current file, despite If-Range
    range_start: int | None = None  # first byte of a range, whatever was requested
    range_bytes: int | None = None  # most bytes of a range
    length: str = "announced"  # announced, unknown (the body ends with the connection), chunked
    excess: int = 0  # bytes that Content-Length promises too many
    encoding: str | None = None


@dataclass(frozen=True)
class Asked:
    """One request and its response."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    status: int
    body: int  # bytes of the body that were sent


class FileServer(LoopbackHost):
    """`with FileServer() as server`: `server.files["x"] = Served(b"...")`, and `server.asked` lists the requests."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.asked: list[Asked] = []
        self._size, self._moved = 0, asyncio.Event()
        super().__init__()

    @property
    def bodies(self) -> int:
        """Count the requests that got bytes of a file."""
        return sum(asked.body > 0 for asked in self.asked)

    def received(self, size: int, _total: int | None = None) -> None:
        """Record the client's progress; only bytes that it has read certainly survive the end of the connection."""
        self._size = size
        self._loop.call_soon_threadsafe(self._moved.set)

    async def _until_received(self, size: int) -> None:
        while self._size < size:
            self._moved.clear()
            await self._moved.wait()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        await self._answer(method, target.lstrip("/"), headers, writer)

    async def _answer(self, method: str, path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        served = self.files.get(path.partition("?")[0])
        status, body, more = self._decide(served, method, headers)
        said = {"Date": formatdate(usegmt=True), "Connection": "close", **more}
        start, framing = len(served.data) - len(body) if served and status == 206 else 0, 0
        if served is None or served.length == "announced" or not body:
            said["Content-Length"] = str(len(body) + (served.excess if served and body else 0))
        elif served.length == "chunked":
            said["Transfer-Encoding"] = "chunked"
            framing = len(b"%x\r\n" % len(body))
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        if method == "HEAD":
            body = b""
        hangs, cut = bool(served and body and served.hangs), bool(served and body and served.cuts)
        if served and (hangs or cut):
            body = body[: (served.hangs if hangs else served.cuts).pop(0)]
        self.asked.append(Asked(method, path, headers, status, len(body) if status in (200, 206) else 0))
        writer.write(
            f"HTTP/1.1 {status} X\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in said.items()).encode() + b"\r\n"
        )
        writer.write(body)
        await writer.drain()
        if hangs:
            await asyncio.sleep(3600)
        if cut:
            await self._until_received(start + len(body) - framing)

    @staticmethod
    def _decide(served: Served | None, method: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers."""
        if served is None:
            return 404, b"no\n", {}
        if served.statuses:
            status = served.statuses.pop(0)
            said = {"Retry-After": served.retry_after} if served.retry_after else {}
            return status, b"" if status == 304 else b"no\n", said
        if method == "HEAD" and not served.understands_head:
            return 405, b"", {}
        if served.location:
            return 302, b"", {"Location": served.location}
        headed = {"ETag": served.etag, "Last-Modified": served.last_modified, "Content-Encoding": served.encoding}
        named = {name: value for name, value in headed.items() if value is not None}
        known = headers.get("if-none-match"), headers.get("if-modified-since")
        if (known[0] and known[0] == served.etag) or (known[1] and known[1] == served.last_modified):
            return 304, b"", named
        asked_range, condition = headers.get("range"), headers.get("if-range")
        same = not served.understands_if_range or condition in (None, served.etag, served.last_modified)
        if asked_range and served.understands_ranges and same:
            start = int(asked_range.removeprefix("bytes=").rstrip("-"))
            start = start if served.range_start is None else served.range_start
            if start >= len(served.data):
                return 416, b"", {"Content-Range": f"bytes */{len(served.data)}"}
            part = served.data[start:][: served.range_bytes]
            span = f"bytes {start}-{start + len(part) - 1}/{len(served.data)}"
            return 206, part, {**named, "Content-Range": span}
        return 200, served.data, named
