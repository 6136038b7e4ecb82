"""Download pictures: request every URL that is missing or was transient, and record the outcome in the store.

This module retries and flushes. `pending.py` chooses the URLs, `transfer.py` makes single attempts, and
`image_validator.py` checks the bytes: small pictures in batches, while their host gets its next request. Pictures in
files on this machine and in object stores are read first (`local_fetch.py`).
"""

import asyncio
import contextlib
import gc
import random
import re
import time
from array import array
from collections.abc import Callable, Coroutine, Generator, Iterable
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from pipeline.core.address import host_ports, target
from pipeline.core.connections import ConnectionLoop
from pipeline.core.images.decoder import Row, Validated, validated
from pipeline.core.images.fetch_record import PROGRESS_EVERY, FetchProgress, FetchRecord
from pipeline.core.images.image_validator import ImageValidator
from pipeline.core.images.ledger import PENDING_COLUMNS, STATUS_OF, PictureStore
from pipeline.core.images.local_fetch import local_outcomes
from pipeline.core.images.local_files import LocalFiles
from pipeline.core.images.pending import Urls, attempts_before, pending
from pipeline.core.images.pictures import PictureError
from pipeline.core.images.schedule import Host, Job, Schedule
from pipeline.core.images.store_shards import absorb
from pipeline.core.images.stored_files import StoredFiles
from pipeline.core.images.transfer import HTML, Attempt, FetchSettings, Transfer
from pipeline.core.local_address import is_local
from pipeline.core.stored_address import is_stored

__all__ = ["FetchProgress", "FetchReport", "FetchSettings", "Urls", "fetch", "pending"]

_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!DOCTYPE html|<html|<head|<body)", re.IGNORECASE)
_ASK_TO_PAUSE = (429, 503)  # statuses whose Retry-After applies to the whole host (RFC 6585, RFC 9110)


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
        ledger = store.ledger(PENDING_COLUMNS)
        todo = pending(distinct, ledger, store, settings)
        record = FetchRecord(len(todo), store, settings, on_progress, attempts_before(todo, ledger))
        del ledger
        run = _Run(todo, settings, record)
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


class _Run:
    """One fetch, with at most `concurrency` workers for any number of URLs."""

    def __init__(self, todo: Urls, settings: FetchSettings, record: FetchRecord) -> None:
        self.todo = todo
        self.settings = settings
        self.record = record
        self.given_up = 0
        self.schedule = Schedule(
            settings.concurrency, settings.per_host, settings.rate_per_host, settings.burst_per_host
        )
        self.jitter = random.Random()
        self.workers: set[asyncio.Task[None]] = set()
        self.validating: set[asyncio.Task[None]] = set()  # pictures of few bytes and many pixels
        self.idle: list[asyncio.Future[Job]] = []  # of workers that wait for a job
        self.flushing: asyncio.Task[None] | None = None
        self.held = False  # whether new requests wait for the current flush
        self.timer: asyncio.TimerHandle | None = None  # when the next retry or pause ends
        self.timer_at = 0.0
        self.files_read = False

    async def run(self, known: int) -> FetchReport:
        self.loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[None] = self.loop.create_future()
        local, stored = array("i"), array("i")
        for number, host in enumerate(host_ports(self.todo.column)):
            if host is not None:
                self.schedule.add(host, number)
            elif is_local(self.todo[number]):
                local.append(number)
            elif is_stored(self.todo[number]):
                stored.append(number)
            else:
                self.record.settle(self.todo[number], Attempt("bad_url"), attempts=0)
                if self.record.flush_due:  # may block, because no request is in flight yet
                    self.record.flush()
        self.validator = ImageValidator(self.settings.max_pixels, self.settings.min_side, on_room=self._dispatch)
        async with self.validator, Transfer(self.settings) as self.transfer:
            upkeep = self._start(self._upkeep())
            try:
                folders, max_bytes = self.settings.picture_folders, self.settings.max_bytes
                await self._read_files(local, LocalFiles(folders, max_bytes))
                await self._read_files(stored, StoredFiles(folders, max_bytes))
                self.files_read = True
                self._dispatch()
                await self.finished
            finally:
                ends = [upkeep, *self.workers, *self.validating]
                for task in ends:
                    task.cancel()
                if self.flushing is not None:
                    ends.append(self.flushing)  # its thread cannot be cancelled
                await asyncio.gather(*ends, return_exceptions=True)
        self.record.report(last=True)
        return FetchReport(
            urls=len(self.todo) + known,
            known=known,
            requests=self.transfer.requests,
            given_up=self.given_up,
            reasons=dict(sorted(self.record.reasons.items())),
            bytes=self.record.bytes,
            seconds=time.monotonic() - self.record.started,
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
        if self.finished.done():  # after an error, idle workers are cancelled
            return
        while job := self._take():
            if self.idle:
                self.idle.pop().set_result(job)
            else:
                self.workers.add(self._start(self._work(job)))
        if self.schedule.finished and self.files_read:
            self.finished.set_result(None)
        due = self.schedule.next_due
        if due is None or self._full or (self.timer is not None and self.timer_at <= due):
            return
        if self.timer is not None:
            self.timer.cancel()
        self.timer, self.timer_at = self.loop.call_at(due, self._on_timer), due

    async def _read_files(self, numbers: array, opened: LocalFiles | StoredFiles) -> None:
        """Read the pictures in files and object stores, before the first request."""
        with contextlib.closing(opened) as files:
            found = local_outcomes(map(self.todo.__getitem__, numbers), files, self.validator)
            async with contextlib.aclosing(found):
                async for outcomes in found:
                    for address, attempt, picture in outcomes:
                        self.record.settle(address, attempt, 1, picture)
                    self._flush_if_due()
                    if self.held and self.flushing is not None:
                        await asyncio.wait([self.flushing])
                    if self.finished.done():  # the disk failed
                        break

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
            self.record.settle(self.todo[job.url], attempt, job.attempts, picture)
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
            self.record.settle(self.todo[waiting.url], Attempt(waiting.reason or reason), waiting.attempts)

    def _flush_if_due(self) -> None:
        """Flush in a thread while requests continue; hold new requests if the disk cannot keep up."""
        if self.record.flush_due:
            if self.flushing is None:
                self.flushing = self._start(self._flush())
            else:
                self.held = True

    async def _flush(self) -> None:
        await asyncio.to_thread(self.record.flush)
        self.flushing, self.held = None, False
        self._dispatch()

    async def _upkeep(self) -> None:
        """Report and flush on time also while no response arrives."""
        while True:
            await asyncio.sleep(min(PROGRESS_EVERY, self.settings.flush_seconds / 2))
            self._flush_if_due()
            self.record.report()


def _refused(attempt: Attempt, error: PictureError | TimeoutError) -> Attempt:
    """Return the outcome of an attempt whose picture was refused, or not decoded in time."""
    reason = error.reason if isinstance(error, PictureError) else "timeout"
    html = reason == "not_a_picture" and attempt.data is not None and _HTML.match(attempt.data)
    return Attempt(reason, attempt.http_status, format=HTML if html else None)
