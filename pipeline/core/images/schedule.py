"""Whose turn it is: URLs queued by host, so that a slow, hanging or hostile host costs the others nothing.

Pure bookkeeping on a clock that the caller passes in; it opens no connection and never sleeps (`fetch.py` does). A URL
is a number here, four bytes until its turn comes: what it stands for is the caller's table.
"""

import heapq
from array import array
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_FIRST_LIMIT = 4  # a host proves that it answers before it gets more connections than this
_STREAK = 4  # single URLs may hang; so many unanswered requests in a row are the host's fault
_KEPT_BACK = 4  # one slot in so many is only for hosts that are known to answer


@dataclass(frozen=True)
class Budget:
    """How much one host may be asked for."""

    at_once: int  # requests under way
    rate: float = 0.0  # requests a second; 0: no limit
    burst: int = 1  # requests that it may get at once after a rest, under a rate

    @property
    def parts(self) -> int:
        """Among how many it can be divided: everyone must have a request, and under a rate a token."""
        return min(self.at_once, self.burst) if self.rate else self.at_once

    def divided(self, among: int) -> "list[Budget]":
        """Budgets of so many who ask the same host without knowing of each other; together they are this one."""
        if not 1 <= among <= self.parts:
            raise ValueError(f"a budget of {self} cannot be divided among {among}; 1 to {self.parts} can share it")

        def part(whole: int, number: int) -> int:
            return whole // among + (number < whole % among)

        return [
            Budget(part(self.at_once, number), self.rate / among, max(1, part(self.burst, number)))
            for number in range(among)
        ]


@dataclass(slots=True)  # not frozen, here and below: one is made for every URL, and frozen ones take thrice the time
class Waiting:
    """A URL that waits for its turn."""

    url: int
    attempts: int = 0  # so far
    reason: str | None = None  # of the last of them


@dataclass(slots=True, eq=False)
class Host:
    """One `host:port`: its waiting URLs, and how much it may be asked for."""

    name: str
    budget: Budget
    limit: float  # requests at once: grows by one an answer, halves in a streak of failures
    tokens: float  # requests that its rate allows now
    fresh: array = field(default_factory=lambda: array("i"))  # URLs not asked yet; the first `begun` are gone
    begun: int = 0
    again: deque[Waiting] = field(default_factory=deque)  # URLs whose retry is due
    active: int = 0
    answers: bool = False  # known to: it gave one, and no streak of failures came after
    failures: int = 0  # URLs in a row whose first attempt got no answer; a URL that hung before proves little
    filled_at: float = 0.0  # when `tokens` was last counted
    not_before: float = 0.0
    listed: bool = False

    @property
    def queued(self) -> int:
        """URLs that wait for a turn."""
        return len(self.fresh) - self.begun + len(self.again)

    def pop(self) -> Waiting:
        """The next URL; retries come after the URLs that were not asked yet."""
        if self.begun < len(self.fresh):
            self.begun += 1
            return Waiting(self.fresh[self.begun - 1])
        return self.again.popleft()


@dataclass(slots=True)
class Job:
    """One attempt to make."""

    host: Host
    url: int
    attempts: int


class Schedule:
    """Hosts take turns for `concurrency` slots; each has at most `per_host` requests under way.

    A host's token bucket holds `burst` requests and fills at `rate` a second (0: no limit); a host named in `budgets`
    has its own, because others ask it as well. A slot in four, one at
    least, is kept for hosts known to answer: however many hosts hang from their first request on, the others go on;
    and hosts that stop answering later lose all slots but one each within one time limit.
    """

    def __init__(
        self,
        concurrency: int,
        per_host: int,
        rate: float = 0.0,
        burst: int = 1,
        budgets: Mapping[str, Budget] | None = None,
    ) -> None:
        self.concurrency = concurrency
        self.budget = Budget(per_host, rate, burst)
        self.budgets = budgets or {}
        self.hosts: dict[str, Host] = {}
        self.active = 0
        self._unproven_slots = max(1, concurrency - max(1, concurrency // _KEPT_BACK))
        self._unproven_active = 0
        self._turns: deque[Host] = deque()  # of hosts known to answer
        self._trials: deque[Host] = deque()  # of the others
        self._later: list[tuple[float, int, Host, Waiting | None]] = []  # None: only wake the host
        self._serial = 0
        self._outstanding = 0

    def add(self, host_name: str, url: int) -> None:
        """Queue a URL at its host."""
        host = self.hosts.get(host_name)
        if host is None:
            budget = self.budgets.get(host_name, self.budget)
            host = Host(host_name, budget, limit=min(_FIRST_LIMIT, budget.at_once), tokens=float(budget.burst))
            self.hosts[host_name] = host
        host.fresh.append(url)
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
        """The next attempt that may start now; None when every slot or host is busy, pausing or done."""
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

    def charge(self, job: Job, requests: int) -> None:
        """Count requests that the job's host was sent beside the job's own; under a rate it is left alone for them."""
        job.host.tokens -= requests

    def abandon(self, host: Host) -> Iterator[Waiting]:
        """Give up the host's queued URLs (those under way or waiting for a retry still end by themselves)."""
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
        """When the host may be asked; where that is now, one of its tokens is taken."""
        rate = host.budget.rate
        if host.not_before > now or not rate:
            return host.not_before
        host.tokens = min(float(host.budget.burst), host.tokens + (now - host.filled_at) * rate)
        host.filled_at = now
        if host.tokens < 1 - 1e-9:  # a clock's sums are not exact
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
            self._judge(host, answers=True)
        else:
            host.failures += job.attempts == 1
            if host.failures >= _STREAK:
                host.limit = max(1.0, host.limit / 2)
                self._judge(host, answers=False)
        self._list(host)

    def _judge(self, host: Host, answers: bool) -> None:
        """Note whether the host is known to answer; its requests under way and its turn change pools with it."""
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
