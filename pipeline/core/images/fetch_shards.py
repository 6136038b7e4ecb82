"""Fetch with several workers: partition the URLs so that hosts get no more requests than from one, merge the results.

Every shard is an ordinary fetch (`fetch.py`) into its own picture store, a folder below the store. A shard that is
restarted therefore continues from what it had flushed. After a killed fetch, the next one merges these folders first.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import parquet as pq
from pipeline.core.address import target
from pipeline.core.images.fetch import FetchProgress, FetchReport, FetchSettings, Urls, fetch, pending
from pipeline.core.images.ledger import PENDING_COLUMNS, PictureStore
from pipeline.core.images.schedule import Budget
from pipeline.core.images.store_shards import absorb, shard_folder
from pipeline.core.shards import Runner


@dataclass(frozen=True)
class UrlShard:
    """The URLs that one worker fetches, independently of the others."""

    folder: Path  # of its own picture store
    urls: pa.Array
    budgets: dict[str, Budget]  # its share of hosts that other shards have too; other hosts are its alone


def fetch_with(
    runner: Runner,
    urls: Iterable[str] | pa.Array | pa.ChunkedArray,
    store: PictureStore,
    settings: FetchSettings | None = None,
    on_progress: Callable[[FetchProgress], None] | None = None,
) -> FetchReport:
    """Run `fetch` with all workers of the runner; ledger and store get the same rows and pictures.

    `per_host`, `rate_per_host` and `burst_per_host` limit all workers together. `concurrency` and the flushes are per
    worker, and so is what is known of a host: if a host asks one worker to pause (Retry-After), or one worker gives up
    a host (`host_failures`), the others find out with their own next answer.

    Raises like `fetch`; also BlockingIOError if a worker of an earlier fetch is still writing.
    """
    settings = settings or FetchSettings()
    workers = runner.workers()
    with store.writing():
        absorb(store)
        if workers == 1:
            return fetch(urls, store, settings, on_progress)
        started = time.monotonic()
        distinct = Urls.distinct(urls)
        todo = pending(distinct, store.ledger(PENDING_COLUMNS), store, settings)
        shards = partition(todo, store.folder, workers, settings)
        look = _ProgressOfShards(shards, len(todo), on_progress) if on_progress is not None else None
        reports = list(runner.map(fetch_shard, shards, settings, look=look))
        absorb(store)
        store.compact()
        done = _outcome(todo, store)
        if on_progress is not None:
            rate = len(todo) / max(time.monotonic() - started, 1e-9)
            on_progress(FetchProgress(len(todo), len(todo), done.ok, len(todo) - done.ok, rate, done.bytes))
    return FetchReport(
        urls=len(distinct),
        known=len(distinct) - len(todo),
        requests=sum(report.requests for report in reports),
        given_up=sum(report.given_up for report in reports),
        reasons=done.reasons,
        bytes=done.bytes,
        seconds=time.monotonic() - started,
    )


def fetch_shard(shard: UrlShard, settings: FetchSettings) -> FetchReport:
    """Fetch what a shard does not have yet. The report covers this attempt only."""
    return fetch(shard.urls, PictureStore(shard.folder), settings, budgets=shard.budgets)


def partition(todo: Urls, folder: Path, workers: int, settings: FetchSettings) -> list[UrlShard]:
    """Partition URLs into at most `workers` shards of about equal size, to be fetched at the same time.

    A host belongs to one shard unless it has more URLs than fit into one. Then as many shards as it fills, and as can
    divide its budget, get a part of its URLs and of its budget. So even pictures on a single host are fetched by all
    workers, with no more connections to it than from one.
    """
    whole = Budget(settings.per_host, settings.rate_per_host, settings.burst_per_host)
    hosts = [_host(url) for url in todo]
    rows_of: dict[str, list[int]] = {}
    for row, host in enumerate(hosts):
        rows_of.setdefault(host, []).append(row)
    shard_of = np.zeros(len(todo), np.int64)
    load = np.zeros(workers, np.int64)
    budgets: list[dict[str, Budget]] = [{} for _ in range(workers)]
    for host, rows in sorted(rows_of.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        sharers = min(-(-len(rows) * workers // len(todo)), len(rows))
        sharers = min(sharers, whole.parts) if host else sharers  # URLs without a host are refused without a request
        chosen = np.argsort(load, kind="stable")[:sharers].tolist()
        for shard, budget, part in zip(
            chosen, whole.divided(sharers) if host else [whole] * sharers, np.array_split(rows, sharers), strict=True
        ):
            shard_of[part] = shard
            load[shard] += len(part)
            if sharers > 1 and host:
                budgets[shard][host] = budget
    return [
        UrlShard(shard_folder(folder, shard), todo.column.filter(pa.array(shard_of == shard)), budgets[shard])
        for shard in range(workers)
        if load[shard]
    ]


def _host(url: str) -> str:
    parsed = target(url)
    return "" if parsed is None else parsed.host_port


@dataclass(frozen=True)
class _Outcome:
    reasons: dict[str, int]
    bytes: int

    @property
    def ok(self) -> int:
        return self.reasons.get("ok", 0)


def _outcome(todo: Urls, store: PictureStore) -> _Outcome:
    """Count the URLs' outcomes in the ledger, because killed workers have not reported theirs."""
    ledger = store.ledger(["url", "reason", "bytes"])
    rows = ledger.filter(pc.is_in(ledger["url"], value_set=todo.column))
    if len(rows) != len(todo):
        raise RuntimeError(f"{store.folder}: of {len(todo)} URLs to fetch, the ledger has only {len(rows)}")
    counts = {entry["values"]: entry["counts"] for entry in rows["reason"].value_counts().to_pylist()}
    return _Outcome(dict(sorted(counts.items())), pc.sum(rows["bytes"]).as_py() or 0)


class _ProgressOfShards:
    """Report the progress of all shards from the ledger parts that they have flushed; each part is read once."""

    def __init__(self, shards: list[UrlShard], total: int, on_progress: Callable[[FetchProgress], None]) -> None:
        self.folders = [shard.folder for shard in shards]
        self.total, self.on_progress = total, on_progress
        self.started = time.monotonic()
        self.parts: dict[Path, tuple[Counter[str], int]] = {}

    def __call__(self) -> None:
        parts = {}
        for folder in self.folders:
            for path in folder.glob("ledger-*.parquet"):
                with contextlib.suppress(OSError):  # the part has just been merged with others
                    parts[path] = self.parts.get(path) or self._read(path)
        self.parts = parts
        reasons = sum((counted for counted, _ in parts.values()), Counter())
        done, ok = min(reasons.total(), self.total), reasons["ok"]
        rate = done / max(time.monotonic() - self.started, 1e-9)
        size = sum(size for _, size in parts.values())
        self.on_progress(FetchProgress(done, self.total, ok, done - ok, rate, size))

    @staticmethod
    def _read(path: Path) -> tuple[Counter[str], int]:
        table = pq.read_table(path, columns=["reason", "bytes"])
        return Counter(table["reason"].to_pylist()), pc.sum(table["bytes"]).as_py() or 0
