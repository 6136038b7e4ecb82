"""Serve pictures on loopback with every fault that the downloader must survive.

It writes HTTP/1.1 as raw bytes, because server libraries refuse to misbehave like this. It counts requests.
"""

import asyncio
import functools
import gzip
import io
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from urllib.parse import unquote

import numpy as np
from PIL import Image

from tests.pipeline.core.loopback import LoopbackHost

TINY_GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")


@functools.lru_cache(maxsize=1000)
def jpeg(seed: int, width: int = 33, height: int = 50) -> bytes:
    """Make a small JPEG, a different one for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


def bomb_png(side: int = 30_000) -> bytes:
    """Make a PNG of a few bytes that announces side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


class FaultServer(LoopbackHost):
    """`with FaultServer() as server`: `server.url("ok/1")` is a good picture; `server.requests` counts by path."""

    def __init__(self, opens: Callable[[], bool] = lambda: True) -> None:
        self.opens = opens
        self.on_request: Callable[[], None] = lambda: None
        self.heads: list[bytes] = []  # of the latest requests, as received
        self.requests: Counter[str] = Counter()
        self.body_bytes_sent = 0
        super().__init__()

    @property
    def total(self) -> int:
        return self.requests.total()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode().lstrip("/")
            self.requests[path] += 1
            self.heads = [*self.heads[-9:], head]
            self.on_request()
            if not await self._answer(path, writer):
                break

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> bool:
        """Send one response; return False to close the connection."""
        kind, _, rest = path.partition("?")[0].partition("/")
        seen = self.requests[path]
        picture = jpeg(int(rest) if rest.isdigit() else 0)
        match kind:
            case "ok":
                return await _send(writer, 200, picture, etag='"abc"')
            case "status":
                return await _send(writer, int(rest), b"" if rest == "204" else b"no\n")
            case "busy":  # 503 twice, then the picture
                return await _send(writer, 503 if seen <= 2 else 200, picture)
            case "slow_down":  # 429 once; the path says what Retry-After says
                if seen == 1:
                    return await _send(writer, 429, b"", retry_after=rest)
                return await _send(writer, 200, picture)
            case "pause":  # <status>/<form of Retry-After>, once
                status, _, form = rest.partition("/")
                said = {"seconds": "0", "date": "Thu, 01 Jan 1970 00:00:00 GMT", "far": "Fri, 01 Jan 2100 00:00:00 GMT"}
                if seen == 1:
                    return await _send(writer, int(status), b"", retry_after=said[form])
                return await _send(writer, 200, picture)
            case "html":
                return await _send(writer, 200, b"<!doctype html><p>Please try again later.</p>")
            case "tiny":
                return await _send(writer, 200, TINY_GIF)
            case "bomb":
                return await _send(writer, 200, bomb_png())
            case "garbled":
                return await _send(writer, 200, picture[: len(picture) // 2])
            case "robots":
                return await _send(writer, 200, picture, x_robots_tag=rest or "noai")
            case "to":  # redirect to the rest of the path, a URL or a path on this host
                onward = unquote(rest)
                return await _send(writer, 302, b"", location=onward if "://" in onward else f"/{onward}")
            case "loop":
                return await _send(writer, 301, b"", location=f"/{path}")
            case "truncated":
                writer.write(_head(200, len(picture)) + picture[: len(picture) // 2])
                await writer.drain()
                return False
            case "longer":  # than announced
                writer.write(_head(200, len(picture) // 2) + picture)
                await writer.drain()
                return True
            case "stalled":  # half, then nothing for ever
                writer.write(_head(200, len(picture)) + picture[: len(picture) // 2])
                await asyncio.sleep(3600)
            case "gzipped":  # 1 kB that would be 1 MB
                return await _send(writer, 200, gzip.compress(bytes(1_000_000)), content_encoding="gzip")
            case "slow_head":  # headers that never end, one byte at a time
                writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while True:
                    writer.write(b"a")
                    await writer.drain()
                    await asyncio.sleep(0.02)
            case "oversized":
                return await self._endless(writer, _head(200, 40_000_000), bytes(65_536))
            case "endless":
                chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
                return await self._endless(writer, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk)
            case "flood":
                return await self._endless(writer, b"HTTP/1.1 200 OK\r\n", b"X-Flood: " + b"a" * 1000 + b"\r\n")
            case "drip":
                writer.write(_head(200, 10_000))
                while True:
                    writer.write(b"\xff")
                    await writer.drain()
                    await asyncio.sleep(0.02)
            case "interim":  # endless interim responses: interim/<status>/<line end>
                status, _, end = rest.partition("/")
                line_end = {"": b"\r\n", "lf": b"\n"}[end]
                hint = b"HTTP/1.1 " + status.encode() + b" E" + 2 * line_end
                return await self._without_end(writer, b"", hint * (300_000 // len(hint)))
            case "hinted":  # two interim responses, as a good server may send, then the picture
                hint = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
                writer.write(2 * hint + _head(200, len(picture)) + picture)
                await writer.drain()
                return True
            case "status_drip":  # the status line, byte by byte
                for byte in b"HTTP/1.1 200 " + b"O" * 100_000:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.02)
            case "line_ends":  # before the status line, without end
                return await self._without_end(writer, b"", b"\r\n" * 100_000)
            case "crumbs":  # a body without end, in chunks of one byte
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                return await self._without_end(writer, head, b"1\r\nx\r\n" * 50_000)
            case "trailers":  # after the last chunk, without end
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
                return await self._without_end(writer, head, b"X-Trailer: y\r\n" * 20_000)
            case "answers":  # endless responses without requests
                answer = _head(200, len(picture)) + picture
                return await self._without_end(writer, b"", answer * (300_000 // len(answer)))
            case "chunked":  # the picture, in chunks
                writer.write(_chunked(picture))
                await writer.drain()
                return True
            case "chunked_twice":  # the picture in chunks, and an unrequested one
                writer.write(_chunked(picture) + _chunked(jpeg(666)))
                await writer.drain()
                return True
            case "twice":  # the picture, and at once an unrequested one
                writer.write(_head(200, len(picture)) + picture + _head(200, len(jpeg(666))) + jpeg(666))
                await writer.drain()
                return True
            case "late":  # the picture, and a moment later an unrequested one
                writer.write(_head(200, len(picture)) + picture)
                await writer.drain()
                await asyncio.sleep(0.02)
                writer.write(_head(200, len(jpeg(666))) + jpeg(666))
                await writer.drain()
                return True
            case "gate":  # the picture, after `opens` is set
                while not self.opens():
                    await asyncio.sleep(0.005)
                return await _send(writer, 200, picture)
            case "hang":
                await asyncio.sleep(3600)
        raise AssertionError(f"the fault server knows no {path}")

    async def _without_end(self, writer: asyncio.StreamWriter, head: bytes, piece: bytes) -> bool:
        """Send at full speed until the client hangs up."""
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()

    async def _endless(self, writer: asyncio.StreamWriter, head: bytes, piece: bytes) -> bool:
        """Send a huge body; end when the client hangs up."""
        writer.write(head)
        for _ in range(600):
            writer.write(piece)
            self.body_bytes_sent += len(piece)
            await writer.drain()
        return False


def _head(status: int, length: int, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _chunked(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


async def _send(writer: asyncio.StreamWriter, status: int, body: bytes, **headers: str) -> bool:
    writer.write(_head(status, len(body), **headers) + body)
    await writer.drain()
    return True
