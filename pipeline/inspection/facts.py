"""Measure what a shop's files hold: rows, ids that meet, pictures, times, duplicates, the size of each k-core.

The files are read by ingest's own functions, so that the figures are those of a run. Judging them belongs in
`causes.py`, looking at pictures in `pictures.py`, the page in `page.py`.
"""

import contextlib
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.core import parquet as pq
from pipeline.core.dataset.extent import Extent, Sample
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

AnyRead = ReviewsRead | ProductsRead | CustomersRead
KS = (2, 3, 5, 10)
COMMON = 5  # customers who share a value that is shown; a rarer one may be an address or a name
EXAMPLES = 3  # values of an attribute that are shown, the commonest first
ALIKE = 0.98  # from this share of ids that meet, no reason is looked for why the others do not
CLEARLY = 0.2  # of the ids that do not meet, those that must meet once a spoiling is undone for it to be the reason
MOSTLY = 0.5  # of the reviews, those with pictures from which on these may be the products' own
MEMORY = "1GB"  # DuckDB's limit; it spills to disk beyond that
HEAD_BYTES = 1 << 20  # a longer first line is not shown
# Ways in which one of two files spoils its ids, and the SQL that undoes each. The first that makes most ids meet is
# named as the likely reason.
SPOILED = {
    "zeros_lost": "ltrim({}, '0')",
    "float": "regexp_replace({}, '\\.0+$', '')",
    "case": "lower({})",
    "blanks": "regexp_replace({}, '[\\s\\p{{Z}}\\p{{C}}]+', '', 'g')",
    "quotes": "trim({}, '\"''')",
    "several": "ltrim(lower(regexp_replace(regexp_replace({}, '[\\s\\p{{Z}}\\p{{C}}\"'']+', '', 'g'), '\\.0+$', '')),"
    " '0')",
}  # fmt: skip


@dataclass(frozen=True)
class FileFacts:
    """A file: what it was taken for, its size on disk, the names in its first row, and that row, escaped and cut."""

    kind: str  # reviews, products or customers
    path: str
    layout: str | None
    bytes: int
    rejected: int
    columns: tuple[str, ...]
    sample: str


@dataclass(frozen=True)
class LineCounts:
    """How the lines of a kind of file were read; `first_reject` is `file:line: its text` of the commonest reason."""

    lines: int
    accepted: int
    reasons: Mapping[str, int] = field(default_factory=dict)  # of rejected lines, the commonest first
    first_reject: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)  # repairs and dropped values (`urls_relative`, ...)
    unread: Mapping[str, str] = field(default_factory=dict)  # of what could not be read, the first value


@dataclass(frozen=True)
class Core:
    """The users with k distinct items, what they reviewed, and what of it has a picture's address."""

    users: int
    items: int
    interactions: int
    items_with_picture: int  # of the shop
    users_with_pictures: int  # with k items that have a picture, the shop's or a customer's
    users_by_customers: int  # with k items that a customer photographed


@dataclass(frozen=True)
class Meeting:
    """How reviewed ids and products' ids meet, with one of each where hardly any does."""

    share: float  # of the reviewed ids, those among the products
    reason: str = ""  # a key of SPOILED, "swapped", or "" if none is likely
    reviewed: str | None = None
    product: str | None = None


