"""Serve N drawn pictures on loopback, fast enough not to be the bottleneck: `python -m benchmarks.picture_server N`.

It speaks HTTP/1.1 on a bare asyncio protocol. All answers are built before the first request, so a request costs a
split and a write. It prints its port once it listens. It understands only the requests of the benchmarks' clients.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

import numpy as np
import simplejpeg
from PIL import Image

HEIGHT, WIDTH = 88, 66  # height of the paper's low-resolution pictures; 3:4 is usual in catalogues
QUALITY = 60


def draw(number: int) -> bytes:
    """Draw picture `number` as a JPEG of 2-4 kB: smoothed noise with grain, different for every number."""
    rng = np.random.default_rng(number)
    patches = Image.fromarray(rng.integers(0, 256, (11, 8, 3), dtype=np.uint8))
    smooth = np.asarray(patches.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-1, 2, (HEIGHT, WIDTH, 1), dtype=np.int16) * rng.integers(5, 20)
    return simplejpeg.encode_jpeg(np.clip(smooth + grain, 0, 255).astype(np.uint8), quality=QUALITY)


def answers(bodies: Sequence[bytes]) -> list[bytes]:
    """Build the whole HTTP answer for every body."""
    head = 'HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nETag: "{:x}"\r\nContent-Length: {}\r\n\r\n'
    return [head.format(number, len(body)).encode() + body for number, body in enumerate(bodies)]


class Connection(asyncio.Protocol):
    """A connection that answers `GET /<number>.jpg` (modulo the number of answers), until the client closes it."""

    def __init__(self, ready: Sequence[bytes]) -> None:
        self.ready = ready
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for answers."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request in `data`."""
        *requests, self.rest = (self.rest + data).split(b"\r\n\r\n")
        for request in requests:
            number = int(request[request.index(b"/") + 1 : request.index(b".jpg")])
            self.transport.write(self.ready[number % len(self.ready)])  # ty: ignore[missing-attribute]
            if b"onnection: close" in request:  # urllib writes it with a capital letter
                self.transport.close()


async def serve(ready: Sequence[bytes]) -> None:
    """Print the port and serve until killed."""
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(ready), "127.0.0.1", 0, backlog=4096)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


def main(arguments: list[str] | None = None) -> int:
    """Draw the pictures and serve them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.picture_server", description=__doc__)
    parser.add_argument("pictures", type=int)
    options = parser.parse_args(arguments)
    ready = answers([draw(number) for number in range(options.pictures)])
    try:
        import uvloop

        run = uvloop.run
    except ImportError:
        run = asyncio.run
    run(serve(ready))
    return 0


if __name__ == "__main__":
    sys.exit(main())
