"""Download pictures: request every URL that is missing or was transient, and record the outcome in the store.

This module chooses URLs, retries, flushes and reports progress. `transfer.py` makes single attempts, and
`image_validator.py` checks the bytes: small pictures in batches, while their host gets its next request.
"""

import asyncio
import contextlib
import gc
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.address import host_ports, target
from pipeline.core.connections import ConnectionLoop
from pipeline.core.images.decoder import Row, Validated, validated
from pipeline.core.images.image_validator import ImageValidator
from pipeline.core.images.ledger import PENDING_COLUMNS, STATUS_OF, LedgerRow, PictureStore
from pipeline.core.images.pictures import PictureError
from pipeline.core.images.schedule import Host, Job, Schedule
from pipeline.core.images.store_shards import absorb
from pipeline.core.images.transfer import Attempt, FetchSettings, Transfer
from pipeline.core.signatures import freshest, keys

__all__ = ["FetchProgress", "FetchReport", "FetchSettings", "Urls", "fetch", "pending"]

_PROGRESS_EVERY = 0.5  # seconds
_BATCH = 10_000  # URLs converted from Python strings at once
_ASK_TO_PAUSE = (429, 503)  # statuses whose Retry-After applies to the whole host (RFC 6585, RFC 9110)


@dataclass(frozen=True)
class FetchProgress:
    """Progress of a fetch."""

    done: int
    total: int
    ok: int
    broken: int
    rate: float  # URLs settled per second since the start
    bytes: int  # of good pictures


@dataclass(frozen=True)
class FetchReport:
    """The result of one fetch. `reasons` counts the URLs settled in it, `known` those settled before."""

    urls: int  # distinct
    known: int
    requests: int  # sent, including redirects and retries
    given_up: int  # URLs not requested because their host stopped answering; the next run requests them
    reasons: dict[str, int] = field(default_factory=dict)
    bytes: int = 0  # of good pictures
    seconds: float = 0.0


class Urls(Sequence[str]):
    """URLs in an Arrow column, read like a list; each takes its text's bytes and four more."""

    def __init__(self, column: pa.Array) -> None:
        self.column = column
        _, ends, text = column.buffers()
        self._ends = memoryview(ends or bytes(4)).cast("i")[column.offset :]
        self._text = memoryview(text or b"")

    @classmethod
    def distinct(cls, urls: "Iterable[str] | pa.Array | pa.ChunkedArray | Urls") -> "Urls":
        """Keep each picture's URL once, in order; of URLs that differ only by signature, keep the newest."""
        if isinstance(urls, Urls):
            urls = urls.column
        if not isinstance(urls, (pa.Array, pa.ChunkedArray)):
            rest = iter(urls)
            batches = iter(lambda: list(itertools.islice(rest, _BATCH)), [])
            urls = pa.chunked_array([pa.array(batch, pa.string()) for batch in batches], pa.string())
        return cls(pc.unique(freshest(urls.drop_null().cast(pa.string()))))

    def __len__(self) -> int:
        return len(self.column)

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Urls": ...
    def __getitem__(self, index: int | slice) -> "str | Urls":
        if isinstance(index, slice):
            return Urls(self.column[index])
        if not 0 <= index < len(self):
            raise IndexError(index)
        return str(self._text[self._ends[index] : self._ends[index + 1]], "utf-8")


def fetch(
    urls: Iterable[str] | pa.Array | pa.ChunkedArray,
    store: PictureStore,
    settings: FetchSettings | None = None,
    on_progress: Callable[[FetchProgress], None] | None = None,
) -> FetchReport:
    """Fetch into `store` every URL that it lacks or has as transient; settled URLs are not requested again.

    A kill loses at most one flush (`flush_every` rows), and the pictures requested or validated at that moment. A
    server's behaviour is recorded in the ledger and never raises. Memory grows by the text of the URLs and about 200
    bytes per picture. `on_progress` is called at most every half second, and once at the end.

    Raises:
        BlockingIOError: another process writes to the store.
        OSError: the disk fails.
    """
    settings = settings or FetchSettings()
    with store.writing():
        absorb(store)
        distinct = Urls.distinct(urls)
        todo = pending(distinct, store.ledger(PENDING_COLUMNS), store, settings)
        run = _Run(todo, store, settings, on_progress)
        with _rare_collections(), asyncio.Runner(loop_factory=ConnectionLoop) as runner:
            report = runner.run(run.run(known=len(distinct) - len(todo)))
        store.compact()
    return report


