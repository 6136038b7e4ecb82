"""Time limits of an attempt, on a clock that the test turns."""

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


async def begun(watch: TimeLimits) -> tuple[asyncio.Task[None], TimedAttempt]:
    """An attempt under watch that would last for ever."""
    ready: asyncio.Future[TimedAttempt] = asyncio.get_running_loop().create_future()

    async def attempt() -> None:
        ready.set_result(watch.begin(set()))
        await asyncio.sleep(3600)

    task = asyncio.create_task(attempt())
    return task, await ready


def expired_at(
    seconds: int, each_second: Callable[[int, TimedAttempt], None] = lambda now, attempt: None
) -> int | None:
    """The first of so many seconds, looked at one by one, at which an attempt that began at 0 is stopped."""

    async def run() -> int | None:
        clock = Clock()
        watch = TimeLimits(SILENCE, TOTAL, clock)
        watch.pause = 1.0
        watch.check()
        task, attempt = await begun(watch)
        attempt.request_sent(reused=False)
        for now in range(1, seconds + 1):
            each_second(now, attempt)
            clock.now = float(now)
            watch.check()
            if attempt.expired:
                with pytest.raises(asyncio.CancelledError):
                    await task
                return now
        task.cancel()
        return None

    return asyncio.run(run())


def test_a_server_that_says_nothing_is_left_after_the_silence_and_not_before() -> None:
    assert expired_at(100) == SILENCE + 2  # a pause later at most, and it must be passed


def test_every_byte_begins_the_silence_anew_until_the_total_is_passed() -> None:
    assert expired_at(100, lambda now, attempt: attempt.received(1)) == TOTAL + 1  # at once: by the wall


def test_a_body_that_stops_halfway_is_left_after_the_silence() -> None:
    def half(now: int, attempt: TimedAttempt) -> None:
        if now <= 5:
            attempt.received(1)

    assert expired_at(100, half) == 4 + SILENCE + 2


def test_while_nothing_is_asked_of_the_server_only_the_total_counts() -> None:
    assert expired_at(100, lambda now, attempt: attempt.stop_waiting()) == TOTAL + 1  # at once: by the wall


def look_after(stopped: float) -> bool:
    """Whether an attempt is stopped by the first look after the process stood still for so long."""

    async def run() -> bool:
        clock = Clock()
        watch = TimeLimits(SILENCE, TOTAL, clock)
        watch.check()
        task, attempt = await begun(watch)
        attempt.request_sent(reused=False)
        for clock.now in (0.1, 0.1 + stopped):
            watch.check()
        task.cancel()
        return attempt.expired

    return asyncio.run(run())


def test_a_process_that_stood_still_does_not_blame_the_servers_for_silence() -> None:
    assert not look_after(TOTAL / 2)


def test_the_total_is_passed_by_less_than_a_second_by_the_wall_whatever_the_process_did() -> None:
    assert look_after(TOTAL + 0.75)


def test_an_attempt_ends_within_half_a_second_of_its_limit_however_long_that_is() -> None:
    assert TimeLimits(3600.0, 7200.0).pause <= 0.25
