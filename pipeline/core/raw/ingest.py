"""Raw review and product files to typed tables; every line is accepted or listed in `rejects` with its place.

One way in for all lines: `framing.blocks` frames them, `parsing.py` reads a block at once, several blocks side by side,
and their rows go to a Parquet file in the order of the lines, so that memory grows with the files by 8 bytes a line
alone (`repeats.py`). Filtering belongs to `kcore.py`, classes to `categories.py`.

`review_id` is 16 hex digits, DuckDB's 64-bit hash of the canonical line, which is the line as it stands in the file
without surrounding white space, followed by `-k` for its k-th repeat (k >= 1) within one file. It names the same
review for as long as DuckDB keeps its hash: the ingest's code version holds DuckDB's.
"""

import os
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.core import schemas
from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.raw.framing import Block, Meter, blocks
from pipeline.core.raw.parsing import Parsed, Parser, parsers_database
from pipeline.core.raw.repeats import Repeats
from pipeline.core.raw.sources import BadInput
from pipeline.core.raw.vintages import VINTAGES, detect
from pipeline.core.tables import StoredTable, written

PICTURES = "image_urls.list.element"  # the leaf of a review's URLs in its Parquet file
SNIFFED_LINES = 100  # looked at to tell the vintage
PARSERS = min(4, os.cpu_count() or 1)  # threads; inflating the file keeps up with no more


@dataclass(frozen=True)
class Progress:
    """Lines read so far, and how far the files are read, in bytes as they lie on disk."""

    lines: int
    bytes: int
    bytes_total: int
    note: str


@dataclass(frozen=True)
class ReviewsRead:
    """The reviews and the rejects as files; reviews + counts["repeated_across_files"] + rejects = lines."""

    reviews_file: StoredTable  # REVIEWS
    rejects_file: StoredTable  # REJECTS
    lines: int
    counts: dict[str, int] = field(default_factory=dict)
    vintages: dict[str, str] = field(default_factory=dict)  # file -> vintage

    @cached_property
    def reviews(self) -> pa.Table:
        """REVIEWS, in memory."""
        return self.reviews_file.read()

    @cached_property
    def rejects(self) -> pa.Table:
        """REJECTS, in memory."""
        return self.rejects_file.read()

    @property
    def accepted(self) -> int:
        """Lines that held a review, those met again in a further file included."""
        return self.reviews_file.num_rows + self.counts["repeated_across_files"]


@dataclass(frozen=True)
class ProductsRead:
    """products (PRODUCTS, garment_class null), rejects; products + counts["repeated_asin"] + rejects = lines."""

    products: pa.Table
    rejects_file: StoredTable  # REJECTS
    lines: int
    counts: dict[str, int] = field(default_factory=dict)
    vintages: dict[str, str] = field(default_factory=dict)

    @cached_property
    def rejects(self) -> pa.Table:
        """REJECTS, in memory."""
        return self.rejects_file.read()

    @property
    def accepted(self) -> int:
        """Lines that held a product, repeats of an asin included."""
        return self.products.num_rows + self.counts["repeated_asin"]


def read_reviews(
    paths: Sequence[Path],
    vintage: str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    *,
    out: Path | None = None,
) -> ReviewsRead:
    """All reviews of `paths`, in their order, each once however many files hold it.

    `vintage` overrides what looking at the file says: "auto", "2014", "2018" or "2023" (REFERENCE section 1).
    A missing or unusable rating or time is null; a file without lines beside others adds nothing. `out` is the folder
    for the two files (None: a temporary one that goes with the result). Raises BadInput for a file of unknown shape or
    whose compressed data is cut short, and where no file holds a line: then nothing of any file is returned.
    """
    reading = _Reading(vintage, "reviews", on_progress)
    folder, repeats = _Folder(out), Repeats()
    with (
        written(folder.path / "reviews.parquet", schemas.REVIEWS, ("rating", "time"), (PICTURES,)) as add,
        written(folder.path / "reviews-rejects.parquet", schemas.REJECTS, packed=("text",)) as reject,
    ):
        for path in reading.in_turn(paths):
            repeats.next_file()
            for found in reading.file(path):
                hashes = to_numpy(found.rows["hash"])
                before, known = repeats.add(hashes)
                reviews = found.rows.append_column("review_id", _review_ids(hashes, before))
                reading.counts["repeated_across_files"] += int(known.sum())
                add(reviews.filter(to_arrow(~known)) if known.any() else reviews)
                if found.rejects:
                    reject(pa.Table.from_pylist(found.rejects, schema=schemas.REJECTS))
    return ReviewsRead(
        folder.table("reviews", schemas.REVIEWS),
        folder.table("reviews-rejects", schemas.REJECTS),
        reading.lines,
        dict(reading.counts),
        reading.vintages,
    )


