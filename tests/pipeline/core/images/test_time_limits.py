"""Test the time limits of an attempt on a clock that the test sets."""

import asyncio
from collections.abc import Callable

import pytest

from pipeline.core.images.time_limits import TimedAttempt, TimeLimits

SILENCE, TOTAL = 10.0, 60.0


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def begun(limits: TimeLimits) -> tuple[asyncio.Task[None], TimedAttempt]:
    """Begin an endless attempt under time limits."""
    ready: asyncio.Future[TimedAttempt] = asyncio.get_running_loop().create_future()

    async def attempt() -> None:
        ready.set_result(limits.begin(set()))
        await asyncio.sleep(3600)

    task = asyncio.create_task(attempt())
    return task, await ready


def expired_at(
    seconds: int, each_second: Callable[[int, TimedAttempt], None] = lambda now, attempt: None
) -> int | None:
    """Check once a second for `seconds`; return the second at which an attempt that began at 0 is stopped."""

    async def run() -> int | None:
        clock = Clock()
        limits = TimeLimits(SILENCE, TOTAL, clock)
        limits.pause = 1.0
        limits.check()
        task, attempt = await begun(limits)
        attempt.request_sent(reused=False)
        for now in range(1, seconds + 1):
            each_second(now, attempt)
            clock.now = float(now)
            limits.check()
            if attempt.expired:
                with pytest.raises(asyncio.CancelledError):
                    await task
                return now
        task.cancel()
        return None

    return asyncio.run(run())


def test_a_silent_server_is_left_after_the_silence_limit_and_not_before() -> None:
    assert expired_at(100) == SILENCE + 2  # the limit must be exceeded, and is checked once a pause


def test_every_byte_restarts_the_silence_until_the_total_is_exceeded() -> None:
    assert expired_at(100, lambda now, attempt: attempt.received(1)) == TOTAL + 1  # at once, by wall clock


def test_a_body_that_stops_halfway_ends_at_the_silence_limit() -> None:
    def half(now: int, attempt: TimedAttempt) -> None:
        if now <= 5:
            attempt.received(1)

    assert expired_at(100, half) == 4 + SILENCE + 2


def test_only_the_total_counts_while_no_response_is_expected() -> None:
    assert expired_at(100, lambda now, attempt: attempt.stop_waiting()) == TOTAL + 1  # at once, by wall clock


def stopped_after(stopped: float) -> bool:
    """Return whether the first check after a suspension of `stopped` seconds stops an attempt."""

    async def run() -> bool:
        clock = Clock()
        limits = TimeLimits(SILENCE, TOTAL, clock)
        limits.check()
        task, attempt = await begun(limits)
        attempt.request_sent(reused=False)
        for clock.now in (0.1, 0.1 + stopped):
            limits.check()
        task.cancel()
        return attempt.expired

    return asyncio.run(run())


def test_a_suspended_process_does_not_blame_servers_for_silence() -> None:
    assert not stopped_after(TOTAL / 2)


def test_the_total_is_exceeded_by_less_than_a_second_of_wall_clock() -> None:
    assert stopped_after(TOTAL + 0.75)


def test_an_attempt_ends_within_half_a_second_of_its_limit_however_long_that_is() -> None:
    assert TimeLimits(3600.0, 7200.0).pause <= 0.25
