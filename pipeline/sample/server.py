"""Serve a catalogue's pictures over HTTP on loopback, with a fixed share of the paths broken in different ways.

A hash of the path decides whether and how it is broken, so each start gives the same faults. Use it only for the
embedded catalogue.
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
# Shares of the paths, 6 % in total. Hangs are rare, because each costs the fetcher a read timeout at every retry.
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
    """The port is in use; the message names it and says what to do."""


@dataclass(frozen=True)
class Address:
    """The address of a picture server."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Return the address as a URL without a trailing slash."""
        return f"http://{self.host}:{self.port}"


def fault_of(path: str) -> str | None:
    """Look up the fault of a URL path: a key of FAULTS, or None."""
    draw = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") / 2**64
    for fault, share in FAULTS.items():
        if draw < share:
            return fault
        draw -= share
    return None


class _PictureHandler:
    """The request handler. Each server has its own, so that a restart resets the count of requests for a path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: Counter[str] = Counter()

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
        """Answer as the fault demands instead of sending the picture; None once a busy path is no longer busy."""
        if fault == "hang":
            await asyncio.Event().wait()  # until the client leaves or the server stops
        if fault == "html":
            return web.Response(text=_PAGE, content_type="text/html")
        if fault == "pixel":
            return web.Response(body=PIXEL, content_type="image/gif")
        self.requests[path] += 1
        if fault == "busy_twice" and self.requests[path] > 2:
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
    """Serve `folder`/pictures on 127.0.0.1 from a separate thread until the block ends; port 0 takes any free port.

    Raises PortInUseError if the port is in use, and FileNotFoundError if there are no pictures.
    """
    pictures = folder / "pictures"
    if not pictures.is_dir():
        raise FileNotFoundError(
            f"{pictures} does not exist: write the catalogue with `python -m pipeline.sample write --out {folder}`"
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
    server = web.Server(_PictureHandler(pictures), handler_cancellation=True, access_log=None)
    # Hanging requests never finish, so do not wait for them when stopping.
    runner = web.ServerRunner(server, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port, reuse_address=True).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, Address(HOST, runner.addresses[0][1])
