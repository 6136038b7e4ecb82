"""Schedule requests: queue URLs by host, so that slow, hanging or hostile hosts do not delay the others.

This module only does the bookkeeping, on a clock that the caller passes in. It must not open connections or sleep. A
URL is a number here, the row of the caller's table, which takes four bytes while it waits.
"""

import heapq
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

_FIRST_LIMIT = 4  # most connections to a host before it has answered
_STREAK = 4  # unanswered requests in a row that are blamed on the host; a single URL may hang
_KEPT_BACK = 4  # one slot in so many is reserved for hosts known to answer


@dataclass(frozen=True)
class Budget:
    """How many requests one host may get."""

    at_once: int  # concurrent requests
    rate: float = 0.0  # requests per second; 0: no limit
    burst: int = 1  # with a rate: requests that may be sent at once after a pause


# Not frozen, here and below: there is an instance per URL, and making a frozen one takes three times as long.
@dataclass(slots=True)
class Waiting:
    """A URL that waits for its turn."""

    url: int
    attempts: int = 0  # so far
    reason: str | None = None  # of the last attempt


@dataclass(slots=True, eq=False)
class Host:
    """One `host:port`: its waiting URLs and its limits."""

    name: str
    budget: Budget
    limit: float  # concurrent requests: grows by one per answer, halves in a streak of failures
    tokens: float  # requests that its rate allows now
    fresh: array = field(default_factory=lambda: array("i"))  # URLs not requested yet, from index `begun` on
    begun: int = 0
    again: deque[Waiting] = field(default_factory=deque)  # URLs whose retry is due
    active: int = 0  # requests in flight
    answers: bool = False  # whether it has answered, without a streak of failures since
    failures: int = 0  # URLs in a row whose first attempt got no answer; retries do not count
    filled_at: float = 0.0  # when `tokens` was last updated
    not_before: float = 0.0  # when a pause of the host ends
    listed: bool = False  # whether it is in a queue of hosts

    @property
    def queued(self) -> int:
        """Count the URLs that wait for a turn."""
        return len(self.fresh) - self.begun + len(self.again)

    def pop(self) -> Waiting:
        """Take the next URL; retries come after URLs that were not requested yet."""
        if self.begun < len(self.fresh):
            self.begun += 1
            return Waiting(self.fresh[self.begun - 1])
        return self.again.popleft()


@dataclass(slots=True)
class Job:
    """One attempt to request a URL."""

    host: Host
    url: int
    attempts: int
    in_flight: bool = True  # whether it holds a slot


