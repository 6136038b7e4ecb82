"""The downloader: every URL that is missing or was transient is asked for, and what became of it goes to the store.

Here: which URLs are asked, retries, flushing, progress. One attempt is `transfer.py`'s, turns between hosts
`schedule.py`'s, the tables `ledger.py`'s; which URLs exist at all is decided by `survivors.py`.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from pipeline.core.address import host_port, parse_url
from pipeline.core.ledger import STATUS_OF, LedgerRow, PictureStore
from pipeline.core.schedule import Host, Job, Schedule
from pipeline.core.transfer import Attempt, FetchSettings, Transfer

__all__ = ["FetchReport", "FetchSettings", "Progress", "fetch", "pending"]

_PROGRESS_EVERY = 0.5  # seconds
_ASK_TO_PAUSE = (429, 503)  # answers whose Retry-After holds for the whole host (RFC 6585, RFC 9110)


@dataclass(frozen=True)
class Progress:
    """How far a fetch is."""

    done: int
    total: int
    ok: int
    broken: int
    rate: float  # URLs settled a second since the start
    bytes: int  # of good pictures


@dataclass(frozen=True)
class FetchReport:
    """What one call did. `reasons` counts the URLs settled in it, `known` those settled before."""

    urls: int  # distinct
    known: int
    requests: int  # sent, redirects and retries included
    given_up: int  # not asked, because their host had stopped answering (transient: the next run asks)
    reasons: dict[str, int] = field(default_factory=dict)
    bytes: int = 0  # of good pictures
    seconds: float = 0.0


def fetch(
    urls: Iterable[str],
    store: PictureStore,
    settings: FetchSettings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> FetchReport:
    """Fetch into `store` the URLs that it does not have, or has as transient; nothing is asked twice.

    Stopped or killed at any moment it loses at most what was not flushed. Raises BlockingIOError if another process
    writes to the store, OSError if its disk fails; what a server does is a row in the ledger, never an exception.
    `on_progress` is called at most every half second, and once at the end.
    """
    settings = settings or FetchSettings()
    with store.writing():
        distinct = list(dict.fromkeys(urls))
        todo = pending(distinct, store.ledger(), store, settings)
        run = _Run(store, settings, on_progress, total=len(todo))
        report = asyncio.run(run.run(todo, known=len(distinct) - len(todo)))
        store.compact()
    return report


def pending(urls: Iterable[str], ledger: pa.Table, store: PictureStore, settings: FetchSettings) -> list[str]:
    """The URLs that a fetch would ask for, each once, in order.

    Those not in the ledger, the transient ones, those whose picture the store has lost, and those that only the
    settings had blocked (an address that is allowed now, a robots tag that is no longer respected).
    """
    settled = set()
    columns = (ledger[name].to_pylist() for name in ("url", "reason", "sha256", "http_status"))
    for url, reason, sha256, http_status in zip(*columns, strict=True):
        if reason == "ok":
            again = sha256 not in store
        elif reason == "private_address" and http_status is None:  # refused at the first hop
            parsed = parse_url(url)
            again = parsed is not None and host_port(parsed) in settings.allow_hosts
        elif reason == "robots":
            again = not settings.respect_robots
        else:
            again = STATUS_OF[reason] == "transient"
        if not again:
            settled.add(url)
    return [url for url in dict.fromkeys(urls) if url not in settled]


class _Run:
    """One fetch: at most `concurrency` tasks alive, whatever the number of URLs."""

    def __init__(
        self,
        store: PictureStore,
        settings: FetchSettings,
        on_progress: Callable[[Progress], None] | None,
        total: int,
    ) -> None:
        self.store = store
        self.settings = settings
        self.on_progress = on_progress
        self.total = total
        self.reasons: Counter[str] = Counter()
        self.bytes = 0
        self.given_up = 0
        self.schedule = Schedule(settings.per_host, settings.rate_per_host)
        self.started = self.reported = self.flushed = time.monotonic()
        self.failure: BaseException | None = None
        self.jitter = random.Random()

    async def run(self, todo: list[str], known: int) -> FetchReport:
        for url in todo:
            parsed = parse_url(url)
            if parsed is None:
                self._settle(url, Attempt("bad_url"), attempts=0)
            else:
                self.schedule.add(host_port(parsed), url)
        self.wake = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()
        async with Transfer(self.settings) as self.transfer:
            try:
                await self._dispatch(tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        self._report(last=True)
        return FetchReport(
            urls=len(todo) + known,
            known=known,
            requests=self.transfer.requests,
            given_up=self.given_up,
            reasons=dict(sorted(self.reasons.items())),
            bytes=self.bytes,
            seconds=time.monotonic() - self.started,
        )

    async def _dispatch(self, tasks: set[asyncio.Task[None]]) -> None:
        """Start attempts as their turn comes, flush now and then, until every URL is settled."""
        loop = asyncio.get_running_loop()

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not task.cancelled() and task.exception() is not None:
                self.failure = task.exception()
            self.wake.set()

        while not self.schedule.finished:
            while len(tasks) < self.settings.concurrency and (job := self.schedule.take(loop.time())):
                task = loop.create_task(self._attempt(job))
                tasks.add(task)
                task.add_done_callback(ended)
            wake_at = self.flushed + self.settings.flush_seconds
            if self.schedule.next_due is not None and len(tasks) < self.settings.concurrency:
                wake_at = min(wake_at, self.schedule.next_due)
            if self.on_progress is not None:
                wake_at = min(wake_at, self.reported + _PROGRESS_EVERY)
            timer = loop.call_at(wake_at, self.wake.set)
            await self.wake.wait()
            timer.cancel()
            self.wake.clear()
            if self.failure is not None:
                raise self.failure
            await self._flush_if_due()
            self._report()

    async def _attempt(self, job: Job) -> None:
        url = parse_url(job.url)
        assert url is not None  # only parsed URLs were queued
        attempt = await self.transfer.attempt(url)
        answered = attempt.http_status is not None and attempt.reason != "timeout"
        given_up = 0 < self.settings.host_failures <= job.host.failures
        if STATUS_OF[attempt.reason] == "transient" and job.attempts <= self.settings.retries and not given_up:
            asked_to_pause = attempt.http_status in _ASK_TO_PAUSE and attempt.retry_after is not None
            at = asyncio.get_running_loop().time() + self._delay(job, attempt)
            self.schedule.retry(job, attempt.reason, at, answered, pause_host=asked_to_pause)
        else:
            self._settle(job.url, attempt, job.attempts)
            self.schedule.done(job, answered)
        if 0 < self.settings.host_failures <= job.host.failures:
            self._give_up(job.host, attempt.reason)

    def _delay(self, job: Job, attempt: Attempt) -> float:
        """Seconds until the next attempt: what the server asked for, else exponential with jitter."""
        if attempt.retry_after is not None:
            return min(attempt.retry_after, self.settings.retry_after_cap)
        full = min(self.settings.backoff_cap, self.settings.backoff * 2 ** (job.attempts - 1))
        return full * self.jitter.uniform(0.5, 1.0)

    def _give_up(self, host: Host, reason: str) -> None:
        for waiting in self.schedule.abandon(host):
            self.given_up += 1
            self._settle(waiting.url, Attempt(waiting.reason or reason), waiting.attempts)

    def _settle(self, url: str, attempt: Attempt, attempts: int) -> None:
        self.reasons[attempt.reason] += 1
        header = attempt.header
        self.bytes += len(attempt.data) if attempt.data is not None else 0
        row = LedgerRow(
            url=url,
            reason=attempt.reason,
            attempts=attempts,
            fetched_at=datetime.now(UTC),
            http_status=attempt.http_status,
            sha256=attempt.sha256,
            format=header.format if header else None,
            width=header.width if header else None,
            height=header.height if header else None,
            bytes=len(attempt.data) if attempt.data is not None else None,
            etag=attempt.etag,
        )
        self.store.add(row, attempt.data)

    async def _flush_if_due(self) -> None:
        rows, size = self.store.unflushed
        late = time.monotonic() - self.flushed >= self.settings.flush_seconds
        if rows >= self.settings.flush_every or size >= self.settings.flush_bytes or late:
            # In a thread, so that requests under way go on; awaited, so that a slow disk does not fill the memory.
            await asyncio.to_thread(self.store.flush)
            self.flushed = time.monotonic()

    def _report(self, last: bool = False) -> None:
        now = time.monotonic()
        if self.on_progress is None or (not last and now - self.reported < _PROGRESS_EVERY):
            return
        self.reported = now
        done, ok = self.reasons.total(), self.reasons["ok"]
        rate = done / max(now - self.started, 1e-9)
        self.on_progress(Progress(done, self.total, ok, done - ok, rate, self.bytes))
