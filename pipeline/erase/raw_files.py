"""Find raw files outside the home that hold an erased person or product. They are reported, and not changed."""

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc

from pipeline.core import parquet as pq
from pipeline.core.errors import InputError
from pipeline.core.raw import database_urls
from pipeline.core.raw.ingest import ReadContext, read_customers, read_products, read_reviews
from pipeline.core.raw.shop_tables import is_table, recognised, shop_form
from pipeline.core.raw.sources import named, shown
from pipeline.core.shop.mapping import Shop
from pipeline.erase import traces
from pipeline.home import environment

COLUMNS = {"reviewer": "reviewer_id", "asin": "asin"}


def given_shop() -> Shop | None:
    """Read the shop.toml that the environment names; None if it is wrong or gone."""
    with contextlib.suppress(InputError):
        return Shop.of(Path(environment.shop()).expanduser()) if environment.shop() else None
    return None


def local_inputs() -> dict[str, list[Path]]:
    """List the existing local raw files that the environment names, by what is in them."""
    specs = {"reviews": environment.reviews(), "products": environment.products(), "customers": environment.customers()}
    found: dict[str, list[Path]] = {}
    for of, spec in specs.items():
        with contextlib.suppress(InputError):
            entries = named(spec) if spec else []
            found[of] = [file for entry in entries if (file := database_urls.local_file(entry)) is not None]
    return found


def databases() -> Iterator[str]:
    """Name the tables on servers that the environment names."""
    for spec in filter(None, (environment.reviews(), environment.products(), environment.customers())):
        with contextlib.suppress(InputError):
            found = (entry for entry in named(spec) if isinstance(entry, str))
            yield from (shown(url) for url in found if database_urls.kind_of(url) == database_urls.POSTGRES)


def outside(home: Path, kind: str, name: str) -> list[Path]:
    """List the local raw files outside the home that hold the name.

    A table is read as ingest reads it, so that a number is found as an id and nowhere else. In a SQLite file, any cell
    may be the id. Any other file is searched.
    """
    files = {
        of: [path for path in paths if not path.resolve().is_relative_to(home)] for of, paths in local_inputs().items()
    }
    shop = given_shop()
    with contextlib.suppress(InputError):
        shop = recognised(files.get("reviews", []), files.get("products", []), shop, files.get("customers", []))
    found = {
        path.resolve(): None
        for of, paths in files.items()
        for path in paths
        if traces.holds(path, [name]) or _has_cell(path, name) or _has_row(path, of, shop, kind, name)
    }
    return list(found)


def _has_cell(path: Path, name: str) -> bool:
    """Return whether a cell of a SQLite file is the name; False for other files."""
    if not database_urls.is_sqlite_file(path):
        return False
    with contextlib.suppress(sqlite3.Error), contextlib.closing(
        sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    ) as database:  # fmt: skip
        database.text_factory = lambda text: text.decode("utf-8", "replace")
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            quoted = '"' + table.replace('"', '""') + '"'
            if any(name in map(str, row) for row in database.execute(f"SELECT * FROM {quoted}")):
                return True
    return False


def _has_row(path: Path, of: str, shop: Shop | None, kind: str, name: str) -> bool:
    """Return whether a table has a row of the person or the product; False for other files."""
    column = COLUMNS.get(kind)
    with contextlib.suppress(InputError), tempfile.TemporaryDirectory(prefix="atelier-erase-") as folder:
        if column is None or not is_table(path, of, shop, shop_form(path, of, shop)):
            return False
        context = ReadContext(Path(folder))
        if of == "reviews":
            rows = read_reviews([path], read_context=context, shop=shop).reviews_file
        elif of == "products":
            rows = read_products([path], read_context=context, shop=shop).products_file
        else:
            rows = read_customers([path], read_context=context, shop=shop).customers_file
        with pq.ParquetFile(rows.path) as table:
            if column not in table.schema_arrow.names:
                return False
            batches = table.iter_batches(columns=[column])
            return any(pc.any(pc.equal(batch[column], name)).as_py() for batch in batches)
    return False
