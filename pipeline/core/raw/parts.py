"""One raw file read: its rows, its rejects and its rows' keys as files in a folder, the file's *part*.

A part follows from the file alone (and from what was erased), so files are read in any order and on any machine, and a
part that is kept is taken again as long as its file says the same. What several parts say together is `ingest.py`'s.

Rows lie as Arrow's record batches, one a block of lines: a part is read once or twice, and Parquet would cost more to
write and to read than all the rest of this.
"""

import hashlib
import json
import os
import shutil
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.core import schemas
from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.durable import own, own_name, settle
from pipeline.core.erasure import Erasures
from pipeline.core.raw import repeats
from pipeline.core.raw.framing import Block, Meter, blocks
from pipeline.core.raw.parsing import Parsed, Parser, parsers_database
from pipeline.core.raw.vintages import detect
from pipeline.core.tables import StoredTable, written

VERSION = f"2, DuckDB {duckdb.__version__}"  # of what is read out of a file; reviews are named by DuckDB's hash
SNIFFED_LINES = 100  # looked at to tell the vintage
PARSERS = min(4, os.cpu_count() or 1)  # threads; inflating the file keeps up with no more
_ROWS, _REJECTS, _ABOUT = "rows.arrow", "rejects.parquet", "part.json"


def _keyed(schema: pa.Schema, without: str) -> pa.Schema:
    return schema.remove(schema.get_field_index(without)).append(pa.field("key", pa.uint64(), nullable=False))


# `key` is the hash of a review's line, or of a product's asin.
SCHEMAS = {"reviews": _keyed(schemas.REVIEWS, "review_id"), "products": _keyed(schemas.PRODUCTS, "garment_class")}


@dataclass(frozen=True)
class Reading:
    """How all files of a call are read."""

    kind: str  # "reviews" or "products"
    vintage: str  # one of VINTAGES, or "auto"
    folder: Path  # of the parts
    erased: Erasures
    kept: bool  # for the next call; else the folder goes when this one ends
    threads: int  # that parse; a worker beside others has one


