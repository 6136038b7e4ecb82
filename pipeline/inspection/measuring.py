"""Read a shop's files by ingest's own functions, so that the figures are those of a run, and describe each file."""

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core import parquet as pq
from pipeline.core.dataset.extent import Sample
from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw.copies import origin_name
from pipeline.core.raw.forms import PARQUET, TABLES, Form
from pipeline.core.raw.framing import blocks
from pipeline.core.raw.ingest import (
    CustomersRead,
    IngestProgress,
    ProductsRead,
    ReadContext,
    ReviewsRead,
    read_customers,
    read_products,
    read_reviews,
)
from pipeline.core.raw.shop_tables import described, shop_form
from pipeline.core.raw.tables import TableFile
from pipeline.core.raw.vintages import parsed
from pipeline.core.shop.layouts import KNOWN
from pipeline.core.shop.mapping import Shop
from pipeline.inspection.facts import (
    KS,
    Facts,
    FileFacts,
    LineCounts,
)
from pipeline.inspection.table_facts import of_tables

AnyRead = ReviewsRead | ProductsRead | CustomersRead
HEAD_BYTES = 1 << 20  # a longer first line is not shown


def measure(
    reviews: Sequence[Path],
    products: Sequence[Path],
    read_context: ReadContext | None = None,
    vintage: str = "auto",
    ks: Sequence[int] = KS,
    shop: Shop | None = None,
    look: Callable[[Path], None] | None = None,
    on_progress: Callable[[IngestProgress], None] | None = None,
    customers: Sequence[Path] = (),
    draw: tuple[int, Sample] | None = None,
) -> Facts:
    """Read the files as ingest does, into a temporary folder, and measure them.

    Args:
        reviews: the review files; may be empty.
        products: the files of product metadata.
        read_context: where parts are kept and what was erased. Its `out` gets the tables, which are deleted again.
        vintage: as in `read_reviews`.
        ks: the k of the predicted cores.
        shop: what the columns of tables mean (`shop_tables.recognised`).
        look: called with the file of products while it exists.
        on_progress: called while files are read.
        customers: the files of customers; may be empty.
        draw: the sample that a run would draw from the users with so many items.

    Raises:
        InputError: as `read_reviews` and `read_products` do.
    """
    given = read_context or ReadContext()
    with tempfile.TemporaryDirectory(prefix="inspect-", dir=given.out) as folder:
        context = ReadContext(Path(folder), given.parts, given.erased)
        of_products = read_products(products, vintage, on_progress, context, shop=shop)
        of_reviews = read_reviews(reviews, vintage, on_progress, context, shop=shop) if reviews else None
        of_customers = read_customers(customers, on_progress, context, shop=shop) if customers else None
        reads: dict[str, AnyRead] = {"products": of_products}
        reads |= {"reviews": of_reviews} if of_reviews else {}
        reads |= {"customers": of_customers} if of_customers else {}
        tables = of_tables(
            of_reviews.reviews_file.path if of_reviews else None,
            of_products.products_file.path,
            ks,
            of_customers.customers_file.path if of_customers else None,
            draw=draw,
        )
        if look is not None:
            look(of_products.products_file.path)
        rejects = {kind: _columns(read.rejects_file.path) for kind, read in reads.items()}
        counted = {kind: found["file"].value_counts().to_pylist() for kind, found in rejects.items()}
        by_file = {(kind, one["values"]): one["counts"] for kind, many in counted.items() for one in many}
        named = [("reviews", path) for path in reviews] + [("products", path) for path in products]
        named += [("customers", path) for path in customers]
        files = [
            _file(kind, path, reads[kind].vintages, by_file.get((kind, origin_name(path)), 0), shop)
            for kind, path in named
        ]
        lines = {kind: _lines(read, rejects[kind]) for kind, read in reads.items()}
    understood = tuple(described(shop).splitlines()) if shop else ()
    return Facts(tuple(files), lines.get("reviews"), lines["products"], tables, understood, lines.get("customers"))


def _columns(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:  # `StoredTable.read` would import pandas
        return file.read(["file", "line", "reason", "text"])


def _lines(read: AnyRead, rejects: pa.Table) -> LineCounts:
    reasons, first = rejected(rejects)
    return LineCounts(read.lines, read.accepted, reasons, first, read.counts, read.unread)


def rejected(rejects: pa.Table) -> tuple[dict[str, int], str]:
    """Count REJECTS by reason, the commonest first, and quote the first line of the commonest reason."""
    counted = {one["values"]: one["counts"] for one in rejects["reason"].value_counts().to_pylist()}
    reasons = dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))
    if not reasons:
        return {}, ""
    place = rejects["reason"].index(next(iter(reasons))).as_py()
    row = rejects.slice(place, 1).to_pylist()[0]
    text = f": {printable(row['text'], 120)}" if row["text"] else ""
    return reasons, f"{row['file']}:{row['line']}{text}"


def _file(kind: str, path: Path, layouts: Mapping[str, str], bad: int, shop: Shop | None) -> FileFacts:
    form = shop_form(path, kind, shop)
    if form.kind in TABLES:
        columns, sample = _head_of_table(path, form, kind, shop or Shop())
    else:
        sample = _head(path)
        value = parsed(sample, literal=True)
        columns = list(value) if isinstance(value, dict) else []
    shown = tuple(printable(name, 60) for name in columns)
    sample = "" if kind == "customers" else sample  # it is of a person
    name = origin_name(path)
    return FileFacts(kind, name, layouts.get(name), path.stat().st_size, bad, shown, printable(sample))


def _head_of_table(path: Path, form: Form, kind: str, shop: Shop) -> tuple[Sequence[str], str]:
    """Read the names of a table's columns and its first row; the row of Arrow files is not shown."""
    given = {"reviews": shop.interactions, "products": shop.products, "customers": shop.customers}[kind]
    table = TableFile(path, form, given, KNOWN)
    row: dict[str, Any] = {}
    if table.dialect and table.dialect.sample:
        row = dict(zip(table.names, table.dialect.sample[0], strict=False))
    elif form.kind == PARQUET:
        with pq.ParquetFile(path) as file:
            batch = next(file.iter_batches(batch_size=1), None)
            row = batch.to_pylist()[0] if batch is not None and batch.num_rows else {}
            row = {name: v.decode("utf-8", "replace") if isinstance(v, bytes) else v for name, v in row.items()}
    return table.names, str(row) if row else ""


def _head(path: Path) -> str:
    """Read a file's first line that is not blank; empty if it has none that can be shown."""
    with contextlib.suppress(InputError, OSError):
        for block in blocks(path):
            for start, end in zip(block.starts[:-1], block.starts[1:], strict=True):
                line = block.data[start : min(end, start + HEAD_BYTES)].tobytes().strip()
                if line:
                    return line.decode("utf-8", "replace")
    return ""
