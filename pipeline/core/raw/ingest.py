"""Raw review and product files to typed tables; every line is accepted or listed in `rejects` with its place.

Each file is read by itself into a part (`parts.py`), by whoever the runner has; where keys stand more than once is
found by ranges of their space (`repeats.py`, `merging.py`); and the parts are put together in the order of the files
and their lines. So the tables are the same whoever read the files and however often before, and memory does not grow
with the rows, but by some 12 bytes for each that repeats another. Filtering belongs to `kcore.py`, classes to
`categories.py`.

`review_id` is 16 hex digits, DuckDB's 64-bit hash of the canonical line, which is the line as it stands in the file
without surrounding white space, followed by `-k` for its k-th repeat (k >= 1) within one file. It names the same
review for as long as DuckDB keeps its hash: the ingest's code version holds DuckDB's.
"""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core import schemas
from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.erasure import Erasures
from pipeline.core.raw.merging import (
    LEFT_OUT,
    URLS,
    blocks_with,
    changes_of,
    repeated_products,
    repeated_reviews,
    review_ids,
    united,
)
from pipeline.core.raw.parts import PARSERS, Part, Reading, keep_only, part_of
from pipeline.core.raw.repeats import AT_ONCE
from pipeline.core.raw.sources import BadInput
from pipeline.core.raw.vintages import VINTAGES
from pipeline.core.shards import HERE, Runner
from pipeline.core.tables import StoredTable, concatenated, written

PICTURES = "image_urls.list.element"  # the leaf of a review's URLs in its Parquet file
PRODUCTS_AT_ONCE = 50_000  # compared at once; where all are named twice, 5 kB each


@dataclass(frozen=True)
class Progress:
    """Lines read so far, and how far the files are read, in bytes as they lie on disk."""

    lines: int
    bytes: int
    bytes_total: int
    note: str


@dataclass(frozen=True, kw_only=True)
class Read:
    """What reading some files came to, besides their table; every line is in one of these numbers or rejects."""

    rejects_file: StoredTable  # REJECTS
    lines: int
    erased: int
    files: int
    files_known: int  # whose part was kept from an earlier call
    counts: dict[str, int] = field(default_factory=dict)
    vintages: dict[str, str] = field(default_factory=dict)  # file -> vintage

    @cached_property
    def rejects(self) -> pa.Table:
        """REJECTS, in memory."""
        return self.rejects_file.read()


@dataclass(frozen=True, kw_only=True)
class ReviewsRead(Read):
    """The reviews as a file; reviews + counts["repeated_across_files"] + erased + rejects = lines."""

    reviews_file: StoredTable  # REVIEWS

    @cached_property
    def reviews(self) -> pa.Table:
        """REVIEWS, in memory."""
        return self.reviews_file.read()

    @property
    def accepted(self) -> int:
        """Lines that held a review, those met again in a further file and those erased included."""
        return self.reviews_file.num_rows + self.counts["repeated_across_files"] + self.erased


@dataclass(frozen=True, kw_only=True)
class ProductsRead(Read):
    """The products as a file; products + counts["repeated_asin"] + erased + rejects = lines."""

    products_file: StoredTable  # PRODUCTS

    @cached_property
    def products(self) -> pa.Table:
        """PRODUCTS, in memory."""
        return self.products_file.read()

    @property
    def accepted(self) -> int:
        """Lines that held a product, repeats of an asin and those erased included."""
        return self.products_file.num_rows + self.counts["repeated_asin"] + self.erased


@dataclass(frozen=True)
class Surroundings:
    """Who reads, where, and what is not read.

    out: the folder for the tables (None: a temporary one that goes with the result). parts: where the files' parts are
    kept for the next call, which then reads the new files alone (None: nothing is kept). erased: what is left out.
    runner: who reads several files, and compares several ranges of keys.
    """

    out: Path | None = None
    parts: Path | None = None
    erased: Erasures = field(default_factory=Erasures.none)
    runner: Runner = HERE


def read_reviews(
    paths: Sequence[Path],
    vintage: str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    around: Surroundings | None = None,
) -> ReviewsRead:
    """All reviews of `paths`, in their order, each once however many files hold it.

    `vintage` overrides what looking at the file says: "auto", "2014", "2018" or "2023" (REFERENCE section 1).
    A missing or unusable rating or time is null; a file without lines beside others adds nothing.
    Raises BadInput for a file of unknown shape or whose compressed data is cut short, and where no file holds a line:
    then there are no tables.
    """
    around = around or Surroundings()
    folder, left_out = _Folder(around.out), 0
    with (
        _parts("reviews", paths, vintage, on_progress, around) as parts,
        written(folder.path / "reviews.parquet", schemas.REVIEWS, ("rating", "time"), (PICTURES,)) as add,
    ):
        for rows, at, changes in blocks_with(parts, changes_of(repeated_reviews, parts, AT_ONCE, around.runner)):
            repeat = np.zeros(len(rows), np.int64)
            repeat[at] = to_numpy(changes["repeat"])
            gone = repeat == LEFT_OUT
            reviews = rows.append_column("review_id", review_ids(to_numpy(rows["key"]), np.maximum(repeat, 0)))
            left_out += int(gone.sum())
            add(reviews.filter(to_arrow(~gone)) if gone.any() else reviews)
        concatenated([part.rejects for part in parts], folder.path / "reviews-rejects.parquet")
    return ReviewsRead(
        reviews_file=folder.table("reviews", schemas.REVIEWS),
        rejects_file=folder.table("reviews-rejects", schemas.REJECTS),
        **_told(parts, repeated_across_files=left_out),
    )


