"""Read raw reviews, products and customers into typed tables; every line is accepted, or in `rejects` with its place.

Each file is read independently into a part (`parts.py`). Repeated keys are then found one range of keys at a time
(`repeats.py`, `merging.py`), and the parts are concatenated in the order of files and lines. So the tables do not
depend on whether a part was kept from an earlier run. Memory does not grow with the rows, except by some 12 bytes for
each row that repeats another.

`review_id` is 16 hex digits, DuckDB's 64-bit hash of the canonical line (the line in the file without surrounding white
space), followed by `-k` for its k-th repeat (k >= 1) within one file. It names the same review as long as DuckDB keeps
its hash function, so the code version of the ingest includes DuckDB's version.
"""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core import schemas
from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.erasure import Erasures
from pipeline.core.errors import InputError
from pipeline.core.raw.copies import origin_name
from pipeline.core.raw.merging import (
    LEFT_OUT,
    URLS,
    blocks_with,
    changes_of,
    repeated_customers,
    repeated_products,
    repeated_reviews,
    review_ids,
    united,
)
from pipeline.core.raw.parts import PARSERS, Part, Reading, keep_only, part_of
from pipeline.core.raw.repeats import AT_ONCE
from pipeline.core.raw.shop_tables import Variants
from pipeline.core.raw.vintages import VINTAGES
from pipeline.core.shop.mapping import Shop
from pipeline.core.tables import StoredTable, concatenated, written

PICTURES = "image_urls.list.element"  # the leaf of a review's URLs in its Parquet file
ATTRIBUTES = ("attributes.key_value.key", "attributes.key_value.value")
PRODUCTS_AT_ONCE = 50_000  # products compared at once; 5 kB each if all are repeated


@dataclass(frozen=True)
class IngestProgress:
    """How far the files are read."""

    lines: int
    bytes: int  # on disk, i.e. compressed
    bytes_total: int
    note: str


@dataclass(frozen=True, kw_only=True)
class Read:
    """The result of reading files, except for their table; every line is counted here or is in the rejects."""

    rejects_file: StoredTable  # REJECTS
    lines: int
    erased: int
    files: int
    files_known: int  # files whose part was kept from an earlier call
    counts: dict[str, int] = field(default_factory=dict)
    vintages: dict[str, str] = field(default_factory=dict)  # file -> vintage
    unread: dict[str, str] = field(default_factory=dict)  # of what could not be read, the first value (`unread.py`)

    @cached_property
    def rejects(self) -> pa.Table:
        """Read REJECTS into memory."""
        return self.rejects_file.read()


@dataclass(frozen=True, kw_only=True)
class ReviewsRead(Read):
    """Reviews in a file; reviews + counts["repeated_across_files"] + erased + rejects = lines."""

    reviews_file: StoredTable  # REVIEWS

    @cached_property
    def reviews(self) -> pa.Table:
        """Read REVIEWS into memory."""
        return self.reviews_file.read()

    @property
    def accepted(self) -> int:
        """Count the lines with a review, including repeats in other files and erased ones."""
        return self.reviews_file.num_rows + self.counts["repeated_across_files"] + self.erased


@dataclass(frozen=True, kw_only=True)
class ProductsRead(Read):
    """Products in a file; products + counts["repeated_asin"] + erased + rejects = lines."""

    products_file: StoredTable  # PRODUCTS

    @cached_property
    def products(self) -> pa.Table:
        """Read PRODUCTS into memory."""
        return self.products_file.read()

    @property
    def accepted(self) -> int:
        """Count the lines with a product, including repeats of an asin and erased ones."""
        return self.products_file.num_rows + self.counts["repeated_asin"] + self.erased


@dataclass(frozen=True, kw_only=True)
class CustomersRead(Read):
    """Customers in a file; customers + counts["repeated_customer"] + erased + rejects = rows."""

    customers_file: StoredTable  # CUSTOMERS

    @cached_property
    def customers(self) -> pa.Table:
        """Read CUSTOMERS into memory."""
        return self.customers_file.read()

    @property
    def accepted(self) -> int:
        """Count the rows with a customer, including repeats of an id and erased ones."""
        return self.customers_file.num_rows + self.counts["repeated_customer"] + self.erased


@dataclass(frozen=True)
class ReadContext:
    """Where and how to read files, independently of what is in them."""

    out: Path | None = None  # folder of the tables; None: a temporary one, deleted together with the result
    parts: Path | None = None  # folder that keeps the parts, so that the next call reads only new files; None: no
    erased: Erasures = field(default_factory=Erasures.none)  # what to leave out


