"""The time limits of attempts, kept by one look around now and then in place of three timers a request.

What is looked at are the bytes that a server's answer has brought (`lines.py` tells of them); what an expired attempt
comes to is `transfer.py`'s.
"""

import asyncio
import math
import time
from collections.abc import Callable

_LOOKS = 20  # looks around within the shorter time limit
_PAUSE = 0.25  # seconds between two looks at most: so much later than its limit an attempt may end
_GRACE = 0.7  # seconds by the wall that an attempt gets beyond its total for time in which this process had none


class Watched:
    """An attempt under time limits: which task to stop, whom it asks, and since when that host has been silent."""

    __slots__ = (
        "began",
        "bytes",
        "clock",
        "expired",
        "host",
        "late",
        "misled",
        "requests",
        "reused",
        "since",
        "task",
        "watch",
    )

    def __init__(self, watch: "Watch", task: asyncio.Task[object], late: set[str]) -> None:
        """`late`: where hosts are noted that send bytes nobody asked for."""
        self.watch = watch
        self.task = task
        self.late = late
        self.host = ""  # `host:port` of the last request
        self.began, self.clock = watch.time(), watch.clock
        self.expired = False
        self.requests = 0  # that went out
        self.reused = False  # the last of them over a connection that had been kept
        self.misled = False  # the last answer may be another request's
        self.bytes = 0  # of the last answer
        self.rest()

    def asked(self, reused: bool) -> None:
        """A request went out: from now on the server is to say something."""
        self.since = self.watch.clock
        self.requests, self.reused = self.requests + 1, reused
        self.bytes, self.misled = 0, False

    def heard(self, size: int) -> None:
        """So many bytes of the answer came."""
        self.since = self.watch.clock
        self.bytes += size

    def surplus(self, host: str, reused: bool) -> None:
        """`host` sent bytes that belong to no answer."""
        self.late.add(host)
        self.misled = self.misled or (reused and host == self.host)

    def rest(self) -> None:
        """Nothing is asked of the server: a connection is being made, or a picture judged."""
        self.since = math.inf


class Watch:
    """Stops attempts that pass `silence` seconds between two reads or `total` seconds altogether.

    Both are counted from look to look, by a clock that stands still while the process does (stopped, or without a
    processor): then all servers seem to have been silent, and none was. By the clock on the wall the total is never
    passed by more than a second.
    """

    def __init__(self, silence: float, total: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.silence = silence
        self.total = total
        self.time = clock
        self.attempts: set[Watched] = set()
        self.pause = min(_PAUSE, min(silence, total) / _LOOKS)
        self.clock = 0.0
        self._looked: float | None = None

    def begin(self, late: set[str]) -> Watched:
        """Put the running task under watch, until `end`."""
        task = asyncio.current_task()
        assert task is not None
        watched = Watched(self, task, late)
        self.attempts.add(watched)
        return watched

    def end(self, watched: Watched) -> None:
        """The attempt is over."""
        self.attempts.discard(watched)

    def look(self) -> None:
        """Cancel every attempt that is past a limit, and mark it as expired."""
        now = self.time()
        self.clock += 0.0 if self._looked is None else min(now - self._looked, 2 * self.pause)
        self._looked = now
        # What was begun since the last look has its time: up to one pause more than the limit, never less.
        clock = self.clock - self.pause
        for watched in self.attempts:
            over = clock - watched.clock > self.total or now - watched.began > self.total + _GRACE
            if not watched.expired and (over or clock - watched.since > self.silence):
                watched.expired = True
                watched.task.cancel()

    async def run(self) -> None:
        """Look around for ever."""
        while True:
            self.look()
            await asyncio.sleep(self.pause)
