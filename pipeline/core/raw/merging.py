"""Merge rows with equal keys across all files: repeated reviews, and several lines of one product.

`changes_of` lists the rows that must change, one range of keys at a time. `blocks_with`, `review_ids` and `united` then
apply these changes block by block.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from pipeline.core import schemas
from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.raw.parts import Part
from pipeline.core.raw.repeats import Repeated, ranges, repeated

_PLACE = [pa.field("file", pa.int32(), nullable=False), pa.field("row", pa.uint32(), nullable=False)]
LEFT_OUT = -1
# repeat: k for the k-th repeat of a line within its file (k >= 1), or LEFT_OUT if an earlier file has the line too.
REVIEW_CHANGES = pa.schema([*_PLACE, pa.field("repeat", pa.int32(), nullable=False)])
URLS = ("vendor_urls", "vendor_urls_high")
OTHERS = ("pictures_refused", *schemas.KEPT_OF_PRODUCTS)
# The full values of a product that gets more from later lines; without URL lists, the row is such a later line.
PRODUCT_CHANGES = pa.schema(
    [*_PLACE, *((name, pa.list_(pa.string())) for name in URLS), *(schemas.PRODUCTS.field(name) for name in OTHERS)]
)
# The attributes of a customer who gets more from later rows; null: the row is such a later row.
CUSTOMER_CHANGES = pa.schema([*_PLACE, schemas.CUSTOMERS.field("attributes")])


def changes_of(
    work: Callable[[tuple[int, int], Sequence[Part]], pa.Table], parts: Sequence[Part], at_once: int
) -> pa.Table:
    """Run `work` on all ranges of keys; return the changes sorted by file and row."""
    key_ranges = ranges(sum(part.rows for part in parts), at_once)
    changes = [work(key_range, parts) for key_range in key_ranges]
    return pa.concat_tables(changes).sort_by([("file", "ascending"), ("row", "ascending")])


def repeated_reviews(key_range: tuple[int, int], parts: Sequence[Part]) -> pa.Table:
    """Compute REVIEW_CHANGES of a range of keys.

    All repeats of a line within one file are kept. A line of a later file is left out if an earlier file has it at
    least as many times.
    """
    found = repeated(key_range, [part.folder for part in parts])
    rows = len(found.key)
    other_key = np.append(True, found.key[1:] != found.key[:-1])[:rows]
    other_file = other_key | np.append(True, found.file[1:] != found.file[:-1])[:rows]
    starts = np.flatnonzero(other_file)  # of each (key, file)
    times = np.diff(np.append(starts, rows))
    before = np.arange(rows) - np.repeat(starts, times)
    # The most times that an earlier file has the key: a running maximum that restarts with every key.
    floor = (np.cumsum(other_key)[starts] - 1) * (rows + 1)
    most = np.maximum.accumulate(floor + times)
    earlier = np.maximum(np.append(0, most[:-1])[: len(starts)] - floor, 0)
    change = np.where(before < np.repeat(earlier, times), LEFT_OUT, before)
    changed = change != 0
    columns = (found.file[changed], found.row[changed], change[changed].astype(np.int32))
    return pa.table([to_arrow(column) for column in columns], schema=REVIEW_CHANGES)


def repeated_products(key_range: tuple[int, int], parts: Sequence[Part]) -> pa.Table:
    """Compute PRODUCT_CHANGES of a range of keys.

    The first line of an asin gets the URLs of all its lines, and the refused kind, price and attributes of the
    first line with each.
    """
    found = repeated(key_range, [part.folder for part in parts])
    places = list(zip(found.file.tolist(), found.row.tolist(), strict=True))
    rows = _rows(found, parts, ["asin", *URLS, *OTHERS], "products")
    first_of: dict[str, int] = {}
    products: dict[int, _Product] = {}  # by the first row
    changed: dict[int, _Product | None] = {}
    columns = [rows[name].to_pylist() for name in (*URLS, *OTHERS)]
    for row, (asin, *values) in enumerate(zip(rows["asin"].to_pylist(), *columns, strict=True)):
        first = first_of.setdefault(asin, row)  # keys are hashes and may collide, so compare asins
        if first == row:
            products[row] = _Product(*values)
            continue
        changed[row] = None
        if products[first].add(*values):
            changed[first] = products[first]
    changes = [
        {"file": places[row][0], "row": places[row][1], **(product.values() if product else {})}
        for row, product in changed.items()
    ]
    return pa.Table.from_pylist(changes, schema=PRODUCT_CHANGES)


class _Product:
    """The values of a product, united from its lines."""

    def __init__(
        self,
        low: list[str],
        high: list[str],
        refused: str | None,
        price: float | None,
        attributes: list[tuple[str, str]] | None,
    ) -> None:
        self._urls = [dict.fromkeys(low), dict.fromkeys(high)]
        self._refused, self._price, self._attributes = refused, price, dict(attributes or ())

    def add(
        self,
        low: list[str],
        high: list[str],
        refused: str | None,
        price: float | None,
        attributes: list[tuple[str, str]] | None,
    ) -> bool:
        """Add what a later line has; return whether anything was added."""
        before = [*map(len, self._urls), self._refused, self._price, len(self._attributes)]
        for known, more in zip(self._urls, (low, high), strict=True):
            known.update(dict.fromkeys(more))
        self._refused = self._refused or refused
        self._price = price if self._price is None else self._price
        self._attributes = dict(attributes or ()) | self._attributes
        return before != [*map(len, self._urls), self._refused, self._price, len(self._attributes)]

    def values(self) -> dict[str, object]:
        """Return the values by column."""
        attributes = list(self._attributes.items()) or None
        return dict(
            zip((*URLS, *OTHERS), (*map(list, self._urls), self._refused, self._price, attributes), strict=True)
        )


def repeated_customers(key_range: tuple[int, int], parts: Sequence[Part]) -> pa.Table:
    """Compute CUSTOMER_CHANGES of a range of keys: a customer has each attribute of the first row with it."""
    found = repeated(key_range, [part.folder for part in parts])
    rows = _rows(found, parts, schemas.CUSTOMERS.names, "customers")
    first_of: dict[str, int] = {}
    known: dict[int, dict[str, str]] = {}  # by the first row
    changed: dict[int, list[tuple[str, str]] | None] = {}
    names, values = rows["reviewer_id"].to_pylist(), rows["attributes"].to_pylist()
    for row, (customer, attributes) in enumerate(zip(names, values, strict=True)):
        first = first_of.setdefault(customer, row)
        if first == row:
            known[row] = dict(attributes or ())
            continue
        changed[row] = None
        more = dict(attributes or ()) | known[first]
        if len(more) > len(known[first]):
            known[first], changed[first] = more, list(more.items())
    places = list(zip(found.file.tolist(), found.row.tolist(), strict=True))
    changes = [{"file": places[row][0], "row": places[row][1], "attributes": more} for row, more in changed.items()]
    return pa.Table.from_pylist(changes, schema=CUSTOMER_CHANGES)


def _rows(found: Repeated, parts: Sequence[Part], columns: Sequence[str], kind: str) -> pa.Table:
    """Read columns of the found rows, in their order."""
    order = np.lexsort((found.row, found.file))
    bounds = np.searchsorted(found.file[order], np.arange(len(parts) + 1)).tolist()
    pieces = [
        part.taken(found.row[order[low:high]], columns, kind)
        for part, (low, high) in zip(parts, itertools.pairwise(bounds), strict=True)
    ]
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_tables(pieces).take(to_arrow(back)).combine_chunks()


def blocks_with(parts: Sequence[Part], changes: pa.Table) -> Iterator[tuple[pa.Table, np.ndarray, pa.Table]]:
    """Iterate over all blocks of rows; yield each with the rows of it that change [n] and their changes (n rows)."""
    files, rows = to_numpy(changes["file"]), to_numpy(changes["row"]).astype(np.int64)
    bounds = np.searchsorted(files, np.arange(len(parts) + 1)).tolist()
    for number, part in enumerate(parts):
        of_part = rows[bounds[number] : bounds[number + 1]]
        start = 0
        for block in part.batches():
            low, high = np.searchsorted(of_part, (start, start + len(block))).tolist()
            yield block, of_part[low:high] - start, changes.slice(bounds[number] + low, high - low)
            start += len(block)


def united(rows: pa.Table, at: np.ndarray, changes: pa.Table) -> pa.Table:
    """Apply changes to a block of products or customers: drop the later lines of an id, and complete its first line."""
    if not len(at):
        return rows
    columns = changes.column_names[len(_PLACE) :]
    first = to_numpy(changes[columns[0]].is_valid())
    fuller = rows.take(to_arrow(at[first]))
    for name in columns:
        column = fuller.schema.get_field_index(name)
        values = changes[name].filter(to_arrow(first)).cast(fuller.schema.field(name).type)
        fuller = fuller.set_column(column, fuller.schema.field(name), values)
    taken = np.arange(len(rows))
    taken[at[first]] = len(rows) + np.arange(len(fuller))
    return pa.concat_tables([rows, fuller]).take(to_arrow(np.delete(taken, at[~first])))


def review_ids(keys: np.ndarray, before: np.ndarray) -> pa.Array:
    """Compute ids [n] from the hashes of the lines and the number of earlier equal lines in the file."""
    digits = keys.astype(">u8").tobytes().hex()  # big-endian bytes in hexadecimal, all rows in one call
    pieces, cut, repeats = [], 0, np.flatnonzero(before)  # usually few
    longer = np.zeros(len(keys) + 1, np.int64)
    for row in repeats.tolist():
        suffix = f"-{before[row]}"
        pieces += [digits[cut : 16 * (row + 1)], suffix]
        longer[row + 1] = len(suffix)
        cut = 16 * (row + 1)
    ends = (np.arange(0, len(digits) + 1, 16) + np.cumsum(longer)).astype(np.int32)
    content = "".join([*pieces, digits[cut:]]).encode()
    return pa.Array.from_buffers(pa.string(), len(keys), [None, pa.py_buffer(ends), pa.py_buffer(content)])
