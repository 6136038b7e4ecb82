"""`python -m benchmarks.loopback SIDE PORT N FOLDER`: one client of `picture_server.py`, in a process of its own.

`ours` is the real fetch into a real store; `bare` only counts bytes, to show what the server alone can do. Each
prints one JSON object. It imports nothing that the pipeline's fetch does not, so that its memory is the fetch's.
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
    """Seconds and outcome of the fetch, start-up of the interpreter and imports apart."""
    import pandas  # noqa: F401  (pyarrow imports it when it is first given a list)

    from pipeline.core.images.fetch import FetchSettings, fetch
    from pipeline.core.images.ledger import PictureStore

    # More connections to one host than a stranger's should get, as the peer has its best number of threads.
    settings = FetchSettings(allow_hosts=frozenset({f"127.0.0.1:{port}"}), per_host=CONNECTIONS)
    urls = (f"http://127.0.0.1:{port}/{number}.jpg" for number in range(count))
    started = time.perf_counter()
    report = fetch(urls, PictureStore(folder), settings)
    return {"wall_s": time.perf_counter() - started, "reasons": report.reasons, "bytes": report.bytes}


class Bare(asyncio.Protocol):
    """Asks for the next picture as soon as the last one is here."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self.numbers = numbers
        self.done = asyncio.get_running_loop().create_future()
        self.missing = 0  # bytes of the answer under way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """The next picture, if there is one."""
        number = next(self.numbers, None)
        if number is None:
            self.transport.close()
            self.done.set_result(None)
        else:
            self.transport.write(b"GET /%d.jpg HTTP/1.1\r\nHost: x\r\n\r\n" % number)  # ty: ignore[missing-attribute]

    def data_received(self, data: bytes) -> None:
        """Count."""
        if not self.missing:
            end = data.index(b"\r\n\r\n")
            length = data.rindex(b"Content-Length: ", 0, end) + 16
            self.missing = end + 4 + int(data[length:end])
        self.missing -= len(data)
        if not self.missing:
            self.ask()


async def bare(port: int, count: int) -> dict[str, object]:
    """Seconds of a client that does nothing with what it gets."""
    loop = asyncio.get_running_loop()
    numbers = iter(range(count))
    started = time.perf_counter()
    made = [await loop.create_connection(lambda: Bare(numbers), "127.0.0.1", port) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(protocol.done for _, protocol in made))
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
