"""Serves a catalogue's pictures over real HTTP on loopback, a fixed share of the paths broken in different ways.

Which path is broken, and how, is a hash of the path: the same at every start. For the embedded catalogue only.
"""

import asyncio
import errno
import hashlib
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from pipeline.sample.amazon import PICTURE_PATH

HOST = "127.0.0.1"
# Shares of the paths, 6 % in all. A hang costs the fetcher its read timeout, every retry again: a few in a thousand.
FAULTS: dict[str, float] = {
    "missing": 0.020,  # 404
    "unavailable": 0.007,  # 503, always
    "busy_twice": 0.010,  # 503 twice, then the picture
    "html": 0.008,  # 200 and a web page
    "truncated": 0.007,  # fewer bytes than announced
    "pixel": 0.007,  # a 1 x 1 GIF
    "hang": 0.001,  # never answers
}
PIXEL = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,"
    b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
_PAGE = "<!DOCTYPE html><title>Not here</title><p>This picture is not available in your country."


class PortInUseError(OSError):
    """The port is taken; the message names it and says what to do."""


@dataclass(frozen=True)
class Address:
    """Where the pictures are served."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address as a URL without a final slash."""
        return f"http://{self.host}:{self.port}"


def fault_of(path: str) -> str | None:
    """How a URL path misbehaves: a key of FAULTS, or None."""
    draw = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") / 2**64
    for fault, share in FAULTS.items():
        if draw < share:
            return fault
        draw -= share
    return None


class _Pictures:
    """The request handler: one instance a server, so that a restart forgets how often a path was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: Counter[str] = Counter()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        fault = fault_of(request.path)
        if fault in ("hang", "unavailable", "busy_twice", "html", "pixel"):
            answer = await self._instead(request.path, fault)
            if answer is not None:
                return answer
        body = None if fault == "missing" else self._read(request.path)
        if body is None:
            return web.Response(status=404, text="not found")
        if fault == "truncated":
            return await _truncated(request, body)
        return _whole(request, body)

    async def _instead(self, path: str, fault: str) -> web.Response | None:
        """What a fault answers in the picture's place; None once a busy path has calmed down."""
        if fault == "hang":
            await asyncio.Event().wait()  # until the client leaves or the server stops
        if fault == "html":
            return web.Response(text=_PAGE, content_type="text/html")
        if fault == "pixel":
            return web.Response(body=PIXEL, content_type="image/gif")
        self.asked[path] += 1
        if fault == "busy_twice" and self.asked[path] > 2:
            return None
        return web.Response(status=503, text="busy", headers={"Retry-After": "0"})

    def _read(self, path: str) -> bytes | None:
        folder, _, name = path.rpartition("/")
        if folder != PICTURE_PATH or name.startswith("."):
            return None
        try:
            return (self.folder / name).read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            return None


def _whole(request: web.BaseRequest, body: bytes) -> web.Response:
    etag = hashlib.sha256(body).hexdigest()[:16]
    if request.if_none_match and any(known.value == etag for known in request.if_none_match):
        return web.Response(status=304)
    return web.Response(body=body, content_type="image/jpeg", headers={"ETag": f'"{etag}"'})


async def _truncated(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/jpeg", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


@contextmanager
def serve(folder: Path, port: int) -> Generator[Address]:
    """Serves `folder`/pictures on 127.0.0.1 from a thread of its own until the block ends; port 0 takes any free one.

    Raises PortInUseError where somebody listens there already, and FileNotFoundError where there are no pictures.
    """
    pictures = folder / "pictures"
    if not pictures.is_dir():
        raise FileNotFoundError(
            f"{pictures} is not there: write the catalogue first with `python -m pipeline.sample write --out {folder}`"
        )
    loop = asyncio.new_event_loop()
    try:
        runner, address = loop.run_until_complete(_start(pictures, port))
    except OSError as error:
        loop.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortInUseError(
            errno.EADDRINUSE,
            f"port {port} on {HOST} is in use: stop the process that listens there, or "
            f"write the catalogue for another port (`python -m pipeline.sample write --port`)",
        ) from None
    thread = threading.Thread(target=loop.run_forever, name=f"sample pictures on {address.port}", daemon=True)
    thread.start()
    try:
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(pictures: Path, port: int) -> tuple[web.ServerRunner, Address]:
    server = web.Server(_Pictures(pictures), handler_cancellation=True, access_log=None)
    # Hanging requests never finish by themselves, so stopping does not wait for them.
    runner = web.ServerRunner(server, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port, reuse_address=True).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, Address(HOST, runner.addresses[0][1])
