"""Read pictures of files and object stores in threads, and validate them like those that servers send over HTTP."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from pipeline.core.images.decoder import Row, Validated, validated
from pipeline.core.images.image_validator import ImageValidator
from pipeline.core.images.pictures import PictureError
from pipeline.core.images.transfer import Attempt

_THREADS = 4  # that read: a disk or a network's file system answers several better than one
_BATCH = 128  # pictures read at once
_AHEAD = 4  # batches being read or validated; memory holds so many times _BATCH small pictures
_LARGE = 2  # large pictures in memory

Outcome = tuple[str, Attempt, Validated | None]


class Files(Protocol):
    """Files that several threads may read."""

    def read_small(self, addresses: Sequence[str]) -> list[Attempt | None]:
        """Read pictures; an entry is None if it has more than QUICK_BYTES."""
        ...

    def read_one(self, address: str) -> Attempt:
        """Read one picture of any allowed size."""
        ...


async def local_outcomes(
    addresses: Iterable[str], files: Files, validator: ImageValidator
) -> AsyncGenerator[list[Outcome]]:
    """Iterate over the outcomes of addresses, in their order, in batches."""
    turns, batches = asyncio.Semaphore(_LARGE), iter(addresses)
    running: deque[asyncio.Task[list[Outcome]]] = deque()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="files") as pool:
        try:
            while True:
                while len(running) < _AHEAD and (batch := list(itertools.islice(batches, _BATCH))):
                    running.append(asyncio.create_task(_outcomes(batch, files, validator, pool, turns)))
                if not running:
                    return
                yield await running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def _outcomes(
    addresses: Sequence[str],
    files: Files,
    validator: ImageValidator,
    pool: ThreadPoolExecutor,
    turns: asyncio.Semaphore,
) -> list[Outcome]:
    loop = asyncio.get_running_loop()
    attempts = await loop.run_in_executor(pool, files.read_small, addresses)
    rows = iter(await validator.validate_small([a.data for a in attempts if a is not None and a.data is not None]))
    found: list[Outcome] = []
    for address, attempt in zip(addresses, attempts, strict=True):
        if attempt is not None and attempt.data is None:
            found.append((address, attempt, None))
        elif attempt is not None and (row := next(rows)):
            found.append(_outcome(address, attempt, row))
        else:  # many bytes or pixels
            async with turns:
                found.append(await _alone(address, files, validator, pool))
    return found


async def _alone(address: str, files: Files, validator: ImageValidator, pool: ThreadPoolExecutor) -> Outcome:
    """Read and validate one picture."""
    attempt = await asyncio.get_running_loop().run_in_executor(pool, files.read_one, address)
    if attempt.data is None:
        return address, attempt, None
    try:
        return address, attempt, await validator.validate_alone(attempt.data)
    except (PictureError, TimeoutError) as error:
        return address, _refused(attempt, error), None


def _outcome(address: str, attempt: Attempt, row: Row | TimeoutError) -> Outcome:
    if isinstance(row, TimeoutError):
        return address, _refused(attempt, row), None
    try:
        return address, attempt, validated(row)
    except PictureError as error:
        return address, _refused(attempt, error), None


def _refused(attempt: Attempt, error: PictureError | TimeoutError) -> Attempt:
    """Return the outcome of a picture that is refused; its mark stays, so that only a changed file is read again."""
    return Attempt(error.reason if isinstance(error, PictureError) else "timeout", etag=attempt.etag)
