"""Store pictures: the ledger with the outcome of every URL, and shards with every picture once, by content.

The store is a folder of Parquet parts that are only added. `pictures-<n>.parquet` is renamed into place before
`ledger-<n>.parquet`, which refers to it. So a killed process loses at most what it had not flushed; half-written files
are ignored and removed. File names never come from a URL.

A ledger row has the URL as it was given, even one with a password, which is never requested. It is looked up by the
URL's key, which leaves out the signature (`core/signatures.py`), so of several addresses of one picture the latest
requested has the row. Only their owner may read the parts.
"""

import contextlib
import re
import threading
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import parquet as pq
from pipeline.core import schemas
from pipeline.core.column_digests import expect_digests, with_digests
from pipeline.core.durable import make_private, move, sole_writer, write_whole
from pipeline.core.errors import DamagedFileError
from pipeline.core.signatures import keys

# Reason -> status. schemas.REASONS explains the reasons.
STATUS_OF = {
    "ok": "ok",
    "http_404": "gone",
    "http_4xx": "gone",
    "too_many_redirects": "gone",
    "http_5xx": "transient",
    "http_429": "transient",
    "timeout": "transient",
    "connection": "transient",
    "truncated": "transient",
    "too_large": "invalid",
    "not_a_picture": "invalid",
    "unsupported_format": "invalid",
    "too_costly": "invalid",
    "too_small": "invalid",
    "too_many_pixels": "invalid",
    "placeholder": "invalid",
    "bad_url": "invalid",
    "private_address": "blocked",
    "robots": "blocked",
    "file_missing": "gone",
    "file_unreadable": "transient",
    "outside_folders": "blocked",
}
LEDGER_MEND = "delete it and materialise image_ledger: its URLs are requested again"
_SHA256 = re.compile("[0-9a-f]{64}")
_PART_ROWS = 16_384  # a ledger part with so many rows is not merged with others
_ROW_GROUP = 256  # pictures read back at once
# Columns that decide whether a URL is requested again.
PENDING_COLUMNS = ("url", "reason", "http_status", "sha256", "format", "etag", "attempts", "fetched_at")


@dataclass(slots=True)  # not frozen, because that is slower and there is one per URL
class LedgerRow:
    """The outcome of one URL, with the columns of schemas.IMAGE_LEDGER; the status follows from the reason."""

    url: str
    reason: str
    attempts: int
    fetched_at: datetime
    http_status: int | None = None
    sha256: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    etag: str | None = None

    def __post_init__(self) -> None:
        if self.reason not in STATUS_OF:
            raise ValueError(f"ledger reason {self.reason!r} is none of {', '.join(STATUS_OF)}")
        if (self.reason == "ok") != (self.sha256 is not None):
            raise ValueError(f"ledger row with reason {self.reason!r}: a row has a sha256 if and only if it is `ok`")

    @property
    def status(self) -> str:
        """Return one of schemas.STATUSES."""
        return STATUS_OF[self.reason]


@dataclass(frozen=True)
class StoreSizes:
    """Counts of the store's content, and its bytes on disk."""

    pictures: int
    picture_shards: int
    picture_bytes: int
    ledger_parts: int
    ledger_bytes: int