def read_products(
    paths: Sequence[Path],
    vintage: str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    *,
    out: Path | None = None,
) -> ProductsRead:
    """All products of `paths`; lines under one asin are one product: the first line's fields, the union of the URLs.

    Arguments and errors as in `read_reviews`. `garment_class` is left null (`categories.map_products` fills it).
    """
    reading, folder = _Reading(vintage, "products", on_progress), _Folder(out)
    products: dict[str, dict] = {}
    with written(folder.path / "products-rejects.parquet", schemas.REJECTS, packed=("text",)) as reject:
        for path in reading.in_turn(paths):
            for found in reading.file(path):
                if found.rejects:
                    reject(pa.Table.from_pylist(found.rejects, schema=schemas.REJECTS))
                for row in found.rows.to_pylist():
                    first = products.setdefault(row["asin"], row)
                    if first is not row:
                        reading.counts["repeated_asin"] += 1
                        for name in ("vendor_urls", "vendor_urls_high"):
                            first[name] = list(dict.fromkeys(first[name] + row[name]))
    rows = [{"garment_class": None, **row} for row in products.values()]
    table = pa.Table.from_pylist(rows, schema=schemas.PRODUCTS)
    rejected = folder.table("products-rejects", schemas.REJECTS)
    return ProductsRead(table, rejected, reading.lines, dict(reading.counts), reading.vintages)


def _review_ids(hashes: np.ndarray, before: np.ndarray) -> pa.Array:
    """Ids [n] from the hashes of the lines and how often each stood in its file before."""
    digits = hashes.astype(">u8").tobytes().hex()  # big-endian bytes in hexadecimal, all rows in one call
    pieces, ends, cut = [], np.arange(0, len(digits) + 1, 16, dtype=np.int32), 0
    for row in np.flatnonzero(before):  # few
        suffix = f"-{before[row]}"
        pieces += [digits[cut : 16 * (row + 1)], suffix]
        ends[row + 1 :] += len(suffix)
        cut = 16 * (row + 1)
    content = "".join([*pieces, digits[cut:]]).encode()
    return pa.Array.from_buffers(pa.string(), len(hashes), [None, pa.py_buffer(ends), pa.py_buffer(content)])


class _Folder:
    """Where a reading's files lie: the caller's folder, or a temporary one that lives as long as its tables."""

    def __init__(self, out: Path | None) -> None:
        self._owner = None if out else tempfile.TemporaryDirectory(prefix="atelier-")
        self.path = out or Path(self._owner.name if self._owner else "")

    def table(self, name: str, schema: pa.Schema) -> StoredTable:
        return StoredTable(self.path / f"{name}.parquet", schema, owner=self._owner)


class _Reading:
    """One call's tally: lines, counts and vintages over all its files, and their blocks parsed side by side."""

    def __init__(self, vintage: str, kind: str, on_progress: Callable[[Progress], None] | None) -> None:
        if vintage not in ("auto", *VINTAGES):
            raise ValueError(f"vintage: {vintage!r} is not one of auto, {', '.join(VINTAGES)}")
        self.vintage, self.kind, self.on_progress = vintage, kind, on_progress
        self.lines = 0
        self.counts: Counter[str] = Counter(
            dict.fromkeys(("repeated_across_files",) if kind == "reviews" else ("repeated_asin",), 0)
        )
        self.vintages: dict[str, str] = {}
        self._bytes = self._total = 0  # on disk: of the files that are read, and of all
        self._of_thread, self._database = threading.local(), parsers_database()

    def in_turn(self, paths: Sequence[Path]) -> Iterator[Path]:
        """`paths`, and how far they are read."""
        sizes = [Path(path).stat().st_size for path in paths]
        self._total = sum(sizes)
        for path, size in zip(paths, sizes, strict=True):
            yield Path(path)
            self._bytes += size
        if not self.lines:
            named = ", ".join(map(str, paths))
            raise BadInput(f"{named}: the file holds no lines; fetch it again or take it out of the input")

    def file(self, path: Path) -> Iterator[Parsed]:
        """`path` a block at a time, in order; while the caller takes one, the next ones are parsed."""
        vintage, meter = None, Meter()
        waiting: deque[Future[Parsed]] = deque()
        with ThreadPoolExecutor(PARSERS) as pool:
            for block in blocks(path, meter=meter):
                if vintage is None and not block.too_long:
                    vintage = self._vintage(path, block)
                    self.vintages[str(path)] = vintage
                waiting.append(pool.submit(self._parse, path, block, vintage or "2018"))
                if len(waiting) > PARSERS:
                    yield self._counted(waiting.popleft().result(), path, meter)
            while waiting:
                yield self._counted(waiting.popleft().result(), path, meter)

    def _parse(self, path: Path, block: Block, vintage: str) -> Parsed:
        if not hasattr(self._of_thread, "parser"):
            self._of_thread.parser = Parser(self.kind, self._database)
        found = self._of_thread.parser.parse(path, block, vintage)
        block.release()
        return found

    def _counted(self, found: Parsed, path: Path, meter: Meter) -> Parsed:
        self.lines += found.lines
        self.counts.update(found.counts)
        if self.on_progress:
            self.on_progress(Progress(self.lines, self._bytes + meter.bytes, self._total, path.name))
        return found

    def _vintage(self, path: Path, block: Block) -> str:
        if self.vintage != "auto":
            return self.vintage
        pairs = zip(block.starts[:-1], block.starts[1:], strict=True)
        heads = (block.data[a:b].tobytes() for a, b in pairs if b - a < 1 << 20)
        lines = [text for _, text in zip(range(SNIFFED_LINES), filter(None, map(bytes.strip, heads)), strict=False)]
        return detect(path, [line.decode("utf-8", "replace") for line in lines], self.kind)
