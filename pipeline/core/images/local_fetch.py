"""Read the pictures of local addresses in threads, and validate them like those that servers send."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.core.images.decoder import Row, Validated, validated
from pipeline.core.images.image_validator import QUICK_BYTES, ImageValidator
from pipeline.core.images.local_files import LocalFiles
from pipeline.core.images.pictures import PictureError
from pipeline.core.images.transfer import Attempt
from pipeline.core.local_address import local_place

_THREADS = 4  # that read: a disk or a network's file system answers several better than one
_BATCH = 128  # pictures read at once
_AHEAD = 4  # batches being read or validated; memory holds so many times _BATCH small pictures
_LARGE = 2  # large pictures in memory

Outcome = tuple[str, Attempt, Validated | None]


async def local_outcomes(
    addresses: Iterable[str], files: LocalFiles, validator: ImageValidator
) -> AsyncGenerator[list[Outcome]]:
    """Iterate over the outcomes of local addresses, in their order, in batches."""
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
    files: LocalFiles,
    validator: ImageValidator,
    pool: ThreadPoolExecutor,
    turns: asyncio.Semaphore,
) -> list[Outcome]:
    loop = asyncio.get_running_loop()
    attempts = await loop.run_in_executor(pool, _read_small, addresses, files)
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


def _read_small(addresses: Sequence[str], files: LocalFiles) -> list[Attempt | None]:
    """Read pictures; an entry is None if the file has too many bytes for a batch."""
    return [_read(address, files, QUICK_BYTES) for address in addresses]


def _read(address: str, files: LocalFiles, at_most: int | None = None) -> Attempt | None:
    place = local_place(address)
    return Attempt("bad_url") if place is None else files.read(place, at_most)


async def _alone(address: str, files: LocalFiles, validator: ImageValidator, pool: ThreadPoolExecutor) -> Outcome:
    """Read and validate one picture."""
    attempt = await asyncio.get_running_loop().run_in_executor(pool, _read, address, files)
    assert attempt is not None
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