class PictureStore:
    """The ledger and the pictures in `folder`. Reading needs no lock; only one process at a time may write.

    Memory holds one dictionary entry per picture (about 200 bytes) and everything added since the last flush.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._rows: list[LedgerRow] = []
        self._pictures: dict[str, bytes] = {}  # added, perhaps being written, but not yet renamed into place
        self._unwritten: list[str] = []  # those that no flush has started to write
        self._unwritten_bytes = 0
        self._shard_of: dict[str, int] = {}
        self._flush_lock = threading.Lock()
        self._writing = False
        self._rescan()

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._shard_of or sha256 in self._pictures

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        """Lock out other writers during the block, and flush at its end, even after an error."""
        if self._writing:
            yield
            return
        with sole_writer(self.folder):
            self._rescan()
            self._writing = True
            try:
                yield
            finally:
                try:
                    self.flush()
                finally:
                    self._writing = False

    @property
    def unflushed(self) -> tuple[int, int]:
        """Return how many rows and picture bytes a flush would write now."""
        return len(self._rows), self._unwritten_bytes

    def add(self, row: LedgerRow, data: bytes | None = None) -> None:
        """Add the outcome of a URL, with its picture if it has one; nothing is on disk before `flush`."""
        if row.sha256 is not None and row.sha256 not in self:
            if data is None:
                raise ValueError(f"{row.url}: its picture {row.sha256} is neither in the store nor given")
            self._pictures[row.sha256] = data
            self._unwritten.append(row.sha256)
            self._unwritten_bytes += len(data)
        self._rows.append(row)  # after its picture, because a flush in another thread takes rows first

    def flush(self) -> None:
        """Write what was added, first the pictures, then the ledger rows that refer to them."""
        with self._flush_lock:
            rows, self._rows = self._rows, []
            shas, self._unwritten, self._unwritten_bytes = self._unwritten, [], 0
            if not rows and not shas:
                return
            try:
                with contextlib.nullcontext() if self._writing else sole_writer(self.folder):
                    number = self._next_number()
                    if shas:
                        bodies = [self._pictures[sha] for sha in shas]
                        self._write_shard(number, pa.table([shas, bodies], schema=schemas.PICTURES))
                    write_part(self._path("ledger", number), _rows_table(rows))
            except BaseException:  # e.g. a full disk; no later part may refer to pictures that were not written
                self._rows = rows + self._rows
                self._unwritten = shas + self._unwritten
                raise
            for sha in shas:
                self._shard_of[sha] = number
                del self._pictures[sha]

    def ledger(self, columns: Sequence[str] = schemas.IMAGE_LEDGER.names) -> pa.Table:
        """Read schemas.IMAGE_LEDGER, or some columns, as flushed so far: the latest row per key, sorted by key."""
        return self._latest(self._numbers("ledger"), columns)

    def compact(self) -> None:
        """Merge ledger parts into few. Memory holds one merged part, however many URLs there are."""
        with self.writing():
            self.flush()
            group, rows = [], 0
            for number in self._numbers("ledger"):
                group.append(number)
                rows += pq.read_metadata(self._path("ledger", number)).num_rows
                if rows >= _PART_ROWS:
                    self._merge(group)
                    group, rows = [], 0
            self._merge(group)

    def adopt_pictures(self, path: Path) -> None:
        """Move another store's shard into this store, without pictures that it has; call it inside `writing`."""
        shas = pq.read_table(path, columns=["sha256"])["sha256"].to_pylist()
        new = [sha not in self for sha in shas]
        number = self._next_number()
        if all(new):
            move(path, self._path("pictures", number))
        else:
            if any(new):
                self._write_shard(number, pq.ParquetFile(path).read().filter(pa.array(new)))
            path.unlink()
        self._shard_of.update((sha, number) for sha, is_new in zip(shas, new, strict=True) if is_new)

    def adopt_ledger(self, path: Path) -> None:
        """Move another store's ledger part into this store as the newest; call it after adopting its pictures."""
        move(path, self._path("ledger", self._next_number()))

    def _merge(self, numbers: Sequence[int]) -> None:
        """Merge neighbouring parts into the last one; the others, until they are deleted, only hold older rows."""
        if len(numbers) < 2:
            return
        table = self._latest(numbers, schemas.IMAGE_LEDGER.names)
        write_part(self._path("ledger", numbers[-1]), table)
        for number in numbers[:-1]:
            self._path("ledger", number).unlink()

    def _latest(self, numbers: Sequence[int], columns: Sequence[str]) -> pa.Table:
        schema = pa.schema([schemas.IMAGE_LEDGER.field(name) for name in columns])
        if not numbers:
            return schema.empty_table()
        read = list(dict.fromkeys(["url", *columns]))
        file_schema = pa.schema([schemas.IMAGE_LEDGER.field(name) for name in read])
        parts = [self._path("ledger", number) for number in numbers]
        tables = (read_part(part, read).cast(file_schema) for part in parts)
        table = pa.concat_tables(tables)
        numbered = pa.table({"url": keys(table["url"]), "row": np.arange(len(table))})
        order = pc.sort_indices(numbered, sort_keys=[("url", "ascending"), ("row", "ascending")])
        urls = numbered["url"].take(order).combine_chunks()
        last = np.ones(len(order), bool)  # whether a row is the last of its key
        last[:-1] = pc.not_equal(urls[:-1], urls[1:]).to_numpy(zero_copy_only=False)
        latest = order.filter(pa.array(last))
        del numbered, urls
        columns_read = {}
        for name in read:  # drop each column once it is copied, so that memory holds the ledger plus one column
            columns_read[name] = table[name].take(latest).combine_chunks()
            table = table.drop_columns([name])
        return pa.table([columns_read[name] for name in columns], schema=schema)

    def read(self, sha256s: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Read the bytes of these pictures, each once, in the store's order; memory holds one row group.

        Raises:
            KeyError: the store does not have a picture; the message names it.
        """
        for path, wanted in self.whereabouts(sha256s):
            yield from read_pictures(path, wanted)

    def whereabouts(self, sha256s: Iterable[str]) -> list[tuple[Path, dict[str, None]]]:
        """Find the files that hold these pictures, in the store's order; errors as in `read`."""
        wanted: dict[int, dict[str, None]] = {}
        for sha in sha256s:
            if sha not in self._shard_of:
                raise KeyError(f"{self.folder}: no picture {sha} in the store; fetch its URL again (or flush first)")
            wanted.setdefault(self._shard_of[sha], {})[sha] = None
        return [(self._path("pictures", number), wanted[number]) for number in sorted(wanted)]

    @property
    def sizes(self) -> StoreSizes:
        """Measure the store."""
        shards, parts = self._numbers("pictures"), self._numbers("ledger")
        return StoreSizes(
            pictures=len(self._shard_of),
            picture_shards=len(shards),
            picture_bytes=sum(self._path("pictures", number).stat().st_size for number in shards),
            ledger_parts=len(parts),
            ledger_bytes=sum(self._path("ledger", number).stat().st_size for number in parts),
        )

    def _write_shard(self, number: int, table: pa.Table) -> None:
        write_whole(
            self._path("pictures", number),
            lambda path: pq.write_table(
                table,
                path,
                row_group_size=_ROW_GROUP,
                compression="none",  # pictures are compressed already
                use_dictionary=False,
                write_page_checksum=True,
            ),
        )

    def _rescan(self) -> None:
        """Index the pictures by reading the shards: after a kill, a shard may lack its ledger part."""
        numbers = self._numbers("pictures")
        for number in sorted(set(numbers) - set(self._shard_of.values())):
            shas = pq.read_table(self._path("pictures", number), columns=["sha256"])["sha256"].to_pylist()
            self._shard_of.update((sha, number) for sha in shas if sha not in self._shard_of)

    def _numbers(self, kind: str) -> list[int]:
        return sorted(int(path.stem.removeprefix(f"{kind}-")) for path in self.folder.glob(f"{kind}-*.parquet"))

    def _next_number(self) -> int:
        return 1 + max(self._numbers("ledger") + self._numbers("pictures"), default=0)

    def _path(self, kind: str, number: int) -> Path:
        return self.folder / f"{kind}-{number:06d}.parquet"


def read_pictures(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Read the bytes of the wanted pictures of one file, each once; memory holds one row group."""
    with pq.ParquetFile(path, page_checksum_verification=True) as shard:
        for batch in shard.iter_batches(batch_size=_ROW_GROUP):
            for sha, data in zip(batch["sha256"].to_pylist(), batch["bytes"], strict=True):
                if sha in wanted:
                    yield sha, data.as_py()


def write_part(path: Path, table: pa.Table) -> None:
    """Write a part of the ledger, with the digests of its columns."""
    digested = with_digests(table)
    write_whole(path, lambda temporary: pq.write_table(digested, make_private(temporary), compression="zstd"))


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a part of the ledger, or some of its columns.

    Raises:
        DamagedFileError: it is not what was written.
    """
    try:
        with pq.named(path), pq.ParquetFile(path) as file:
            table = file.read(columns=None if columns is None else list(columns))
    except pa.ArrowException as error:  # whatever damaged bytes make of a reader
        raise DamagedFileError(f"{path}: damaged ({error}): {LEDGER_MEND}") from error
    expect_digests(path, table, f"{LEDGER_MEND} (python -m pipeline.check looks for more)")
    return table


def _rows_table(rows: Sequence[LedgerRow]) -> pa.Table:
    columns = {name: [getattr(row, name) for row in rows] for name in schemas.IMAGE_LEDGER.names}
    return pa.table(columns, schema=schemas.IMAGE_LEDGER)


def mark_placeholders(ledger: pa.Table, image_urls: pa.Table, items: int = 10, known: Collection[str] = ()) -> pa.Table:
    """Mark every placeholder in the ledger as `invalid/placeholder`.

    A placeholder is a picture whose sha256 is in `known`, or that at least `items` different asins show (0 turns that
    rule off). The store's own ledger keeps these rows as `ok`, so that changing the rule needs no new fetch.

    Args:
        ledger: schemas.IMAGE_LEDGER.
        image_urls: schemas.IMAGE_URLS.
        items: 0, or at least 2.
        known: sha256 of known placeholders.

    Raises:
        ValueError: `items` is 1 or negative, or one of `known` is not a sha256.
    """
    if items < 0 or items == 1:
        raise ValueError(f"placeholder items {items}: 0 (off) or a number of items above 1")
    for sha in known:
        if not _SHA256.fullmatch(sha):
            raise ValueError(f"known placeholder {sha!r}: write a sha256 as 64 lower-case hexadecimal digits")
    placeholders = pa.array(sorted(known), pa.string())
    if items:
        at = pc.index_in(keys(image_urls["url"]), value_set=keys(ledger["url"]).combine_chunks())
        shas = ledger["sha256"].take(at)
        behind = pa.table({"sha256": shas, "asin": image_urls["asin"]}).filter(pc.is_valid(shas))
        counted = behind.group_by("sha256").aggregate([("asin", "count_distinct")])
        common = counted.filter(pc.greater_equal(counted["asin_count_distinct"], items))["sha256"]
        placeholders = pa.concat_arrays([placeholders, *common.chunks])
    hit = pc.is_in(ledger["sha256"], value_set=placeholders)
    for name, value in (("status", "invalid"), ("reason", "placeholder"), ("sha256", None)):
        column = pc.if_else(hit, pa.scalar(value, pa.string()), ledger[name])
        ledger = ledger.set_column(ledger.schema.get_field_index(name), schemas.IMAGE_LEDGER.field(name), column)
    return ledger
