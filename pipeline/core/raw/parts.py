"""Read one raw file into its *part*: a folder with the file's rows, its rejects and the keys of its rows.

A part depends only on its file (and on what was erased), so a kept part is reused as long as its file does not change.

Rows are stored as Arrow record batches, one per block of the file. A part is read only once or twice, and writing and
reading Parquet would take longer than everything else here.
"""

import hashlib
import json
import os
import shutil
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.core import schemas
from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.durable import make_private, sync_files, temporary_name
from pipeline.core.erasure import Erasures
from pipeline.core.raw import repeats
from pipeline.core.raw.copies import origin_name
from pipeline.core.raw.forms import JSON
from pipeline.core.raw.framing import Block, Meter, blocks
from pipeline.core.raw.named_pictures import named_pictures
from pipeline.core.raw.parsing import Parsed, Parser, parsers_database
from pipeline.core.raw.shop_tables import ShopTable, is_table, shop_form
from pipeline.core.raw.vintages import detect
from pipeline.core.shop.mapping import Shop
from pipeline.core.tables import StoredTable, written

VERSION = f"6, DuckDB {duckdb.__version__}"  # of the content of parts; DuckDB's hash names the reviews
SNIFFED_LINES = 100  # lines read to detect the vintage
PARSERS = min(4, os.cpu_count() or 1)  # threads; decompressing the file cannot feed more
_ROWS, _REJECTS, _ABOUT = "rows.arrow", "rejects.parquet", "part.json"


def _keyed(schema: pa.Schema, without: str = "") -> pa.Schema:
    kept = [field for field in schema if field.name != without]
    return pa.schema([*kept, pa.field("key", pa.uint64(), nullable=False)])


# `key` is the hash of a review's line, a product's asin or a customer's id.
SCHEMAS = {
    "reviews": _keyed(schemas.REVIEWS, "review_id"),
    "products": _keyed(schemas.PRODUCTS, "garment_class"),
    "customers": _keyed(schemas.CUSTOMERS),
}


@dataclass(frozen=True)
class Reading:
    """How to read all files of a call."""

    kind: str  # "reviews", "products" or "customers"
    vintage: str  # one of VINTAGES, or "auto"
    folder: Path  # of the parts
    erased: Erasures
    kept: bool  # whether parts are kept for the next call; otherwise the folder is deleted after this one
    threads: int  # parsing threads
    shop: Shop | None = None  # what the columns of tables mean, as far as it is not recognised


@dataclass(frozen=True)
class Part:
    """The result of reading a file; rows + rejects + erased = lines."""

    folder: Path
    file: str
    lines: int
    rows: int
    erased: int  # rows that were read and left out
    vintage: str | None  # or several, "2018, 2023", or the layout of a table; None: the file has no lines
    counts: dict[str, int]
    unread: dict[str, str] = field(default_factory=dict)  # of what could not be read, the first value (`unread.py`)
    known: bool = False  # whether the part was kept from an earlier call

    def batches(self) -> Iterator[pa.Table]:
        """Iterate over the rows in the order of their lines, a block at a time."""
        with pa.OSFile(str(self.folder / _ROWS)) as file, pa.ipc.open_file(file) as rows:
            for number in range(rows.num_record_batches):
                yield pa.Table.from_batches([rows.get_batch(number)])

    def taken(self, rows: np.ndarray, columns: Sequence[str], kind: str = "products") -> pa.Table:
        """Read some columns of the given rows [n], ascending, of a part of this kind."""
        starts = repeats.starts(self.folder)
        schema = pa.schema([SCHEMAS[kind].field(name) for name in columns])
        pieces = []
        for block in np.unique(np.searchsorted(starts, rows, side="right") - 1).tolist():
            low, high = np.searchsorted(rows, starts[block : block + 2])
            # Map the file anew for every block, so that the pages of the last one leave memory.
            with pa.memory_map(str(self.folder / _ROWS)) as file, pa.ipc.open_file(file) as batches:
                batch = batches.get_batch(block).select(columns)
                pieces.append(batch.take(to_arrow(rows[low:high].astype(np.int64) - starts[block])))
        return pa.Table.from_batches(pieces, schema)

    @property
    def rejects(self) -> StoredTable:
        """Return REJECTS of the file."""
        return StoredTable(self.folder / _REJECTS, schemas.REJECTS)


def part_of(number: int, path: Path, reading: Reading, on_progress: Callable[[int, int], None] | None = None) -> Part:
    """Return the part of a file; read the file unless its part was kept.

    Args:
        number: the file's number among the files of the call.
        path: the file.
        reading: how to read it.
        on_progress: called with the lines and the bytes on disk read so far.

    Raises:
        InputError: as in `ingest.read_reviews`; no part is written then.
    """
    file = _file(path, reading)
    folder = reading.folder / (_name(path, file, reading) if reading.kept else str(number))
    if (folder / _ABOUT).is_file():
        return replace(Part(folder, **json.loads((folder / _ABOUT).read_text())), known=True)
    temporary = temporary_name(folder)  # `keep_only` removes what a killed process left
    temporary.mkdir(parents=True)
    try:
        part = _read(path, file, temporary, reading, on_progress)
        about = {name: value for name, value in vars(part).items() if name != "folder"}
        (temporary / _ABOUT).write_text(json.dumps(about))
        if reading.kept:
            sync_files(temporary)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return replace(part, folder=folder)


