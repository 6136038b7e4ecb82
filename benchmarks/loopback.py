"""Run one client of the picture server in its own process: `python -m benchmarks.loopback SIDE PORT N FOLDER`.

`ours` is the real fetch into a real store. `bare` only counts bytes, to measure the server alone. Each prints one JSON
object. Nothing here may import more than the pipeline's fetch does, because its memory is measured.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CONNECTIONS = 64


def ours(port: int, count: int, folder: Path) -> dict[str, object]:
    """Run the fetch; return its seconds, without start-up and imports, and its outcome."""
    import pandas  # noqa: F401  (pyarrow imports it when it first converts a list)

    from pipeline.core.images.fetch import FetchSettings, fetch
    from pipeline.core.images.ledger import PictureStore

    # More connections than a stranger's host should get, because the peer also uses its best number of threads.
    settings = FetchSettings(allow_hosts=frozenset({f"127.0.0.1:{port}"}), per_host=CONNECTIONS)
    urls = (f"http://127.0.0.1:{port}/{number}.jpg" for number in range(count))
    started = time.perf_counter()
    report = fetch(urls, PictureStore(folder), settings)
    return {"wall_s": time.perf_counter() - started, "reasons": report.reasons, "bytes": report.bytes}


class Bare(asyncio.Protocol):
    """A connection that requests the next picture as soon as it has the last one."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self.numbers = numbers
        self.done = asyncio.get_running_loop().create_future()
        self.missing = 0  # bytes of the current answer that have not arrived

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Request the first picture."""
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """Request the next picture, or close the connection after the last."""
        number = next(self.numbers, None)
        if number is None:
            self.transport.close()
            self.done.set_result(None)
        else:
            self.transport.write(b"GET /%d.jpg HTTP/1.1\r\nHost: x\r\n\r\n" % number)  # ty: ignore[missing-attribute]

    def data_received(self, data: bytes) -> None:
        """Count the bytes, and request the next picture at the end of an answer."""
        if not self.missing:
            end = data.index(b"\r\n\r\n")
            length = data.rindex(b"Content-Length: ", 0, end) + 16
            self.missing = end + 4 + int(data[length:end])
        self.missing -= len(data)
        if not self.missing:
            self.ask()


async def bare(port: int, count: int) -> dict[str, object]:
    """Run a client that discards the pictures; return its seconds and outcome."""
    loop = asyncio.get_running_loop()
    numbers = iter(range(count))
    started = time.perf_counter()
    connections = [await loop.create_connection(lambda: Bare(numbers), "127.0.0.1", port) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(protocol.done for _, protocol in connections))
    return {"wall_s": time.perf_counter() - started, "reasons": {"ok": count}}


def main() -> int:
    """Run one side."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loopback", description=__doc__)
    parser.add_argument("side", choices=("ours", "bare"))
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.side == "ours":
        result = ours(options.port, options.count, options.folder)
    else:
        try:
            from uvloop import new_event_loop
        except ImportError:
            from asyncio import new_event_loop

        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            result = runner.run(bare(options.port, options.count))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
