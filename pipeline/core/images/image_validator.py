"""Validate pictures in other processes during the fetch: small ones in batches, large ones one at a time.

The event loop decodes nothing and reads no header. One process decodes small pictures, so that no large one delays
them; two more decode large ones. Each starts when it is first needed, and is replaced after a picture has ended it.
"""

import asyncio
from collections.abc import Sequence
from typing import Self

from pipeline.core.images.decoder import Decoder, DecoderDiedError, Row, Validated, refusal, validated

# Pictures up to this and decoder.QUICK_PIXELS are decoded in batches: 10 ms each at most, 30 us for a thumbnail.
QUICK_BYTES = 65_536
_BATCH = 64  # pictures
_WAITING = 2 * _BATCH  # most small pictures that should wait for a batch
_BATCH_BYTES = 1_000_000
_LARGE = 2  # processes for large pictures


class ImageValidator:
    """Checks that bytes are an acceptable picture, in processes of its own; `close` ends them."""

    def __init__(self, max_pixels: int, min_side: int) -> None:
        self.max_pixels = max_pixels
        self.min_side = min_side
        self._waiting: list[tuple[bytes, asyncio.Future[Row]]] = []
        self._room = asyncio.Event()
        self._batches: asyncio.Task[None] | None = None
        self._turns = asyncio.Semaphore(_LARGE)
        self._idle: dict[bool, list[Decoder]] = {True: [], False: []}  # for small pictures, for large ones
        self._running: set[Decoder] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def start(self) -> None:
        """Start the process for small pictures, so that no attempt waits for it (0.2 s)."""
        await self._ask([], quick=True)

    def close(self) -> None:
        """End the processes, also in the middle of a picture."""
        if self._batches is not None:
            self._batches.cancel()
        for _, found in self._waiting:
            found.cancel()
        for decoder in list(self._running):
            self._end(decoder)

    async def validate(self, data: bytes) -> Validated:
        """Decode a picture in another process; return its sha256 and header.

        A cancelled call ends the process of a large picture.

        Raises:
            PictureError: it is not a picture that is accepted.
            TimeoutError: the machine was too busy to decode it in time.
        """
        batched = self.batched(data)
        row = [] if batched is None else await batched
        return validated(row) if row else await self.validate_alone(data)

    async def validate_small(self, pictures: Sequence[bytes]) -> list[Row | TimeoutError]:
        """Decode pictures of up to QUICK_BYTES in batches; return the row of each, or why it has none.

        The row is empty for a picture with too many pixels for a batch.
        """
        rows: list[Row | TimeoutError] = []
        for future in [self._enqueue(data) for data in pictures]:
            try:
                rows.append(await future)
            except TimeoutError as error:
                rows.append(error)
        return rows

    async def validate_alone(self, data: bytes) -> Validated:
        """Validate a picture that is too large for a batch; otherwise like `validate`."""
        async with self._turns:
            return validated(await self._alone(data, quick=False))

    def batched(self, data: bytes) -> asyncio.Future[Row] | None:
        """Put a small picture into the next batch; None if it has too many bytes for one.

        The result is the decoder's row, or an empty one if the picture has too many pixels for a batch.
        """
        return None if len(data) > QUICK_BYTES else self._enqueue(data)

    def _enqueue(self, data: bytes) -> asyncio.Future[Row]:
        found: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        self._waiting.append((data, found))
        if self._batches is None:  # the first batch also gets pictures that arrive in this turn of the loop
            self._batches = asyncio.create_task(self._decode_batches())
        return found

    @property
    def crowded(self) -> bool:
        """Whether so many small pictures wait for a batch that no more should be requested."""
        return len(self._waiting) >= _WAITING

    async def room(self) -> None:
        """Wait until it is not crowded."""
        while self.crowded:
            self._room.clear()
            await self._room.wait()

    async def _decode_batches(self) -> None:
        """Decode one batch after the other; the next gathers while one is decoded."""
        batch: list[tuple[bytes, asyncio.Future[Row]]] = []
        try:
            while batch := self._next_batch():
                try:
                    rows = await self._ask([data for data, _ in batch], quick=True)
                except (DecoderDiedError, TimeoutError):  # a picture caused it, or the process was killed
                    for data, found in batch:
                        if not found.done():
                            await self._settle_alone(data, found)
                    continue
                for (_, found), row in zip(batch, rows, strict=True):
                    if not found.done():  # otherwise its attempt has timed out
                        found.set_result(row)
        except Exception as error:  # no process could be started: pass the error to every waiting caller
            for _, found in batch + self._waiting:
                if not found.done():
                    found.set_exception(error)
            self._waiting = []
        finally:
            for _, found in batch:
                found.cancel()  # for when this task is cancelled; a settled future ignores it
            self._batches = None

    async def _settle_alone(self, data: bytes, found: asyncio.Future[Row]) -> None:
        try:
            row = await self._alone(data, quick=True)
        except TimeoutError as error:
            if not found.done():
                found.set_exception(error)
        else:
            if not found.done():
                found.set_result(row)

    def _next_batch(self) -> list[tuple[bytes, asyncio.Future[Row]]]:
        count = size = 0
        for data, _ in self._waiting[:_BATCH]:
            size += len(data)
            if count and size > _BATCH_BYTES:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._room.set()
        return batch

    async def _alone(self, data: bytes, quick: bool) -> Row:
        """Decode one picture alone; try again if the process died for another reason than its CPU limit."""
        for _ in range(2):
            try:
                return (await self._ask([data], quick))[0]
            except DecoderDiedError as error:
                died = error
                if error.of_its_limit:
                    break
        return refusal(died)

    async def _ask(self, batch: Sequence[bytes], quick: bool) -> list[Row]:
        decoder = self._idle[quick].pop() if self._idle[quick] else self._start(quick)
        try:
            rows = await decoder.ask(batch)
        except BaseException:  # also when the caller was cancelled
            self._end(decoder)
            raise
        self._idle[quick].append(decoder)
        return rows

    def _start(self, quick: bool) -> Decoder:
        try:
            decoder = Decoder(self.max_pixels, self.min_side, quick)
        except OSError as error:
            raise RuntimeError(f"no process for decoding pictures can be started: {error}") from error
        self._running.add(decoder)
        return decoder

    def _end(self, decoder: Decoder) -> None:
        self._running.discard(decoder)
        decoder.end()