def read_reviews(
    paths: Sequence[Path],
    vintage: str = "auto",
    on_progress: Callable[[IngestProgress], None] | None = None,
    read_context: ReadContext | None = None,
    *,
    shop: Shop | None = None,
) -> ReviewsRead:
    """Read the reviews of `paths`, in order, each once even if several files have it.

    A missing or unusable rating or time is null. A file without lines adds nothing if other files have some.

    Args:
        paths: the files.
        vintage: "2014", "2018" or "2023" (REFERENCE section 1), or "auto" to detect it from each file.
        on_progress: called while files are read.
        read_context: where and how to read.
        shop: what the columns of tables mean, and by which products a bought variant becomes an item; where it says
            nothing, the columns are recognised. A table's vintage is the name of its layout.

    Raises:
        InputError: a file has an unknown shape, its compressed data is cut short, or no file has a line. No tables are
            written then.
    """
    read_context = read_context or ReadContext()
    folder, left_out = _Folder(read_context.out), 0
    variants, unmatched, erased = Variants.of(shop), 0, 0
    with (
        _parts("reviews", paths, vintage, on_progress, read_context, shop) as parts,
        written(folder.path / "reviews.parquet", schemas.REVIEWS, ("rating", "time"), (PICTURES,)) as add,
    ):
        all_changes = changes_of(repeated_reviews, parts, AT_ONCE)
        for rows, at, changes in blocks_with(parts, all_changes):
            repeat = np.zeros(len(rows), np.int64)
            repeat[at] = to_numpy(changes["repeat"])
            drop = repeat == LEFT_OUT
            reviews = rows.append_column("review_id", review_ids(to_numpy(rows["key"]), np.maximum(repeat, 0)))
            if variants is not None:
                items, unknown = variants.items_of(reviews["asin"])
                reviews = reviews.set_column(reviews.schema.get_field_index("asin"), "asin", items)
                unmatched += unknown
            left_out += int(drop.sum())
            reviews = reviews.filter(to_arrow(~drop)) if drop.any() else reviews
            if variants is not None and read_context.erased:  # an erased item is known only now
                kept = read_context.erased.from_reviews(reviews)
                erased, reviews = erased + len(reviews) - len(kept), kept
            add(reviews)
        concatenated([part.rejects for part in parts], folder.path / "reviews-rejects.parquet")
    totals = _totals(parts, repeated_across_files=left_out, **({"variants_unknown": unmatched} if unmatched else {}))
    totals["erased"] += erased
    return ReviewsRead(
        reviews_file=folder.table("reviews", schemas.REVIEWS),
        rejects_file=folder.table("reviews-rejects", schemas.REJECTS),
        **totals,
    )


def read_products(
    paths: Sequence[Path],
    vintage: str = "auto",
    on_progress: Callable[[IngestProgress], None] | None = None,
    read_context: ReadContext | None = None,
    classed: Callable[[pa.Table], pa.Table] = lambda products: products,
    *,
    shop: Shop | None = None,
) -> ProductsRead:
    """Read the products of `paths`. Lines with the same asin become one product.

    Such a product has the fields of its first line, the URLs of all its lines, and the price and each attribute of the
    first line that has one. Arguments and errors are those of
    `read_reviews`. `classed` fills in the garment classes of a block of PRODUCTS (`categories.map_products`); by
    default there are none.
    """
    read_context = read_context or ReadContext()
    folder, left_out = _Folder(read_context.out), 0
    schema = classed(schemas.PRODUCTS.empty_table()).schema
    packed = ("title", *(f"{name}.list.element" for name in URLS))
    repeating = ("categories.list.element", "garment_class", "price", *ATTRIBUTES)
    with (
        _parts("products", paths, vintage, on_progress, read_context, shop) as parts,
        written(folder.path / "products.parquet", schema, repeating, packed) as add,
    ):
        all_changes = changes_of(repeated_products, parts, PRODUCTS_AT_ONCE)
        for rows, at, changes in blocks_with(parts, all_changes):
            products = rows.append_column("garment_class", pa.nulls(len(rows), pa.string()))
            products = products.select(schemas.PRODUCTS.names).cast(schemas.PRODUCTS)
            add(classed(united(products, at, changes)))
            left_out += changes[URLS[0]].null_count
        concatenated([part.rejects for part in parts], folder.path / "products-rejects.parquet")
    return ProductsRead(
        products_file=folder.table("products", schemas.PRODUCTS),
        rejects_file=folder.table("products-rejects", schemas.REJECTS),
        **_totals(parts, repeated_asin=left_out),
    )


