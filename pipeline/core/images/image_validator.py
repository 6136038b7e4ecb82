"""Judging beside the network: small pictures on the spot, several at a time; large ones in a thread.

What a picture is, is `pictures.py`'s; where its bytes come from `transfer.py`'s.
"""

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor

from pipeline.core.images.pictures import Header, read_header, validate

# Up to here a picture is judged on the spot (about 3 ms at most); a larger one in a thread, so that nobody waits.
_QUICK_BYTES = 32_768
_QUICK_PIXELS = 250_000

Verdict = tuple[str, Header]  # sha256 and header of a good picture


class Judge:
    """Proves that bytes are a picture that is taken, and names them; `close` ends its threads."""

    def __init__(self, max_pixels: int, min_side: int) -> None:
        self.max_pixels = max_pixels
        self.min_side = min_side
        self._small: list[tuple[bytes, asyncio.Future[Verdict | None]]] = []
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="judge")

    def close(self) -> None:
        """Let go of pictures that nobody waits for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def verdict(self, data: bytes) -> Verdict:
        """The picture's sha256 and header. Raises PictureError."""
        loop = asyncio.get_running_loop()
        if len(data) <= _QUICK_BYTES:
            found: asyncio.Future[Verdict | None] = loop.create_future()
            self._small.append((data, found))
            if len(self._small) == 1:
                # What arrives in the same turn of the loop is judged in one go: the decoder stays in the processor's
                # cache, which saves a tenth of all the time a picture takes.
                loop.call_soon(self._judge_small)
            if (verdict := await found) is not None:
                return verdict
        return await loop.run_in_executor(self._threads, lambda: self._check(data, self._header(data)))

    def _judge_small(self) -> None:
        batch, self._small = self._small, []
        for data, found in batch:
            if found.done():  # its attempt ran out of time
                continue
            try:
                header = self._header(data)
                quick = header.width * header.height <= _QUICK_PIXELS
                found.set_result(self._check(data, header) if quick else None)
            except Exception as error:  # whatever it is, the attempt that waits is told
                found.set_exception(error)

    def _header(self, data: bytes) -> Header:
        return read_header(data, self.max_pixels, self.min_side)

    @staticmethod
    def _check(data: bytes, header: Header) -> Verdict:
        validate(data, header)
        return hashlib.sha256(data).hexdigest(), header