@contextlib.contextmanager
def _rare_collections() -> Generator[None]:
    """Collect cyclic garbage less often during the block: a fetch makes little, and looking for it took 4% of it."""
    before = gc.get_threshold()
    gc.set_threshold(20_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def pending(
    urls: Iterable[str] | pa.Array | pa.ChunkedArray, ledger: pa.Table, store: PictureStore, settings: FetchSettings
) -> Urls:
    """List the URLs that a fetch would request, each once, in order.

    These are the URLs that are not in the ledger, are transient, have lost their picture in the store, or were blocked
    by settings that now permit them (allowed hosts, robots tags). URLs that differ only by signature are the same URL,
    but a refused one is requested again under a new signature, because the old one may have expired.
    """
    distinct = Urls.distinct(urls)
    status_of = [STATUS_OF[reason] for reason in STATUS_OF]
    reason = pc.index_in(ledger["reason"], value_set=pa.array(STATUS_OF, pa.string()))
    settled = pc.not_equal(pa.array(status_of, pa.string()).take(reason), "transient").to_numpy()
    if not settings.respect_robots:
        settled &= pc.not_equal(ledger["reason"], "robots").to_numpy()
    refused = pc.and_(pc.equal(ledger["reason"], "private_address"), pc.is_null(ledger["http_status"]))  # at once
    for row in np.flatnonzero(refused.to_numpy()):
        asked = target(ledger["url"][int(row)].as_py())
        settled[row] = asked is None or asked.host_port not in settings.allow_hosts
    for row, sha256 in enumerate(ledger["sha256"]):
        settled[row] &= not sha256.is_valid or sha256.as_py() in store
    same = pc.is_in(ledger["url"], value_set=distinct.column).to_numpy()
    settled &= same | pc.not_equal(ledger["reason"], "http_4xx").to_numpy()
    found = keys(ledger["url"].filter(pa.array(settled))).combine_chunks()
    known = pc.is_in(keys(distinct.column), value_set=found)
    return Urls(distinct.column.filter(pc.invert(known)))


class _Run:
    """One fetch, with at most `concurrency` workers for any number of URLs."""

    def __init__(
        self,
        todo: Urls,
        store: PictureStore,
        settings: FetchSettings,
        on_progress: Callable[[FetchProgress], None] | None,
    ) -> None:
        self.todo = todo
        self.store = store
        self.settings = settings
        self.on_progress = on_progress
        self.reasons: Counter[str] = Counter()
        self.bytes = 0
        self.given_up = 0
        self.schedule = Schedule(
            settings.concurrency, settings.per_host, settings.rate_per_host, settings.burst_per_host
        )
        self.started = self.reported = self.flushed = time.monotonic()
        self.jitter = random.Random()
        self.workers: set[asyncio.Task[None]] = set()
        self.validating: set[asyncio.Task[None]] = set()  # pictures of few bytes and many pixels
        self.idle: list[asyncio.Future[Job]] = []  # of workers that wait for a job
        self.flushing: asyncio.Task[None] | None = None
        self.held = False  # whether new requests wait for the current flush
        self.timer: asyncio.TimerHandle | None = None  # when the next retry or pause ends
        self.timer_at = 0.0

    async def run(self, known: int) -> FetchReport:
        self.loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[None] = self.loop.create_future()
        for number, host in enumerate(host_ports(self.todo.column)):
            if host is not None:
                self.schedule.add(host, number)
                continue
            self._settle(self.todo[number], Attempt("bad_url"), attempts=0)
            if self._flush_due():  # may block, because no request is in flight yet
                self.store.flush()
        self.validator = ImageValidator(self.settings.max_pixels, self.settings.min_side, on_room=self._dispatch)
        async with self.validator, Transfer(self.settings) as self.transfer:
            upkeep = self._start(self._upkeep())
            try:
                self._dispatch()
                await self.finished
            finally:
                ends = [upkeep, *self.workers, *self.validating]
                for task in ends:
                    task.cancel()
                if self.flushing is not None:
                    ends.append(self.flushing)  # its thread cannot be cancelled
                await asyncio.gather(*ends, return_exceptions=True)
        self._report(last=True)
        return FetchReport(
            urls=len(self.todo) + known,
            known=known,
            requests=self.transfer.requests,
            given_up=self.given_up,
            reasons=dict(sorted(self.reasons.items())),
            bytes=self.bytes,
            seconds=time.monotonic() - self.started,
        )

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Start a task whose failure ends the run."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None and not self.finished.done():
                self.finished.set_exception(error)

        task = self.loop.create_task(work)
        task.add_done_callback(ended)
        return task

    def _take(self) -> Job | None:
        return None if self._full else self.schedule.take(self.loop.time())

    @property
    def _full(self) -> bool:
        """Whether new requests wait: for the current flush, or because enough pictures wait for their validation."""
        return self.held or self.validator.crowded

    def _dispatch(self) -> None:
        """Give every attempt that may start to a worker, and set a timer for the end of the next retry or pause."""
        while job := self._take():
            if self.idle:
                self.idle.pop().set_result(job)
            else:
                self.workers.add(self._start(self._work(job)))
        if self.schedule.finished and not self.finished.done():
            self.finished.set_result(None)
        due = self.schedule.next_due
        if due is None or self._full or (self.timer is not None and self.timer_at <= due):
            return
        if self.timer is not None:
            self.timer.cancel()
        self.timer, self.timer_at = self.loop.call_at(due, self._on_timer), due

    def _on_timer(self) -> None:
        self.timer = None
        self._dispatch()

    async def _work(self, job: Job) -> None:
        """Make one attempt after the other; wait for `_dispatch` when there is none."""
        while True:
            before = job.host.limit, job.host.answers
            await self._attempt(job)
            self._flush_if_due()
            following = self._take()
            if following is None or before != (job.host.limit, job.host.answers) or self.schedule.next_due is not None:
                self._dispatch()  # the host may have got another slot or freed a trial's, or a retry needs a timer
            if following is None:
                idle: asyncio.Future[Job] = self.loop.create_future()
                self.idle.append(idle)
                following = await idle
            job = following

    async def _attempt(self, job: Job) -> None:
        url = self.todo[job.url]
        asked = target(url)
        assert asked is not None  # only valid URLs are queued
        attempt = await self.transfer.attempt(asked)
        self.schedule.charge(job, attempt.repeated)
        if attempt.data is None:
            self._conclude(job, attempt)
        elif (batched := self.validator.batched(attempt.data)) is not None:
            self.schedule.release(job, answered=True)
            batched.add_done_callback(partial(self._on_batched, job, attempt))
        else:
            await self._validate_alone(job, attempt)

    def _on_batched(self, job: Job, attempt: Attempt, batched: asyncio.Future[Row]) -> None:
        """Conclude an attempt whose picture was validated in a batch, or validate it alone if it is not small."""
        if batched.cancelled() or self.finished.done():
            return
        try:
            self._conclude_batched(job, attempt, batched)
        except Exception as error:  # no process could be started, or the store failed: an error here is otherwise lost
            self.finished.set_exception(error)
            return
        self._flush_if_due()
        if self.schedule.finished or self.idle:
            self._dispatch()

    def _conclude_batched(self, job: Job, attempt: Attempt, batched: asyncio.Future[Row]) -> None:
        try:
            row = batched.result()
            picture = validated(row) if row else None
        except (PictureError, TimeoutError) as error:
            self._conclude(job, _refused(attempt, error))
            return
        if picture is not None:
            self._conclude(job, attempt, picture)
            return
        self.schedule.reclaim(job)
        task = self._start(self._validate_alone(job, attempt))
        self.validating.add(task)
        task.add_done_callback(self.validating.discard)

    async def _validate_alone(self, job: Job, attempt: Attempt) -> None:
        assert attempt.data is not None
        try:
            picture = await self.validator.validate_alone(attempt.data)
        except (PictureError, TimeoutError) as error:
            self.schedule.release(job, answered=True)  # a slow decoder is no fault of the host
            self._conclude(job, _refused(attempt, error))
        else:
            self._conclude(job, attempt, picture)
        self._dispatch()

    def _conclude(self, job: Job, attempt: Attempt, picture: Validated | None = None) -> None:
        """Settle the job's URL, or schedule a retry after a transient failure."""
        answered = attempt.http_status is not None and attempt.reason != "timeout"
        given_up = 0 < self.settings.host_failures <= job.host.failures
        if STATUS_OF[attempt.reason] == "transient" and job.attempts <= self.settings.retries and not given_up:
            asked_to_pause = attempt.http_status in _ASK_TO_PAUSE and attempt.retry_after is not None
            at = self.loop.time() + self._delay(job, attempt)
            self.schedule.retry(job, attempt.reason, at, answered, pause_host=asked_to_pause)
        else:
            self._settle(self.todo[job.url], attempt, job.attempts, picture)
            self.schedule.done(job, answered)
        if 0 < self.settings.host_failures <= job.host.failures:
            self._give_up(job.host, attempt.reason)

    def _delay(self, job: Job, attempt: Attempt) -> float:
        """Compute the seconds until the next attempt: the server's Retry-After, else exponential with jitter."""
        if attempt.retry_after is not None:
            return min(attempt.retry_after, self.settings.retry_after_cap)
        full = min(self.settings.backoff_cap, self.settings.backoff * 2 ** (job.attempts - 1))
        return full * self.jitter.uniform(0.5, 1.0)

    def _give_up(self, host: Host, reason: str) -> None:
        for waiting in self.schedule.abandon(host):
            self.given_up += 1
            self._settle(self.todo[waiting.url], Attempt(waiting.reason or reason), waiting.attempts)

    def _settle(self, url: str, attempt: Attempt, attempts: int, picture: Validated | None = None) -> None:
        self.reasons[attempt.reason] += 1
        sha256, header = picture or (None, None)
        size = None if attempt.data is None else len(attempt.data)
        self.bytes += size or 0
        row = LedgerRow(
            url=url,
            reason=attempt.reason,
            attempts=attempts,
            fetched_at=datetime.now(UTC),
            http_status=attempt.http_status,
            sha256=sha256,
            format=header.format if header else None,
            width=header.width if header else None,
            height=header.height if header else None,
            bytes=size,
            etag=attempt.etag,
        )
        self.store.add(row, attempt.data)

    def _flush_due(self) -> bool:
        """Return whether half of what a kill may lose is unwritten; the other half may arrive during the flush."""
        rows, size = self.store.unflushed
        late = rows > 0 and time.monotonic() - self.flushed >= self.settings.flush_seconds / 2
        return 2 * rows >= self.settings.flush_every or 2 * size >= self.settings.flush_bytes or late

    def _flush_if_due(self) -> None:
        """Flush in a thread while requests continue; hold new requests if the disk cannot keep up."""
        if self._flush_due():
            if self.flushing is None:
                self.flushing = self._start(self._flush())
            else:
                self.held = True

    async def _flush(self) -> None:
        self.flushed = time.monotonic()
        await asyncio.to_thread(self.store.flush)
        self.flushing, self.held = None, False
        self._dispatch()

    async def _upkeep(self) -> None:
        """Report and flush on time also while no response arrives."""
        while True:
            await asyncio.sleep(min(_PROGRESS_EVERY, self.settings.flush_seconds / 2))
            self._flush_if_due()
            self._report()

    def _report(self, last: bool = False) -> None:
        now = time.monotonic()
        if self.on_progress is None or (not last and now - self.reported < _PROGRESS_EVERY):
            return
        self.reported = now
        done, ok = self.reasons.total(), self.reasons["ok"]
        rate = done / max(now - self.started, 1e-9)
        self.on_progress(FetchProgress(done, len(self.todo), ok, done - ok, rate, self.bytes))


def _refused(attempt: Attempt, error: PictureError | TimeoutError) -> Attempt:
    """Return the outcome of an attempt whose picture was refused, or not decoded in time."""
    return Attempt(error.reason if isinstance(error, PictureError) else "timeout", attempt.http_status)