def read_products(
    paths: Sequence[Path],
    vintage: str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    around: Surroundings | None = None,
    classed: Callable[[pa.Table], pa.Table] = lambda products: products,
) -> ProductsRead:
    """All products of `paths`; lines under one asin are one product: the first line's fields, the union of the URLs.

    Arguments and errors as in `read_reviews`. `classed` is given PRODUCTS without garment classes, a block at a time,
    and gives them back with (`categories.map_products`); without it there are none.
    """
    around = around or Surroundings()
    folder, left_out = _Folder(around.out), 0
    schema = classed(schemas.PRODUCTS.empty_table()).schema
    packed = ("title", *(f"{name}.list.element" for name in URLS))
    with (
        _parts("products", paths, vintage, on_progress, around) as parts,
        written(folder.path / "products.parquet", schema, ("categories.list.element", "garment_class"), packed) as add,
    ):
        for rows, at, changes in blocks_with(
            parts, changes_of(repeated_products, parts, PRODUCTS_AT_ONCE, around.runner)
        ):
            products = rows.append_column("garment_class", pa.nulls(len(rows), pa.string()))
            products = products.select(schemas.PRODUCTS.names).cast(schemas.PRODUCTS)
            add(classed(united(products, at, changes)))
            left_out += changes[URLS[0]].null_count
        concatenated([part.rejects for part in parts], folder.path / "products-rejects.parquet")
    return ProductsRead(
        products_file=folder.table("products", schemas.PRODUCTS),
        rejects_file=folder.table("products-rejects", schemas.REJECTS),
        **_told(parts, repeated_asin=left_out),
    )


@contextlib.contextmanager
def _parts(
    kind: str,
    paths: Sequence[Path],
    vintage: str,
    on_progress: Callable[[Progress], None] | None,
    around: Surroundings,
) -> Generator[list[Part]]:
    """The parts of `paths`, in their order; those that nothing needs any more go at the end of the block."""
    if vintage not in ("auto", *VINTAGES):
        raise ValueError(f"vintage: {vintage!r} is not one of auto, {', '.join(VINTAGES)}")
    runner = around.runner if len(paths) > 1 else HERE
    with contextlib.ExitStack() as scratch:
        folder = (
            around.parts / kind
            if around.parts
            else Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix=f"{kind}-", dir=around.out)))
        )
        folder.mkdir(parents=True, exist_ok=True)
        # Products are parsed in Python mostly, where threads do not help.
        threads = PARSERS if kind == "reviews" else 1
        reading = Reading(kind, vintage, folder, around.erased, kept=around.parts is not None, threads=threads)
        parts = list(_read(runner, [Path(path) for path in paths], reading, on_progress))
        if not any(part.lines for part in parts):
            named = ", ".join(map(str, paths))
            raise BadInput(f"{named}: the file holds no lines; fetch it again or take it out of the input")
        yield parts
        if around.parts:
            keep_only(folder, parts)


def _read(
    runner: Runner, paths: Sequence[Path], reading: Reading, on_progress: Callable[[Progress], None] | None
) -> Iterator[Part]:
    """The files' parts, telling how far they are: by the line here, by the file where others read them."""
    sizes = [path.stat().st_size for path in paths]
    lines = read = 0

    def tell(more_lines: int, more_bytes: int, path: Path) -> None:
        if on_progress is not None:
            on_progress(Progress(lines + more_lines, read + more_bytes, sum(sizes), path.name))

    files = list(enumerate(paths))
    if runner.workers() == 1:
        parts = (part_of(file, reading, partial(tell, path=file[1])) for file in files)
    else:
        parts = runner.map(part_of, files, replace(reading, threads=1))
    for part, path, size in zip(parts, paths, sizes, strict=True):
        tell(part.lines, size, path)
        lines, read = lines + part.lines, read + size
        yield part


def _told(parts: Sequence[Part], **counted: int) -> dict[str, Any]:
    """The numbers of `Read`, over all parts."""
    counts = Counter(counted)
    for part in parts:
        counts.update(part.counts)
    return {
        "lines": sum(part.lines for part in parts),
        "erased": sum(part.erased for part in parts),
        "files": len(parts),
        "files_known": sum(part.known for part in parts),
        "counts": dict(counts),
        "vintages": {part.file: part.vintage for part in parts if part.vintage},
    }


class _Folder:
    """Where a reading's files lie: the caller's folder, or a temporary one that lives as long as its tables."""

    def __init__(self, out: Path | None) -> None:
        self._owner = None if out else tempfile.TemporaryDirectory(prefix="atelier-")
        self.path = out or Path(self._owner.name if self._owner else "")

    def table(self, name: str, schema: pa.Schema) -> StoredTable:
        return StoredTable(self.path / f"{name}.parquet", schema, owner=self._owner)