@dataclass(frozen=True)
class Part:
    """What a file came to. Rows + rejects + erased = lines."""

    folder: Path
    file: str
    lines: int
    rows: int
    erased: int  # rows that were read and left out
    vintage: str | None  # None: it holds no lines
    counts: dict[str, int]
    known: bool = False  # it was kept from an earlier call

    def batches(self) -> Iterator[pa.Table]:
        """The rows in the order of their lines, a block at a time."""
        with pa.OSFile(str(self.folder / _ROWS)) as file, pa.ipc.open_file(file) as rows:
            for number in range(rows.num_record_batches):
                yield pa.Table.from_batches([rows.get_batch(number)])

    def products(self, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Some rows [n], ascending, of products, and some columns of them, read from where they lie."""
        starts = repeats.starts(self.folder)
        schema = pa.schema([SCHEMAS["products"].field(name) for name in columns])
        pieces = []
        for block in np.unique(np.searchsorted(starts, rows, side="right") - 1).tolist():
            low, high = np.searchsorted(rows, starts[block : block + 2])
            # The file is mapped anew for every block: what was touched of the last one leaves the memory with it.
            with pa.memory_map(str(self.folder / _ROWS)) as file, pa.ipc.open_file(file) as batches:
                there = batches.get_batch(block).select(columns)
                pieces.append(there.take(to_arrow(rows[low:high].astype(np.int64) - starts[block])))
        return pa.Table.from_batches(pieces, schema)

    @property
    def rejects(self) -> StoredTable:
        """REJECTS of the file."""
        return StoredTable(self.folder / _REJECTS, schemas.REJECTS)


def part_of(file: tuple[int, Path], reading: Reading, on_progress: Callable[[int, int], None] | None = None) -> Part:
    """The part of a file, read now unless it was kept.

    Args:
        file: its number among the files of the call, and its path.
        reading: how.
        on_progress: called with the lines and the bytes on disk that are read.

    Raises:
        BadInput: as `ingest.read_reviews`; then there is no part.
    """
    number, path = file
    folder = reading.folder / (_name(path, reading) if reading.kept else str(number))
    if (folder / _ABOUT).is_file():
        return replace(Part(folder, **json.loads((folder / _ABOUT).read_text())), known=True)
    begun = own_name(folder)  # of a worker that was given up and lives on, too; `keep_only` clears what is left
    begun.mkdir(parents=True)
    try:
        part = _read(path, begun, reading, on_progress)
        about = {name: value for name, value in vars(part).items() if name != "folder"}
        (begun / _ABOUT).write_text(json.dumps(about))
        if reading.kept:
            settle(begun)
        try:
            begun.replace(folder)
        except OSError:
            if not (folder / _ABOUT).is_file():  # else another worker was first, with the same part
                raise
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    return replace(part, folder=folder)


def _name(path: Path, reading: Reading) -> str:
    """The name of a file's part that is kept: a digest of its content and of all else that the part follows from."""
    with path.open("rb") as opened:
        content = hashlib.file_digest(opened, "sha256").hexdigest()
    said = [VERSION, reading.kind, reading.vintage, reading.erased.version, str(path), content]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


def keep_only(folder: Path, parts: list[Part]) -> None:
    """Remove the parts in `folder` that are not these: their file is gone, or says something else now."""
    wanted = {part.folder for part in parts}
    for other in folder.iterdir():
        if other not in wanted:
            shutil.rmtree(other)


def _read(path: Path, folder: Path, reading: Reading, on_progress: Callable[[int, int], None] | None) -> Part:
    """Write a file's rows, keys and rejects."""
    schema, erased = SCHEMAS[reading.kind], reading.erased
    keep = erased.from_reviews if reading.kind == "reviews" else erased.from_products
    counts: Counter[str] = Counter()
    lines = rows = gone = 0
    lined = _Lines(path, reading)
    with (
        pa.OSFile(str(own(folder / _ROWS)), "wb") as sink,
        pa.ipc.new_file(sink, schema) as batches,
        repeats.recorded(folder) as record,
        written(folder / _REJECTS, schemas.REJECTS, packed=("text",)) as reject,
    ):
        for found in lined.parsed():
            lines += found.lines
            counts.update(found.counts)
            kept = keep(found.rows) if erased else found.rows
            gone += len(found.rows) - len(kept)
            rows += len(kept)
            if len(kept):
                # One chunk a block: the rows of all blocks can then be counted off batch by batch.
                batches.write_table(kept.select(schema.names).cast(schema).combine_chunks())
                record(to_numpy(kept["key"]))
            if found.rejects:
                reject(erased.from_rejects(pa.Table.from_pylist(found.rejects, schema=schemas.REJECTS)))
            if on_progress is not None:
                on_progress(lines, lined.meter.bytes)
    return Part(folder, str(path), lines, rows, gone, lined.vintage, dict(counts))


class _Lines:
    """A file's lines a block at a time, in order; while the caller takes one, the next ones are parsed."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self._reading = path, reading
        self.vintage: str | None = None
        self.meter = Meter()
        self._of_thread, self._database = threading.local(), parsers_database()

    def parsed(self) -> Iterator[Parsed]:
        """Every block's rows and rejects."""
        waiting: deque[Future[Parsed]] = deque()
        threads = self._reading.threads
        with ThreadPoolExecutor(threads) as pool:
            for block in blocks(self.path, meter=self.meter):
                if self.vintage is None and not block.too_long:
                    self.vintage = self._told(block)
                waiting.append(pool.submit(self._parse, block, self.vintage or "2018"))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _parse(self, block: Block, vintage: str) -> Parsed:
        if not hasattr(self._of_thread, "parser"):
            self._of_thread.parser = Parser(self._reading.kind, self._database)
        found = self._of_thread.parser.parse(self.path, block, vintage)
        block.release()
        return found

    def _told(self, block: Block) -> str:
        """The vintage, by what was said or else by the first lines."""
        if self._reading.vintage != "auto":
            return self._reading.vintage
        pairs = zip(block.starts[:-1], block.starts[1:], strict=True)
        heads = (block.data[a:b].tobytes() for a, b in pairs if b - a < 1 << 20)
        lines = [text for _, text in zip(range(SNIFFED_LINES), filter(None, map(bytes.strip, heads)), strict=False)]
        return detect(self.path, [line.decode("utf-8", "replace") for line in lines], self._reading.kind)
