"""Time limits of an attempt, on a clock that the test turns."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from pipeline.core.images.exchange import Watch, Watched

SILENCE, TOTAL = 10.0, 60.0


def expired_at(seconds: int, each_second: Callable[[int, Watched], None] = lambda now, watched: None) -> int | None:
    """The first of so many seconds, looked at one by one, at which an attempt that began at 0 is stopped."""

    async def run() -> int | None:
        watch = Watch(SILENCE, TOTAL)
        watch.pause = 1.0
        watch.look(0.0)
        attempt = asyncio.create_task(asyncio.sleep(3600))
        watched = Watched(watch, attempt)
        watch.attempts.add(watched)
        watched.listen(None)
        for now in range(1, seconds + 1):
            each_second(now, watched)
            watch.look(float(now))
            if watched.expired:
                with pytest.raises(asyncio.CancelledError):
                    await attempt
                return now
        attempt.cancel()
        return None

    return asyncio.run(run())


def body(received: int) -> SimpleNamespace:
    return SimpleNamespace(total_bytes=received)


def test_a_server_that_says_nothing_is_left_after_the_silence_and_not_before() -> None:
    assert expired_at(100) == SILENCE + 2  # a pause later at most, and it must be passed


def test_every_byte_begins_the_silence_anew_until_the_total_is_passed() -> None:
    stream = body(0)

    def drip(now: int, watched: Watched) -> None:
        stream.total_bytes += 1
        if now == 1:
            watched.listen(stream)  # type: ignore[arg-type]

    assert expired_at(100, drip) == TOTAL + 2


def test_a_body_that_stops_halfway_is_left_after_the_silence() -> None:
    stream = body(0)

    def half(now: int, watched: Watched) -> None:
        stream.total_bytes = min(now, 5)
        if now == 1:
            watched.listen(stream)  # type: ignore[arg-type]

    assert expired_at(100, half) == 5 + SILENCE + 2


def test_while_nothing_is_asked_of_the_server_only_the_total_counts() -> None:
    assert expired_at(100, lambda now, watched: watched.rest()) == TOTAL + 2


def test_a_process_that_slept_does_not_blame_the_servers() -> None:
    async def run() -> bool:
        watch = Watch(SILENCE, TOTAL)
        watch.look(0.0)
        attempt = asyncio.create_task(asyncio.sleep(3600))
        watched = Watched(watch, attempt)
        watch.attempts.add(watched)
        watched.listen(None)
        watch.look(0.5)
        watch.look(8 * 3600.0)
        attempt.cancel()
        return watched.expired

    assert not asyncio.run(run())