@dataclass(frozen=True)
class AttributeFacts:
    """How many rows have an attribute, and some of its values, escaped and cut."""

    rows: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class CustomerFacts:
    """What a table of customers holds."""

    customers: int
    users_met: int  # of the users of the reviews, those among the customers
    attributes: Mapping[str, AttributeFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class TableFacts:
    """What the tables of reviews and products hold."""

    reviews: int
    users: int
    items: int
    pairs: int
    first_time: int | None
    last_time: int | None
    without_time: int
    with_customer_picture: int  # reviews
    products: int
    with_title: int
    with_category: int
    with_picture: int
    cores: Mapping[int, Core]
    meeting: Meeting
    photographed_items: int = 0  # that several users have pictures of; counted only where most reviews have pictures
    items_of_one_picture: int = 0  # of these, those whose reviews all have the same pictures
    with_price: int = 0
    attributes: Mapping[str, AttributeFacts] = field(default_factory=dict)  # of products, the commonest first
    customers: CustomerFacts | None = None
    extent: Extent | None = None  # of the sample that a run would draw; None: it would take all users
    sampled: Core | None = None  # what the sample would leave, with the extent's k

    def core(self, k: int) -> Core:
        """Return the predicted core of this k, within the sample if one would be drawn with this k."""
        drawn = self.sampled is not None and self.extent is not None and self.extent.k == k
        return self.sampled if drawn and self.sampled is not None else self.cores[k]

    @property
    def predicted(self) -> dict[str, Core]:
        """Return every predicted core by k, and by its label that of the sample."""
        found = {str(k): core for k, core in self.cores.items()}
        return {**found, self.extent.label: self.sampled} if self.extent and self.sampled else found

    @property
    def duplicates(self) -> int:
        """Count the reviews that repeat a user's item."""
        return self.reviews - self.pairs


@dataclass(frozen=True)
class Facts:
    """Everything that is known of a shop's files; without reviews, `review_lines` is None."""

    files: tuple[FileFacts, ...]
    review_lines: LineCounts | None
    product_lines: LineCounts
    tables: TableFacts
    understood: tuple[str, ...] = ()  # what the columns of tables were taken for
    customer_lines: LineCounts | None = None

    @property
    def layout(self) -> dict[str, str]:
        """Name the layout of each file."""
        return {file.path: file.layout for file in self.files if file.layout}


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


def of_tables(
    reviews: Path | None,
    products: Path,
    ks: Sequence[int] = KS,
    customers: Path | None = None,
    draw: tuple[int, Sample] | None = None,
) -> TableFacts:
    """Measure the tables REVIEWS, PRODUCTS and CUSTOMERS in these Parquet files; `draw` as in `measure`, k among `ks`.

    Users and items are counted by 64-bit hashes of their ids.
    """
    with _database() as database:

        def row(query: str) -> Sequence[Any]:
            found = database.execute(query).fetchone()
            assert found is not None
            return found

        def make(name: str, query: str) -> None:
            database.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")

        _view(database, "products", products)
        if reviews is None:
            empty = "SELECT ''::VARCHAR reviewer_id, ''::VARCHAR asin, 0::BIGINT \"time\", []::VARCHAR[] image_urls"
            database.execute(f"CREATE VIEW reviews AS {empty} WHERE false")
        else:
            _view(database, "reviews", reviews)
        make(
            "pairs",
            'SELECT hash(reviewer_id) u, hash(asin) i, count(*) n, min("time") first, max("time") last,'
            ' count(*) FILTER (WHERE "time" IS NULL) untimed,'
            " count(*) FILTER (WHERE len(image_urls) > 0) photos FROM reviews GROUP BY ALL",
        )
        make(
            "known",
            "SELECT hash(asin) i, bool_or(len(vendor_urls) > 0 OR len(vendor_urls_high) > 0) vendor"
            " FROM products GROUP BY 1",
        )
        make(
            "items",
            "SELECT i, known.i IS NOT NULL AS met, coalesce(vendor, false) vendor, photos > 0 AS customer"
            " FROM (SELECT i, sum(photos) photos FROM pairs GROUP BY i) AS reviewed LEFT JOIN known USING (i)",
        )
        make(
            "counted",
            "SELECT u, count(*) n, count(*) FILTER (WHERE vendor OR customer) pictured,"
            " count(*) FILTER (WHERE customer) photographed FROM pairs JOIN items USING (i) GROUP BY u",
        )
        cores = _cores(row, ks)
        extent = sampled = None
        if draw is not None and draw[1].users < cores[draw[0]].users:
            k, sample = draw
            extent = Extent(k, users=sample.users, of_users=cores[k].users, seed=sample.seed)
            make("eligible", f"SELECT u FROM counted WHERE n >= {k:d}")
            make(
                "drawn",
                "SELECT u FROM (SELECT hash(reviewer_id) u, any_value(reviewer_id) id FROM reviews"
                " WHERE hash(reviewer_id) IN (FROM eligible) GROUP BY u)"
                f" ORDER BY {sample.rank('id')}, id LIMIT {sample.users:d}",
            )
            make("counted_of_all", "FROM counted")
            make("counted", "FROM counted_of_all WHERE u IN (FROM drawn)")
            sampled = _cores(row, [k])[k]
            make("counted", "FROM counted_of_all")
        users = row("SELECT count(*) FROM counted")[0]
        items, met = row("SELECT count(*), count(*) FILTER (WHERE met) FROM items")
        share = met / items if items else 1.0
        of_reviews = row("SELECT sum(n), count(*), min(first), max(last), sum(untimed), sum(photos) FROM pairs")
        of_products = row(
            "SELECT count(*), count(*) FILTER (WHERE title <> ''), count(*) FILTER (WHERE len(categories) > 0),"
            " count(*) FILTER (WHERE len(vendor_urls) > 0 OR len(vendor_urls_high) > 0) FROM products"
        )
        meeting = Meeting(share)
        if share < ALIKE and of_products[0]:
            make("ours", "SELECT DISTINCT asin FROM reviews")
            make("theirs", "SELECT asin FROM products")
            meeting = _meeting(row, share)
        total, photos = int(of_reviews[0] or 0), int(of_reviews[5] or 0)
        photographed = _photographed(row) if photos > MOSTLY * total else (0, 0)
        with_price = row("SELECT count(price) FROM products")[0]
        attributes = _attributes(database, "products")
        of_customers = None
        if customers is not None:
            _view(database, "customers", customers)
            among = "SELECT count(*) FROM (SELECT DISTINCT u FROM pairs) WHERE u IN (SELECT hash(reviewer_id)"
            count, users_met = row(f"SELECT (SELECT count(*) FROM customers), ({among} FROM customers))")
            of_customers = CustomerFacts(count, users_met, _attributes(database, "customers", COMMON))
    _, pairs, first, last, untimed, _ = of_reviews
    return TableFacts(
        total, users, items, pairs, first, last, int(untimed or 0), photos, *of_products, cores,
        meeting, photographed[0], photographed[1], with_price, attributes, of_customers, extent, sampled,
    )  # fmt: skip


def _attributes(database: duckdb.DuckDBPyConnection, table: str, least: int = 1) -> dict[str, AttributeFacts]:
    """Count the rows with each attribute, and choose its commonest values, which at least so many rows have."""
    entries = f"SELECT unnest(map_entries(attributes)) AS entry FROM {table}"
    counted = f"SELECT entry.key AS name, entry.value AS value, count(*) AS rows FROM ({entries}) GROUP BY ALL"
    found = database.execute(
        "SELECT name, sum(rows)::BIGINT AS total, list(value ORDER BY rows DESC, value) FILTER (rows >= $1) AS examples"
        f" FROM ({counted}) GROUP BY name ORDER BY total DESC, name",
        [least],
    ).fetchall()
    shown = {name: tuple(printable(v, 40) for v in (examples or ())[:EXAMPLES]) for name, _, examples in found}
    return {name: AttributeFacts(total, shown[name]) for name, total, _ in found}


def _cores(row: Callable[[str], Sequence[Any]], ks: Sequence[int]) -> dict[int, Core]:
    """Predict the core of each k in two passes."""
    of_users = ", ".join(
        f"count(*) FILTER ({counted} >= {k:d})" for k in ks for counted in ("n", "pictured", "photographed")
    )
    users = row(f"SELECT {of_users} FROM counted")
    of_items = ", ".join(f"count(*) FILTER (counted.n >= {k:d}) AS c{k:d}" for k in ks)
    by_item = (
        f"SELECT any_value(vendor) vendor, {of_items} FROM pairs JOIN counted USING (u) JOIN items USING (i) GROUP BY i"
    )
    sums = ", ".join(
        f"count(*) FILTER (c{k:d} > 0), coalesce(sum(c{k:d}), 0), count(*) FILTER (vendor AND c{k:d} > 0)" for k in ks
    )
    items = row(f"SELECT {sums} FROM ({by_item})")
    found = {}
    for number, k in enumerate(ks):
        with_items, pictured, photographed = users[3 * number : 3 * number + 3]
        left, interactions, with_picture = items[3 * number : 3 * number + 3]
        found[k] = Core(with_items, left, int(interactions), with_picture, pictured, photographed)
    return found


def _photographed(row: Callable[[str], Sequence[Any]]) -> Sequence[int]:
    """Count the items that several users have pictures of, and those of them that have the same for all."""
    by_item = "SELECT count(DISTINCT image_urls) d FROM reviews WHERE len(image_urls) > 0 GROUP BY asin"
    several = f"{by_item} HAVING count(DISTINCT reviewer_id) > 1"
    return row(f"SELECT count(*), count(*) FILTER (d = 1) FROM ({several})")


def _meeting(row: Callable[[str], Sequence[Any]], share: float) -> Meeting:
    """Find out what was done to the ids of one of the files, by undoing it to both."""
    best = Meeting(
        share,
        "",
        *row(
            "SELECT (SELECT min(asin) FROM ours WHERE asin NOT IN (FROM theirs)),"
            " (SELECT min(asin) FROM theirs WHERE asin NOT IN (FROM ours))"
        ),
    )
    for reason, sql in SPOILED.items():
        found = _meeting_by(row, sql.format("asin"), reason)
        more = found.share - best.share
        if found.share > max(2 * best.share, share + 0.01) or more > max(0.01, CLEARLY * (1 - best.share)):
            best = found
    swapped = row("SELECT count(*) FROM (SELECT DISTINCT reviewer_id a FROM reviews) WHERE a IN (FROM theirs)")
    if not best.reason and swapped[0] > row("SELECT count(*) FROM items WHERE met")[0]:
        best = Meeting(share, "swapped", best.reviewed, best.product)
    shown = [None if one is None else printable(one, 60) for one in (best.reviewed, best.product)]
    return Meeting(share, best.reason, *shown)


def _meeting_by(row: Callable[[str], Sequence[Any]], sql: str, reason: str) -> Meeting:
    ours = f"SELECT {sql} AS plain, min(asin) AS asin FROM ours GROUP BY 1"
    theirs = f"SELECT {sql} AS plain, min(asin) AS asin FROM theirs GROUP BY 1"
    total, met, at = row(
        f"SELECT count(*), count(t.asin), min(CASE WHEN t.asin <> o.asin THEN {{'o': o.asin, 't': t.asin}} END)"
        f" FROM ({ours}) AS o LEFT JOIN ({theirs}) AS t USING (plain)"
    )
    return Meeting(met / max(1, total), reason, *((at["o"], at["t"]) if at else (None, None)))


def _view(database: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
    quoted = str(path).replace("'", "''")
    database.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{quoted}')")


@contextlib.contextmanager
def _database() -> Generator[duckdb.DuckDBPyConnection]:
    """Open a database that spills to a folder of its own and installs no extensions."""
    with tempfile.TemporaryDirectory(prefix="atelier-inspect-") as spill:
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": spill,
            "memory_limit": MEMORY,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
        }
        with duckdb.connect(config=config) as database:
            database.execute("SET enable_progress_bar = false")
            yield database
