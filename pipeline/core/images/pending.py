"""Choose the URLs that a fetch asks for: those without an outcome, and those whose outcome may have changed."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import parquet as pq
from pipeline.core.address import host_ports, target
from pipeline.core.images.formats.heif import heif_is_read
from pipeline.core.images.ledger import STATUS_OF, PictureStore
from pipeline.core.images.local_files import Found, LocalFiles
from pipeline.core.images.stored_files import StoredFiles
from pipeline.core.images.transfer import ALL_REASONS, HTML, RETRYABLE, FetchSettings
from pipeline.core.local_address import ARCHIVE, FILE, local_place
from pipeline.core.signatures import freshest, keys
from pipeline.core.stored_address import S3

_HEIC = r"(?i)\.hei[cf]($|[?#])"
PLACEHOLDER = "placeholder"
_BATCH = 10_000  # URLs converted from Python strings at once
_FIRST_WAIT = 3600.0  # seconds before a refusal is asked about again
_MOSTLY = 2 / 3  # share of a host's URLs with a good picture
_MOST_ATTEMPTS = 7  # the last comes 57 days after the first


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


def pending(
    urls: "Iterable[str] | pa.Array | pa.ChunkedArray", ledger: pa.Table, store: PictureStore, settings: FetchSettings
) -> Urls:
    """List the URLs that a fetch would request, each once, in order.

    These are the URLs that are not in the ledger, are transient, have lost their picture in the store, or were blocked
    by settings that now permit them (allowed hosts, robots tags, folders). Refusals that may pass are requested again,
    each time after a longer wait (`_may_pass`); HEIC is, once its extra is installed. A local address is read again if
    its file has changed. URLs that differ only by signature are the same URL, but a refused one is requested again
    under a new signature, because the old one may have expired. `settings.retry` and `settings.retry_urls` name others
    to request again.
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
    settled &= ~_may_pass(ledger, datetime.now(UTC))
    if heif_is_read():  # since the extra was installed, perhaps
        unread = pc.and_(
            pc.equal(ledger["reason"], "unsupported_format"), pc.match_substring_regex(ledger["url"], _HEIC)
        )
        settled &= ~unread.to_numpy()
    _unsettle_changed_files(settled, same, ledger, settings)
    settled &= ~_to_retry(ledger, settings)
    found = keys(ledger["url"].filter(pa.array(settled))).combine_chunks()
    known = pc.is_in(keys(distinct.column), value_set=found)
    return Urls(distinct.column.filter(pc.invert(known)))


def placeholders_to_retry(table: Path, settings: FetchSettings) -> frozenset[str]:
    """List the placeholders of the last fetch for `settings.retry_urls`, if they are to be requested again.

    The store's ledger has them as good pictures: only the home's `table` image_ledger says that many items share them.
    """
    if not {PLACEHOLDER, ALL_REASONS} & set(settings.retry) or not table.is_file():
        return frozenset()
    rows = pq.read_table(table, columns=["url", "reason"])
    return frozenset(rows.filter(pc.equal(rows["reason"], PLACEHOLDER))["url"].to_pylist())


def attempts_before(todo: Urls, ledger: pa.Table) -> dict[str, int]:
    """Return the attempts of earlier fetches, for the URLs to request again because their refusal may pass."""
    again = ledger.filter(pa.array(_refusals(ledger)))
    again = again.filter(pc.is_in(again["url"], value_set=todo.column))
    return dict(zip(again["url"].to_pylist(), again["attempts"].to_pylist(), strict=True))


def _refusals(ledger: pa.Table) -> np.ndarray:
    """Mark the rows whose server answered, but perhaps only for now without the picture: bool [rows].

    These are 403 (a rate limit or a firewall), 202 (still being made), and HTML in place of a picture.
    """
    status, reason = ledger["http_status"], ledger["reason"]
    for_now = pc.or_kleene(pc.equal(status, 202), pc.equal(ledger["format"], HTML))
    page = pc.and_kleene(pc.equal(reason, "not_a_picture"), for_now)
    refused = pc.and_kleene(pc.equal(reason, "http_4xx"), pc.equal(status, 403))
    return pc.or_kleene(refused, page).fill_null(False).to_numpy()


def _may_pass(ledger: pa.Table, now: datetime) -> np.ndarray:
    """Mark the refusals that are due to be asked about again: bool [rows].

    A picture that was still being made (202) is due at the next run. The others wait for _FIRST_WAIT, because a limit
    or a firewall rarely forgets within minutes; HTML counts only from hosts that mostly answer with pictures. Each
    further wait is four times as long, and after _MOST_ATTEMPTS the refusal is final.
    """
    attempts = ledger["attempts"].to_numpy().astype(np.float64)
    due = _refusals(ledger) & (attempts < _MOST_ATTEMPTS)
    if not due.any():
        return due
    waits = _FIRST_WAIT * 4.0 ** np.clip(attempts - 1, 0, _MOST_ATTEMPTS)
    waits[pc.equal(ledger["http_status"], 202).fill_null(False).to_numpy() & (attempts <= 1)] = 0
    fetched = ledger["fetched_at"].cast(pa.int64()).to_numpy() / 1e6
    due &= fetched + waits <= now.timestamp()
    html = due & pc.equal(ledger["format"], HTML).fill_null(False).to_numpy()
    if html.any():
        hosts = np.array([host or "" for host in host_ports(ledger["url"].combine_chunks())], object)
        ok = pc.equal(ledger["reason"], "ok").to_numpy()
        for host in set(hosts[html]):
            of_host = hosts == host
            if ok[of_host].mean() < _MOSTLY:
                due &= ~(html & of_host)
    return due


def _to_retry(ledger: pa.Table, settings: FetchSettings) -> np.ndarray:
    """Mark the rows that the settings name to be asked for again: bool [rows]."""
    reasons = RETRYABLE if ALL_REASONS in settings.retry else settings.retry
    again = pc.is_in(ledger["reason"], value_set=pa.array(reasons, pa.string())).to_numpy()
    if settings.retry_urls:
        named = keys(pa.array(sorted(settings.retry_urls), pa.string()))
        again = again | pc.is_in(keys(ledger["url"]), value_set=named).to_numpy()
    return again


def _unsettle_changed_files(settled: np.ndarray, wanted: np.ndarray, ledger: pa.Table, settings: FetchSettings) -> None:
    """Take out of `settled` [rows] the wanted files and objects that are not those that were read.

    A picture that was kept stays when its file is gone, like one whose server is gone.
    """
    if not settings.picture_folders:
        return
    local = pc.or_(pc.starts_with(ledger["url"], FILE), pc.starts_with(ledger["url"], ARCHIVE)).to_numpy()
    files = LocalFiles(settings.picture_folders, settings.max_bytes)
    for row in np.flatnonzero(local & settled & wanted).tolist():
        place = local_place(ledger["url"][row].as_py())
        if place is not None:
            settled[row] = _is_same(files.look(place), ledger, row)
    stored = np.flatnonzero(pc.starts_with(ledger["url"], S3).to_numpy() & settled & wanted).tolist()
    if stored:
        with contextlib.closing(StoredFiles(settings.picture_folders, settings.max_bytes)) as objects:
            found = objects.look([ledger["url"][row].as_py() for row in stored])
        for row in stored:
            now = found[ledger["url"][row].as_py()]
            settled[row] = now is None or _is_same(now, ledger, row)


def _is_same(now: Found, ledger: pa.Table, row: int) -> bool:
    reason = ledger["reason"][row].as_py()
    if now.mark is None:
        return reason in ("ok", now.reason)
    return ledger["etag"][row].as_py() == now.mark
