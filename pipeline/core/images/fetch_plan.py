"""Plan a fetch: requests by host, URLs already settled, and the bytes and seconds to expect.

Estimates come from the host's own history in the ledger, else from all hosts' history, else from stated assumptions.
Nothing here may make a request or write a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.address import target
from pipeline.core.images.ledger import PictureStore
from pipeline.core.images.pending import pending
from pipeline.core.images.transfer import FetchSettings
from pipeline.core.local_address import is_local
from pipeline.core.stored_address import S3, is_stored

NO_HOST = "(no usable URL)"  # such URLs are refused without a request
FILES = "files on this machine"  # read without a request
# Sources of an estimate, the best first.
HERE, LIMIT, ELSEWHERE, ASSUMED = "this host", "the rate limit", "all hosts", "assumed"
ASSUMED_BYTES = 10_000  # per URL: between Amazon's 50 px pictures (2 kB) and its large ones
ASSUMED_SECONDS = 0.2  # per request of a small picture, across a continent
ASSUMED_FILES = 2_000  # files read and validated per second
_ENOUGH = 20  # least rows for a rate; with fewer it would be chance
_PAUSE = 60.0  # seconds; a longer gap without a settled URL separates two runs


@dataclass(frozen=True)
class History:
    """Statistics of earlier fetches."""

    urls: int
    bytes_each: float | None  # mean per URL, including broken ones; None: unknown
    rate: float | None  # URLs settled per second; None: unknown


@dataclass(frozen=True)
class HostPlan:
    """What a fetch would request from one `host:port`."""

    host: str
    urls: int  # distinct
    there: int  # URLs already settled, which need no request
    requests: int  # one per remaining URL; redirects and retries are not counted
    bytes: int
    bytes_from: str  # HERE, ELSEWHERE or ASSUMED: its own earlier pictures, all hosts', or none
    rate: float  # URLs per second
    rate_from: str  # HERE, LIMIT (rate_per_host) or ASSUMED
    seconds: float  # for this host alone; hosts are fetched in parallel


@dataclass(frozen=True)
class FetchPlan:
    """The plan of a whole fetch; hosts with the most requests come first."""

    hosts: tuple[HostPlan, ...]
    seconds: float  # of the slowest host, or of all requests at the rate that `concurrency` allows
    seconds_from: str

    @property
    def urls(self) -> int:
        """Count distinct URLs."""
        return sum(host.urls for host in self.hosts)

    @property
    def there(self) -> int:
        """Count URLs already settled, which need no request."""
        return sum(host.there for host in self.hosts)

    @property
    def requests(self) -> int:
        """Count URLs to request."""
        return sum(host.requests for host in self.hosts)

    @property
    def bytes(self) -> int:
        """Sum the expected bytes."""
        return sum(host.bytes for host in self.hosts)

    @property
    def bytes_from(self) -> str:
        """Return the weakest source used for `bytes`."""
        return _weakest([host.bytes_from for host in self.hosts if host.requests])

    def top(self, count: int) -> tuple[list[HostPlan], HostPlan | None]:
        """Return the first `count` hosts, and the others summed up as one (None if there are none)."""
        first, others = list(self.hosts[:count]), self.hosts[count:]
        if len(others) < 2:
            return list(self.hosts), None
        together = HostPlan(
            host=f"{len(others):,} other hosts",
            urls=sum(host.urls for host in others),
            there=sum(host.there for host in others),
            requests=sum(host.requests for host in others),
            bytes=sum(host.bytes for host in others),
            bytes_from=_weakest([host.bytes_from for host in others if host.requests]),
            rate=sum(host.rate for host in others if host.requests),
            rate_from=_weakest([host.rate_from for host in others if host.requests]),
            seconds=max(host.seconds for host in others),
        )
        return first, together


def plan_fetch(urls: Sequence[str], store: PictureStore, settings: FetchSettings) -> FetchPlan:
    """Estimate the requests of `fetch(urls, store, settings)` and their cost."""
    ledger = store.ledger()
    distinct = list(dict.fromkeys(urls))
    ask: dict[str, int] = {}
    for url in pending(distinct, ledger, store, settings):
        host = _host(url)
        ask[host] = ask.get(host, 0) + 1
    wanted: dict[str, int] = {}
    for url in distinct:
        host = _host(url)
        wanted[host] = wanted.get(host, 0) + 1
    by_host, overall = histories(ledger)
    hosts = [_host_plan(host, count, ask.get(host, 0), by_host, overall, settings) for host, count in wanted.items()]
    hosts.sort(key=lambda host: (-host.requests, -host.urls, host.host))
    busy = [host for host in hosts if host.requests]
    if not busy:
        return FetchPlan(tuple(hosts), 0.0, HERE)
    # Hosts are fetched in parallel, as far as `concurrency` allows. A measured rate replaces this estimate if higher.
    together = max([settings.concurrency / ASSUMED_SECONDS, *(host.rate for host in busy if host.rate_from == HERE)])
    seconds = max([*(host.seconds for host in busy), sum(host.requests for host in busy) / together])
    return FetchPlan(tuple(hosts), seconds, _weakest([host.rate_from for host in busy]))


def _host_plan(
    host: str, urls: int, requests: int, by_host: dict[str, History], overall: History, settings: FetchSettings
) -> HostPlan:
    if host == NO_HOST:
        return HostPlan(host, urls, urls, 0, 0, HERE, 0.0, HERE, 0.0)  # refused without a request
    own = by_host.get(host, History(0, None, None))
    each, bytes_from = _first_known((own.bytes_each, HERE), (overall.bytes_each, ELSEWHERE), (ASSUMED_BYTES, ASSUMED))
    # A host's rate is never estimated from other hosts, whose rates say little about it.
    assumed = ASSUMED_FILES if host == FILES else settings.per_host / ASSUMED_SECONDS
    rate, rate_from = _first_known((own.rate, HERE), (assumed, ASSUMED))
    if host != FILES and settings.rate_per_host and rate >= settings.rate_per_host:
        rate, rate_from = settings.rate_per_host, LIMIT
    return HostPlan(
        host, urls, urls - requests, requests, round(requests * each), bytes_from, rate, rate_from, requests / rate
    )


def histories(ledger: pa.Table) -> tuple[dict[str, History], History]:
    """Compute the ledger's statistics by host and over all. Rows without an HTTP request (bad URLs) do not count."""
    asked = [attempts > 0 for attempts in ledger["attempts"].to_pylist()]
    ledger = ledger.filter(pa.array(asked, pa.bool_()))
    hosts = np.array([_host(url) for url in ledger["url"].to_pylist()], dtype=object)
    sizes = np.array([size or 0 for size in ledger["bytes"].to_pylist()], np.int64)
    at = ledger["fetched_at"].cast(pa.int64()).to_numpy().astype(np.float64) / 1e6
    of_host: dict[str, list[int]] = {}
    for row, host in enumerate(hosts):
        of_host.setdefault(host, []).append(row)
    return {host: _history(sizes[rows], at[rows]) for host, rows in of_host.items()}, _history(sizes, at)


def _history(sizes: np.ndarray, at: np.ndarray) -> History:
    """Compute statistics from the bytes and unix seconds of each settled URL."""
    if len(sizes) == 0:
        return History(0, None, None)
    gaps = np.diff(np.sort(at))
    working = gaps[gaps <= _PAUSE]
    seconds = float(working.sum())
    enough = len(working) >= _ENOUGH and seconds > 0
    return History(len(sizes), float(sizes.mean()), len(working) / seconds if enough else None)


def _host(url: str) -> str:
    if is_local(url):
        return FILES
    if is_stored(url):
        return S3 + url.removeprefix(S3).partition("/")[0]
    parsed = target(url)
    return NO_HOST if parsed is None else parsed.host_port


def _first_known(*choices: tuple[float | None, str]) -> tuple[float, str]:
    return next((value, source) for value, source in choices if value is not None)


def _weakest(sources: Sequence[str]) -> str:
    return max(sources, key=(HERE, LIMIT, ELSEWHERE, ASSUMED).index, default=HERE)
