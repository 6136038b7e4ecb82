"""What becomes of rows under one key once all files are known: reviews that repeat, products that are named again.

`changes_of` says, by ranges of the key space over all parts, which of their rows are not taken as they stand;
`blocks_with`, `review_ids` and `united` take them as they are then. Finding equal keys is `repeats.py`'s, writing the
tables `ingest.py`'s.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.raw.parts import Part
from pipeline.core.raw.repeats import Repeated, ranges, repeated
from pipeline.core.shards import HERE, Runner

_PLACE = [pa.field("file", pa.int32(), nullable=False), pa.field("row", pa.uint32(), nullable=False)]
LEFT_OUT = -1
# repeat: it is the k-th repeat of its line within its file (k >= 1), or LEFT_OUT: an earlier file holds it as well.
REVIEW_CHANGES = pa.schema([*_PLACE, pa.field("repeat", pa.int32(), nullable=False)])
URLS = ("vendor_urls", "vendor_urls_high")
# The lists of a product that has more under later lines; null: the row is such a later line.
PRODUCT_CHANGES = pa.schema([*_PLACE, *((name, pa.list_(pa.string())) for name in URLS)])


def changes_of(
    work: Callable[[tuple[int, int], Sequence[Part]], pa.Table], parts: Sequence[Part], at_once: int, runner: Runner
) -> pa.Table:
    """What `work` says of all ranges of keys, by file and row."""
    stretches = ranges(sum(part.rows for part in parts), at_once)
    found = (runner if len(stretches) > 1 else HERE).map(work, stretches, parts)
    return pa.concat_tables(found).sort_by([("file", "ascending"), ("row", "ascending")])


def repeated_reviews(stretch: tuple[int, int], parts: Sequence[Part]) -> pa.Table:
    """REVIEW_CHANGES of a range: a line counts in its own file as often as it stands there.

    A line of a further file is left out when an earlier file holds it as many times.
    """
    found = repeated(stretch, [part.folder for part in parts])
    rows = len(found.key)
    other_key = np.append(True, found.key[1:] != found.key[:-1])[:rows]
    other_file = other_key | np.append(True, found.file[1:] != found.file[:-1])[:rows]
    starts = np.flatnonzero(other_file)  # of each (key, file)
    times = np.diff(np.append(starts, rows))
    before = np.arange(rows) - np.repeat(starts, times)
    # The most times that an earlier file holds the key: a running maximum that begins anew with every key.
    floor = (np.cumsum(other_key)[starts] - 1) * (rows + 1)
    most = np.maximum.accumulate(floor + times)
    earlier = np.maximum(np.append(0, most[:-1])[: len(starts)] - floor, 0)
    change = np.where(before < np.repeat(earlier, times), LEFT_OUT, before)
    changed = change != 0
    columns = (found.file[changed], found.row[changed], change[changed].astype(np.int32))
    return pa.table([to_arrow(column) for column in columns], schema=REVIEW_CHANGES)


def repeated_products(stretch: tuple[int, int], parts: Sequence[Part]) -> pa.Table:
    """PRODUCT_CHANGES of a range: lines under one asin are one product, the first line's, with the URLs of all."""
    found = repeated(stretch, [part.folder for part in parts])
    places = list(zip(found.file.tolist(), found.row.tolist(), strict=True))
    rows = _rows(found, parts)
    first_of: dict[str, int] = {}
    lists: dict[int, list[dict[str, None]]] = {}  # by the first row
    changed: dict[int, list[dict[str, None]] | None] = {}
    columns = [rows[name].to_pylist() for name in URLS]
    for row, asin in enumerate(rows["asin"].to_pylist()):  # keys are hashes: the asin decides
        first, urls = first_of.setdefault(asin, row), [dict.fromkeys(column[row]) for column in columns]
        if first == row:
            lists[row] = urls
            continue
        changed[row] = None
        known = [len(old) for old in lists[first]]
        for old, new in zip(lists[first], urls, strict=True):
            old.update(new)
        if known != [len(old) for old in lists[first]]:
            changed[first] = lists[first]
    told = [
        {"file": places[row][0], "row": places[row][1]}
        | (dict(zip(URLS, map(list, urls), strict=True)) if urls else {})
        for row, urls in changed.items()
    ]
    return pa.Table.from_pylist(told, schema=PRODUCT_CHANGES)


def _rows(found: Repeated, parts: Sequence[Part]) -> pa.Table:
    """asin and URLs of the found rows, in their order."""
    order = np.lexsort((found.row, found.file))
    bounds = np.searchsorted(found.file[order], np.arange(len(parts) + 1)).tolist()
    pieces = [
        part.products(found.row[order[low:high]], ["asin", *URLS])
        for part, (low, high) in zip(parts, itertools.pairwise(bounds), strict=True)
    ]
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_tables(pieces).take(to_arrow(back)).combine_chunks()


def blocks_with(parts: Sequence[Part], changes: pa.Table) -> Iterator[tuple[pa.Table, np.ndarray, pa.Table]]:
    """Every block of rows in order, which rows of it change [n], and what becomes of them (n rows)."""
    files, rows = to_numpy(changes["file"]), to_numpy(changes["row"]).astype(np.int64)
    bounds = np.searchsorted(files, np.arange(len(parts) + 1)).tolist()
    for number, part in enumerate(parts):
        of_part = rows[bounds[number] : bounds[number + 1]]
        start = 0
        for block in part.batches():
            low, high = np.searchsorted(of_part, (start, start + len(block))).tolist()
            yield block, of_part[low:high] - start, changes.slice(bounds[number] + low, high - low)
            start += len(block)


def united(products: pa.Table, at: np.ndarray, changes: pa.Table) -> pa.Table:
    """A block of products without the later lines of an asin, and with all URLs at the first."""
    if not len(at):
        return products
    first = to_numpy(changes[URLS[0]].is_valid())
    fuller = products.take(to_arrow(at[first]))
    for name in URLS:
        column = fuller.schema.get_field_index(name)
        urls = changes[name].filter(to_arrow(first)).cast(fuller.schema.field(name).type)
        fuller = fuller.set_column(column, fuller.schema.field(name), urls)
    taken = np.arange(len(products))
    taken[at[first]] = len(products) + np.arange(len(fuller))
    return pa.concat_tables([products, fuller]).take(to_arrow(np.delete(taken, at[~first])))


def review_ids(keys: np.ndarray, before: np.ndarray) -> pa.Array:
    """Ids [n] from the hashes of the lines and how often each stood in its file before."""
    digits = keys.astype(">u8").tobytes().hex()  # big-endian bytes in hexadecimal, all rows in one call
    pieces, cut, repeats = [], 0, np.flatnonzero(before)  # few, but where a file is one line many times
    longer = np.zeros(len(keys) + 1, np.int64)
    for row in repeats.tolist():
        suffix = f"-{before[row]}"
        pieces += [digits[cut : 16 * (row + 1)], suffix]
        longer[row + 1] = len(suffix)
        cut = 16 * (row + 1)
    ends = (np.arange(0, len(digits) + 1, 16) + np.cumsum(longer)).astype(np.int32)
    content = "".join([*pieces, digits[cut:]]).encode()
    return pa.Array.from_buffers(pa.string(), len(keys), [None, pa.py_buffer(ends), pa.py_buffer(content)])
