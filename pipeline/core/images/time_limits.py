"""Enforce time limits on fetch attempts with one periodic check instead of three timers per request.

`pipeline/core/connections.py` reports the bytes received.
"""

import asyncio
import math
import time
from collections.abc import Callable

_CHECKS = 20  # checks within the shorter time limit
_PAUSE = 0.25  # most seconds between two checks, by which an attempt may end late
_GRACE = 0.7  # wall-clock seconds beyond the total, for time in which this process did not run


class TimedAttempt:
    """An attempt under time limits: its task, the host it requests from, and since when that host is silent."""

    __slots__ = (
        "answer_doubtful",
        "began",
        "bytes",
        "clock",
        "expired",
        "host",
        "limits",
        "requests",
        "reused",
        "since",
        "surplus_hosts",
        "task",
    )

    def __init__(self, limits: "TimeLimits", task: asyncio.Task[object], surplus_hosts: set[str]) -> None:
        """Start the clock; hosts that send surplus bytes are added to `surplus_hosts`."""
        self.limits = limits
        self.task = task
        self.surplus_hosts = surplus_hosts
        self.host = ""  # `host:port` of the last request
        self.began, self.clock = limits.time(), limits.clock
        self.expired = False
        self.requests = 0  # sent
        self.reused = False  # whether the last request used a kept connection
        self.answer_doubtful = False  # whether the last response may belong to another request
        self.bytes = 0  # of the last response
        self.stop_waiting()

    def request_sent(self, reused: bool) -> None:
        """Count a request, and start waiting for its response."""
        self.since = self.limits.clock
        self.requests, self.reused = self.requests + 1, reused
        self.bytes, self.answer_doubtful = 0, False

    def received(self, size: int) -> None:
        """Count `size` bytes of the response, and restart the silence."""
        self.since = self.limits.clock
        self.bytes += size

    def surplus_received(self, host: str, reused: bool) -> None:
        """Record that `host` sent bytes that belong to no response."""
        self.surplus_hosts.add(host)
        self.answer_doubtful = self.answer_doubtful or (reused and host == self.host)

    def stop_waiting(self) -> None:
        """Stop the silence limit while nothing is expected from the server (it connects)."""
        self.since = math.inf


class TimeLimits:
    """Cancels attempts after `silence` seconds without a byte, or `total` seconds in all.

    Both are measured by a clock that stops while the process is suspended or gets no CPU. Otherwise all servers would
    seem silent after such a pause. By wall clock, an attempt never exceeds the total by more than a second.
    """

    def __init__(self, silence: float, total: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.silence = silence
        self.total = total
        self.time = clock
        self.attempts: set[TimedAttempt] = set()
        self.pause = min(_PAUSE, min(silence, total) / _CHECKS)
        self.clock = 0.0
        self._checked_at: float | None = None

    def begin(self, surplus_hosts: set[str]) -> TimedAttempt:
        """Put the current task under time limits until `end`."""
        task = asyncio.current_task()
        assert task is not None
        attempt = TimedAttempt(self, task, surplus_hosts)
        self.attempts.add(attempt)
        return attempt

    def end(self, attempt: TimedAttempt) -> None:
        """Remove a finished attempt."""
        self.attempts.discard(attempt)

    def check(self) -> None:
        """Cancel every attempt that exceeds a limit, and mark it as expired."""
        now = self.time()
        self.clock += 0.0 if self._checked_at is None else min(now - self._checked_at, 2 * self.pause)
        self._checked_at = now
        # Attempts that began since the last check get up to one pause more than the limit, never less.
        clock = self.clock - self.pause
        for attempt in self.attempts:
            over = clock - attempt.clock > self.total or now - attempt.began > self.total + _GRACE
            if not attempt.expired and (over or clock - attempt.since > self.silence):
                attempt.expired = True
                attempt.task.cancel()

    async def run(self) -> None:
        """Check periodically, without end."""
        while True:
            self.check()
            await asyncio.sleep(self.pause)
