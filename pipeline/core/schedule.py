"""Whose turn it is: URLs queued by host, so that a slow, hanging or hostile host costs the others nothing.

Pure bookkeeping on a clock that the caller passes in; it opens no connection and never sleeps (`fetch.py` does).
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

_FIRST_LIMIT = 4  # a host proves that it answers before it gets more connections than this
_STREAK = 4  # single URLs may hang; so many unanswered requests in a row are the host's fault


@dataclass(frozen=True)
class Waiting:
    """A URL that waits for its turn."""

    url: str
    attempts: int = 0  # so far
    reason: str | None = None  # of the last of them


@dataclass
class Host:
    """One `host:port`: its waiting URLs, and how much it may be asked for."""

    name: str
    limit: float  # requests at once: grows by one an answer, halves in a streak of failures
    queue: deque[Waiting] = field(default_factory=deque)
    active: int = 0
    failures: int = 0  # URLs in a row whose first attempt got no answer; a URL that hung before proves little
    not_before: float = 0.0
    listed: bool = False


@dataclass(frozen=True)
class Job:
    """One attempt to make."""

    host: Host
    url: str
    attempts: int


class Schedule:
    """Hosts take turns; each has at most `per_host` requests under way and `rate` a second (0: no limit)."""

    def __init__(self, per_host: int, rate: float = 0.0) -> None:
        self.per_host = per_host
        self.rate = rate
        self.hosts: dict[str, Host] = {}
        self._turns: deque[Host] = deque()
        self._later: list[tuple[float, int, Host, Waiting | None]] = []  # None: only wake the host
        self._serial = 0
        self._outstanding = 0

    def add(self, host_name: str, url: str) -> None:
        """Queue a URL at its host."""
        host = self.hosts.get(host_name)
        if host is None:
            host = self.hosts[host_name] = Host(host_name, limit=min(_FIRST_LIMIT, self.per_host))
        host.queue.append(Waiting(url))
        self._outstanding += 1
        self._list(host)

    @property
    def finished(self) -> bool:
        """Nothing queued, waiting or under way."""
        return self._outstanding == 0

    @property
    def next_due(self) -> float | None:
        """When the first retry or pause ends."""
        return self._later[0][0] if self._later else None

    def take(self, now: float) -> Job | None:
        """The next attempt that may start now; None when every host is busy, pausing or done."""
        while self._later and self._later[0][0] <= now:
            _, _, host, entry = heapq.heappop(self._later)
            if entry is not None:
                host.queue.append(entry)
            self._list(host)
        while self._turns:
            host = self._turns.popleft()
            host.listed = False
            if not host.queue or host.active >= int(host.limit):
                continue
            if host.not_before > now:
                self._wait(host.not_before, host, None)
                continue
            if self.rate:
                host.not_before = now + 1 / self.rate
            waiting = host.queue.popleft()
            host.active += 1
            self._list(host)
            return Job(host, waiting.url, waiting.attempts + 1)
        return None

    def done(self, job: Job, answered: bool) -> None:
        """The job's URL is settled; `answered` says whether its host gave any HTTP answer."""
        self._release(job, answered)
        self._outstanding -= 1

    def retry(self, job: Job, reason: str, at: float, answered: bool, pause_host: bool) -> None:
        """Ask the job's URL again at time `at`; `pause_host` keeps the whole host quiet until then."""
        host = job.host
        if pause_host:
            host.not_before = max(host.not_before, at)
        self._wait(at, host, Waiting(job.url, job.attempts, reason))
        self._release(job, answered)

    def abandon(self, host: Host) -> Iterator[Waiting]:
        """Give up the host's queued URLs (those under way or waiting for a retry still end by themselves)."""
        while host.queue:
            self._outstanding -= 1
            yield host.queue.popleft()

    def _release(self, job: Job, answered: bool) -> None:
        host = job.host
        host.active -= 1
        if answered:
            host.failures = 0
            host.limit = min(self.per_host, host.limit + 1)
        else:
            host.failures += job.attempts == 1
            if host.failures >= _STREAK:
                host.limit = max(1.0, host.limit / 2)
        self._list(host)

    def _wait(self, until: float, host: Host, entry: Waiting | None) -> None:
        self._serial += 1
        heapq.heappush(self._later, (until, self._serial, host, entry))

    def _list(self, host: Host) -> None:
        if not host.listed and host.queue and host.active < int(host.limit):
            host.listed = True
            self._turns.append(host)