class Schedule:
    """A queue in which hosts take turns for `concurrency` slots, with at most `per_host` requests each in flight.

    A host's token bucket holds `burst` requests and fills at `rate` per second (0: no limit).

    One slot in four, at least one, is reserved for hosts known to answer. So hosts that hang from their first request
    on never stop the others. A host that stops answering later loses all its slots but one within one time limit.
    """

    def __init__(self, concurrency: int, per_host: int, rate: float = 0.0, burst: int = 1) -> None:
        self.concurrency = concurrency
        self.budget = Budget(per_host, rate, burst)
        self.hosts: dict[str, Host] = {}
        self.active = 0
        self._unproven_slots = max(1, concurrency - max(1, concurrency // _KEPT_BACK))
        self._unproven_active = 0
        self._turns: deque[Host] = deque()  # hosts known to answer
        self._trials: deque[Host] = deque()  # the other hosts
        self._later: list[tuple[float, int, Host, Waiting | None]] = []  # a heap by time; None: only wake the host
        self._serial = 0
        self._outstanding = 0

    def add(self, host_name: str, url: int) -> None:
        """Queue a URL of a host."""
        host = self.hosts.get(host_name)
        if host is None:
            limit, tokens = min(_FIRST_LIMIT, self.budget.at_once), float(self.budget.burst)
            host = Host(host_name, self.budget, limit=limit, tokens=tokens)
            self.hosts[host_name] = host
        host.fresh.append(url)
        self._outstanding += 1
        self._list(host)

    @property
    def finished(self) -> bool:
        """Whether no URL is queued, waiting or in flight."""
        return self._outstanding == 0

    @property
    def next_due(self) -> float | None:
        """Return when the first retry is due or the first pause ends."""
        return self._later[0][0] if self._later else None

    def take(self, now: float) -> Job | None:
        """Return the next attempt that may start now, or None if all slots or hosts are busy, pausing or done."""
        while self._later and self._later[0][0] <= now:
            _, _, host, entry = heapq.heappop(self._later)
            if entry is not None:
                host.again.append(entry)
            self._list(host)
        if self.active >= self.concurrency:
            return None
        if self._unproven_active < self._unproven_slots and (job := self._turn(self._trials, now)):
            return job
        return self._turn(self._turns, now)

    def release(self, job: Job, answered: bool) -> None:
        """Free the job's slot, once; `answered` says whether its host gave any HTTP answer. Its URL is not settled."""
        if job.in_flight:
            job.in_flight = False
            self._release(job, answered)

    def reclaim(self, job: Job) -> None:
        """Take a slot for a released job, beyond the limits if all are taken."""
        job.in_flight = True
        job.host.active += 1
        self.active += 1
        self._unproven_active += not job.host.answers

    def done(self, job: Job, answered: bool) -> None:
        """Settle the job's URL, and free its slot."""
        self.release(job, answered)
        self._outstanding -= 1

    def retry(self, job: Job, reason: str, at: float, answered: bool, pause_host: bool) -> None:
        """Retry the job's URL at time `at`; `pause_host` makes the whole host wait until then."""
        host = job.host
        if pause_host:
            host.not_before = max(host.not_before, at)
        self._wait(at, host, Waiting(job.url, job.attempts, reason))
        self.release(job, answered)

    def charge(self, job: Job, requests: int) -> None:
        """Count requests that the job sent to its host besides its own; with a rate, they use up tokens."""
        job.host.tokens -= requests

    def abandon(self, host: Host) -> Iterator[Waiting]:
        """Give up the host's queued URLs. Those in flight or waiting for a retry still end by themselves."""
        while host.queued:
            self._outstanding -= 1
            yield host.pop()

    def _turn(self, turns: deque[Host], now: float) -> Job | None:
        while turns:
            host = turns.popleft()
            host.listed = False
            if not host.queued or host.active >= int(host.limit):
                continue
            free_at = self._free_at(host, now)
            if free_at > now:
                self._wait(free_at, host, None)
                continue
            waiting = host.pop()
            host.active += 1
            self.active += 1
            self._unproven_active += not host.answers
            self._list(host)
            return Job(host, waiting.url, waiting.attempts + 1)
        return None

    def _free_at(self, host: Host, now: float) -> float:
        """Return when the host may get a request; if that is now, take one of its tokens."""
        rate = host.budget.rate
        if host.not_before > now or not rate:
            return host.not_before
        host.tokens = min(float(host.budget.burst), host.tokens + (now - host.filled_at) * rate)
        host.filled_at = now
        if host.tokens < 1 - 1e-9:  # sums of floating-point times are not exact
            return now + (1 - host.tokens) / rate
        host.tokens -= 1
        return now

    def _release(self, job: Job, answered: bool) -> None:
        host = job.host
        host.active -= 1
        self.active -= 1
        self._unproven_active -= not host.answers
        if answered:
            host.failures = 0
            host.limit = min(host.budget.at_once, host.limit + 1)
            self._set_answers(host, answers=True)
        else:
            host.failures += job.attempts == 1
            if host.failures >= _STREAK:
                host.limit = max(1.0, host.limit / 2)
                self._set_answers(host, answers=False)
        self._list(host)

    def _set_answers(self, host: Host, answers: bool) -> None:
        """Record whether the host is known to answer, and move its requests in flight and its turn to that pool."""
        if host.answers == answers:
            return
        host.answers = answers
        self._unproven_active += -host.active if answers else host.active
        if host.listed:
            (self._trials if answers else self._turns).remove(host)
            host.listed = False

    def _wait(self, until: float, host: Host, entry: Waiting | None) -> None:
        self._serial += 1
        heapq.heappush(self._later, (until, self._serial, host, entry))

    def _list(self, host: Host) -> None:
        if not host.listed and host.queued and host.active < int(host.limit):
            host.listed = True
            (self._turns if host.answers else self._trials).append(host)
