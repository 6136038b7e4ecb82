"""Measure the tables of reviews, products and customers with DuckDB: counts, k-cores, and how their ids meet."""

import contextlib
import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from pipeline.core.dataset.extent import Extent, Sample
from pipeline.core.quoting import printable
from pipeline.inspection.facts import (
    KS,
    AttributeFacts,
    Core,
    CustomerFacts,
    Meeting,
    TableFacts,
)

COMMON = 5  # customers who share a value that is shown; a rarer one may be an address or a name
EXAMPLES = 3  # values of an attribute that are shown, the commonest first
ALIKE = 0.98  # from this share of ids that meet, no reason is looked for why the others do not
CLEARLY = 0.2  # of the ids that do not meet, those that must meet once a spoiling is undone for it to be the reason
MOSTLY = 0.5  # of the reviews, those with pictures from which on these may be the products' own
MEMORY = "1GB"  # DuckDB's limit; it spills to disk beyond that
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