def _file(path: Path, reading: Reading) -> "_Lines | ShopTable":
    """Choose the reader of a file by its form."""
    form = shop_form(path, reading.kind, reading.shop)
    is_lines = form.kind == JSON and reading.vintage != "auto" and (reading.shop is None or reading.shop.file is None)
    if not is_lines and is_table(path, reading.kind, reading.shop, form):
        return ShopTable(path, reading.kind, reading.shop, form, reading.threads)
    return _Lines(path, reading)


def _name(path: Path, file: "_Lines | ShopTable", reading: Reading) -> str:
    """Name a kept part by a digest of its file's content and of everything else that it depends on."""
    with path.open("rb") as opened:
        content = hashlib.file_digest(opened, "sha256").hexdigest()
    inputs = [VERSION, reading.kind, reading.vintage, reading.erased.version, str(path.absolute()), content]
    if isinstance(file, ShopTable):
        inputs += [file.state()]
    elif reading.shop is not None and reading.shop.file is not None:  # it says how Amazon's ids and times read
        inputs += [reading.shop.digest]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:32]


def keep_only(folder: Path, parts: list[Part]) -> None:
    """Remove all other parts in `folder`: their file is gone or has changed."""
    wanted = {part.folder for part in parts}
    for other in folder.iterdir():
        if other not in wanted:
            shutil.rmtree(other)


def _read(
    path: Path,
    file: "_Lines | ShopTable",
    folder: Path,
    reading: Reading,
    on_progress: Callable[[int, int], None] | None,
) -> Part:
    """Write a file's rows, keys and rejects."""
    schema, erased = SCHEMAS[reading.kind], reading.erased
    keep = {"reviews": erased.from_reviews, "products": erased.from_products, "customers": erased.from_customers}[
        reading.kind
    ]
    counts: Counter[str] = Counter()
    lines = rows = left_out = 0
    vintages: set[str] = set()
    unread: dict[str, str] = {}
    with (
        pa.OSFile(str(make_private(folder / _ROWS)), "wb") as sink,
        pa.ipc.new_file(sink, schema) as batches,
        repeats.recorded(folder) as record,
        written(folder / _REJECTS, schemas.REJECTS, packed=("text",)) as reject,
    ):
        for block in file.parsed():
            lines += block.lines
            counts.update(block.counts)
            unread = block.unread | unread
            vintages |= block.vintages
            kept = keep(block.rows) if erased else block.rows
            left_out += len(block.rows) - len(kept)
            rows += len(kept)
            if len(kept):
                # One chunk per block, so that each block becomes one record batch.
                batches.write_table(kept.select(schema.names).cast(schema).combine_chunks())
                record(to_numpy(kept["key"]))
            if block.rejects:
                rejects = pa.Table.from_pylist(block.rejects, schema=schemas.REJECTS)
                reject(erased.from_rejects(rejects, named_pictures) if erased else rejects)
            if on_progress is not None:
                on_progress(lines, file.meter.bytes)
    return Part(
        folder, origin_name(path), lines, rows, left_out, ", ".join(sorted(vintages)) or file.vintage, dict(counts),
        unread,
    )  # fmt: skip


class _Lines:
    """A file's lines, parsed block by block in order; the next blocks are parsed while the caller takes one."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self._reading = path, reading
        self.vintage: str | None = None
        self.meter = Meter()
        self._of_thread, self._database = threading.local(), parsers_database()

    def parsed(self) -> Iterator[Parsed]:
        """Yield the rows and rejects of every block."""
        waiting: deque[Future[Parsed]] = deque()
        threads = self._reading.threads
        with ThreadPoolExecutor(threads) as pool:
            for block in blocks(self.path, meter=self.meter):
                if self.vintage is None and not block.too_long:
                    self.vintage = self._vintage_of(block)
                waiting.append(pool.submit(self._parse, block, self.vintage or "2018"))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _parse(self, block: Block, vintage: str) -> Parsed:
        if not hasattr(self._of_thread, "parser"):
            self._of_thread.parser = Parser(self._reading.kind, self._database, self._reading.shop)
        parsed = self._of_thread.parser.parse(self.path, block, vintage, given=self._reading.vintage != "auto")
        block.release()
        return parsed

    def _vintage_of(self, block: Block) -> str:
        """Return the vintage that was given, or detect it from the first lines."""
        if self._reading.vintage != "auto":
            return self._reading.vintage
        pairs = zip(block.starts[:-1], block.starts[1:], strict=True)
        short = [pair for pair in pairs if pair[1] - pair[0] < 1 << 20]
        longest = (0, int(block.starts[1]))  # where every line is long, the first one
        heads = (block.data[a:b].tobytes() for a, b in short or [longest])
        lines = [text for _, text in zip(range(SNIFFED_LINES), filter(None, map(bytes.strip, heads)), strict=False)]
        return detect(self.path, [line.decode("utf-8", "replace") for line in lines], self._reading.kind)