def read_customers(
    paths: Sequence[Path],
    on_progress: Callable[[IngestProgress], None] | None = None,
    read_context: ReadContext | None = None,
    *,
    shop: Shop | None = None,
) -> CustomersRead:
    """Read the customers of `paths`, each once, with each attribute of the first row that has one.

    Arguments and errors are those of `read_reviews`; JSON lines are read as a table with a column for each key.
    """
    read_context = read_context or ReadContext()
    folder, left_out = _Folder(read_context.out), 0
    with (
        _parts("customers", paths, "auto", on_progress, read_context, shop) as parts,
        written(folder.path / "customers.parquet", schemas.CUSTOMERS, ATTRIBUTES) as add,
    ):
        all_changes = changes_of(repeated_customers, parts, PRODUCTS_AT_ONCE)
        for rows, at, changes in blocks_with(parts, all_changes):
            customers = rows.select(schemas.CUSTOMERS.names).cast(schemas.CUSTOMERS)
            add(united(customers, at, changes))
            left_out += changes["attributes"].null_count
        concatenated([part.rejects for part in parts], folder.path / "customers-rejects.parquet")
    return CustomersRead(
        customers_file=folder.table("customers", schemas.CUSTOMERS),
        rejects_file=folder.table("customers-rejects", schemas.REJECTS),
        **_totals(parts, repeated_customer=left_out),
    )


@contextlib.contextmanager
def _parts(
    kind: str,
    paths: Sequence[Path],
    vintage: str,
    on_progress: Callable[[IngestProgress], None] | None,
    read_context: ReadContext,
    shop: Shop | None,
) -> Generator[list[Part]]:
    """Read the parts of `paths`, in order; at the end of the block, delete parts that are no longer needed."""
    if vintage not in ("auto", *VINTAGES):
        raise ValueError(f"vintage: {vintage!r} is not one of auto, {', '.join(VINTAGES)}")
    with contextlib.ExitStack() as scratch:
        folder = (
            read_context.parts / kind
            if read_context.parts
            else Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix=f"{kind}-", dir=read_context.out)))
        )
        folder.mkdir(parents=True, exist_ok=True)
        # Products are parsed mostly in Python, where threads do not help.
        threads = PARSERS if kind == "reviews" else 1
        kept = read_context.parts is not None
        reading = Reading(kind, vintage, folder, read_context.erased, kept=kept, threads=threads, shop=shop)
        parts = list(_read([Path(path) for path in paths], reading, on_progress))
        if not any(part.lines for part in parts):
            names = ", ".join(map(origin_name, map(Path, paths)))
            raise InputError(f"{names}: the file holds no lines; fetch it again or take it out of the input")
        yield parts
        if read_context.parts:
            keep_only(folder, parts)


def _read(
    paths: Sequence[Path], reading: Reading, on_progress: Callable[[IngestProgress], None] | None
) -> Iterator[Part]:
    """Read the files' parts one after the other, reporting progress by lines."""
    sizes = [path.stat().st_size for path in paths]
    lines = read = 0

    def report(more_lines: int, more_bytes: int) -> None:
        if on_progress is not None:
            on_progress(
                IngestProgress(lines + more_lines, read + more_bytes, sum(sizes), origin_name(path).rpartition("/")[2])
            )

    for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        part = part_of(number, path, reading, report)
        report(part.lines, size)
        lines, read = lines + part.lines, read + size
        yield part


def _totals(parts: Sequence[Part], **counted: int) -> dict[str, Any]:
    """Sum up the numbers of `Read` over all parts."""
    counts = Counter(counted)
    for part in parts:
        counts.update(part.counts)
    return {
        "lines": sum(part.lines for part in parts),
        "erased": sum(part.erased for part in parts),
        "files": len(parts),
        "files_known": sum(part.known for part in parts),
        "counts": dict(counts),
        "unread": {what: text for part in reversed(parts) for what, text in part.unread.items()},
        "vintages": {part.file: part.vintage for part in parts if part.vintage},
    }


class _Folder:
    """The folder of the written tables: the caller's, or a temporary one that lives as long as its tables."""

    def __init__(self, out: Path | None) -> None:
        self._owner = None if out else tempfile.TemporaryDirectory(prefix="atelier-")
        self.path = out or Path(self._owner.name if self._owner else "")

    def table(self, name: str, schema: pa.Schema) -> StoredTable:
        return StoredTable(self.path / f"{name}.parquet", schema, owner=self._owner)
