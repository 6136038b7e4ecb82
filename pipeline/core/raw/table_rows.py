"""Turn the rows of a shop's table into reviews, products and customers, by the columns of its layout.

The results are those of `parsing.py` for JSON; a row that is not accepted is a reject with its number.
"""

import ast
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.arrow import scalar, to_arrow, to_numpy
from pipeline.core.quoting import printable
from pipeline.core.raw import unread, values
from pipeline.core.raw.addresses import base_of
from pipeline.core.raw.attribute_values import attribute, attributes
from pipeline.core.raw.copies import origin_name
from pipeline.core.raw.dialects import plain
from pipeline.core.raw.number_ids import rounded, texts_of_floats, unwrapped
from pipeline.core.raw.parsing import ID_BYTES, Parsed
from pipeline.core.raw.stray_rows import HEADER_AGAIN, OPEN_QUOTE
from pipeline.core.raw.table_pictures import is_picture, of_product, of_review
from pipeline.core.raw.tables import RowBlock
from pipeline.core.raw.vintages import categories_of, parsed, title_of
from pipeline.core.shop import kinds
from pipeline.core.shop.mapping import Attributes, CustomerColumns, InteractionColumns, ProductColumns
from pipeline.core.shop.picture_files import PicturePattern

TABLE_REASONS = (
    *("too_many_values", "too_few_values", OPEN_QUOTE, HEADER_AGAIN, "id_rounded"),
    *("kind_negative", "kind_ignored", "kind_unknown"),
)
KIND_COUNTED = "kind="  # before a kind of interaction of which nothing is known, in the counts
# Columns by which a row may be no purchase: none or fewer than none bought, or given back.
UNDONE_BY = dict.fromkeys(("quantity", "qty", "orderquantity", "quantityordered", "menge", "anzahl"), "quantities") | (
    dict.fromkeys(("status", "orderstatus", "itemstatus", "state", "financialstatus", "paymentstatus"), "states")
)
LIST_CHARACTERS = 1 << 16  # of a list written as text; ast builds a tree of many times its size
TEXT_CHARACTERS = 500  # kept of a rejected row
_REVIEW_FIELDS = [field for field in schemas.REVIEWS if field.name != "review_id"]
_PRODUCT_FIELDS = [f for f in schemas.PRODUCTS if f.name not in ("garment_class", *schemas.KEPT_OF_PRODUCTS)]


class TableRows:
    """Makes rows of one kind out of blocks. Each thread needs its own."""

    def __init__(self, path: Path, database: duckdb.DuckDBPyConnection) -> None:
        self._file, self._base = origin_name(path), base_of(path)
        self._counts: Counter[str] = Counter()
        self._unread: dict[str, str] = {}
        self._duckdb = database.cursor()

    def reviews(self, block: RowBlock, columns: InteractionColumns) -> Parsed:
        """Make REVIEWS without review_id, and `key`: the hash of the row."""
        self._counts, self._unread = Counter(), {}
        table = block.table
        reviewer = self._ids(table[columns.user], columns.user_width)
        asin = self._ids(table[columns.item], columns.width)
        rows = len(table)
        self._count_undone(block, columns)
        refused = self._kinds(block, columns) | {
            "reviewer_missing": pc.is_null(reviewer),
            "asin_missing": pc.is_null(asin),
            "reviewer_too_long": _too_long(reviewer),
            "asin_too_long": _too_long(asin),
            "id_rounded": pc.or_(rounded(table[columns.user], reviewer), rounded(table[columns.item], asin)),
        }
        seconds, rating = pa.nulls(rows, pa.int64()), pa.nulls(rows, pa.float64())
        if columns.time:
            times = values.times(self._moments(table[columns.time], columns.zone), columns.time_unit, columns.zone)
            seconds, refused["time_out_of_range"] = times.seconds, times.out_of_range
            self._count_unread(unread.TIMES, columns.time, block, times.unreadable)
        if columns.rating:
            rating, unreadable, refused["rating_out_of_range"] = values.ratings(self._numbers(table[columns.rating]))
            self._count_unread(unread.RATINGS, columns.rating, block, unreadable)
        urls = pa.ListArray.from_arrays(to_arrow(np.zeros(rows + 1, np.int32)), to_arrow([]))
        if columns.pictures:
            lists = [of_review(value, self._counts, self._base) for value in self._pictures(table[columns.pictures])]
            urls = pa.array([found or [] for found in lists], pa.list_(pa.string()))
            refused["too_many_pictures"] = pa.array([found is None for found in lists], pa.bool_())
        found = pa.table(
            {
                "reviewer_id": reviewer,
                "asin": asin,
                "rating": rating.cast(pa.float32(), safe=False),
                "time": seconds,
                "image_urls": urls,
                "key": self._keys(table),
            }
        )
        return self._result(block, found, {reason: _flat(mask) for reason, mask in refused.items()})

    def products(self, block: RowBlock, columns: ProductColumns, pattern: PicturePattern | None) -> Parsed:
        """Make PRODUCTS without garment_class, and `key`: the hash of the id."""
        self._counts = Counter()
        table = block.table
        asin = self.product_ids(block, columns)
        rows = len(table)
        nothing = [None] * rows
        titles = self._texts(table[columns.title]).to_pylist() if columns.title else nothing
        levels = [self._values(table[name]) for name in columns.categories]
        fields = [self._pictures(table[name]) for name in columns.pictures]
        named: dict[str, Sequence[str | None]] = {}
        for name in pattern.columns if pattern else ():
            width = columns.variant_width if name == columns.variant else columns.width if name == columns.id else None
            named[name] = self._ids(table[name], width).to_pylist()
        known: dict[str, list[str]] = {}
        made, too_many = [], np.zeros(rows, bool)
        for row, (name, title) in enumerate(zip(asin.to_pylist(), titles, strict=True)):
            unusable: list[str] = []
            low, high = of_product([field[row] for field in fields], self._counts, self._base, unusable)
            too_many[row] = low is None
            if pattern:
                values_of = {c: of[row] for c, of in named.items()}
                matching = pattern.urls(values_of, self._counts, unusable)
                low, high = (list(dict.fromkeys([*(found or ()), *matching])) for found in (low, high))
            path = [level[row] for level in levels]
            if (written := repr(path)) not in known:
                known[written] = categories_of({"category": list(map(_level, path))}, self._counts)
                if len(known) > 100_000:  # a shop has fewer
                    known = {written: known[written]}
            pictures = (low or [], high or [], unusable[0] if unusable else None)
            made.append((name, title_of(title, self._counts), known[written], *pictures))
        schema = pa.schema([pa.field(field.name, field.type) for field in _PRODUCT_FIELDS])
        lists = list(zip(*made, strict=True)) or [()] * len(schema)
        found = pa.table([pa.array(v, f.type) for v, f in zip(lists, schema, strict=True)], schema=schema)
        refused = {"asin_missing": pc.is_null(asin), "asin_too_long": _too_long(asin)}
        refused["id_rounded"] = rounded(table[columns.id], asin)
        refused["too_many_pictures"] = pa.array(too_many)
        price = pa.nulls(rows, pa.float64())
        if columns.price:
            price, unreadable = values.prices(self._numbers(table[columns.price]))
            self._counts["prices_not_read"] += pc.sum(unreadable).as_py() or 0
        found = found.append_column("price", price)
        found = found.append_column("attributes", self._attributes(table, columns.attributes or ()))
        found = found.append_column("key", self._keys(found.select(["asin"])))
        return self._result(block, found, {reason: _flat(mask) for reason, mask in refused.items()})

    def customers(self, block: RowBlock, columns: CustomerColumns) -> Parsed:
        """Make CUSTOMERS, and `key`: the hash of the id. Rejects have no text."""
        self._counts = Counter()
        customer = self._ids(block.table[columns.id], columns.width)
        found = pa.table(
            {"reviewer_id": customer, "attributes": self._attributes(block.table, columns.attributes or ())}
        )
        found = found.append_column("key", self._keys(found.select(["reviewer_id"])))
        refused = {"reviewer_missing": pc.is_null(customer), "reviewer_too_long": _too_long(customer)}
        refused["id_rounded"] = rounded(block.table[columns.id], customer)
        result = self._result(block, found, {reason: _flat(mask) for reason, mask in refused.items()})
        for reject in result.rejects:
            reject["text"] = ""  # of a person whom no erasure would find
        return result

    def _attributes(self, table: pa.Table, named: Attributes) -> pa.Array:
        """Keep a row's values of these columns; what is nested becomes JSON."""
        found = {}
        for name, column in named:
            texts = table[column]
            if pa.types.is_nested(texts.type):
                listed = [None if v is None else json.dumps(v, default=str, sort_keys=True) for v in texts.to_pylist()]
                texts = pa.array(listed, pa.string())
            found[name] = attribute(self._texts(texts), self._counts)
        return attributes(found, len(table))

    def product_ids(self, block: RowBlock, columns: ProductColumns) -> pa.ChunkedArray:
        """Read the ids of products; a row without one has that of its variant."""
        asin = self._ids(block.table[columns.id], columns.width)
        return pc.coalesce(asin, self.variants(block, columns)) if columns.variant else asin

    def variants(self, block: RowBlock, columns: ProductColumns) -> pa.ChunkedArray:
        """Read the ids that are bought."""
        return self._ids(block.table[columns.variant], columns.variant_width)

    def _count_undone(self, block: RowBlock, columns: InteractionColumns) -> None:
        """Count the rows that are perhaps no purchases by their quantity or state, and describe the first."""
        for name in block.table.column_names:
            what = UNDONE_BY.get(plain(name))
            if what is None or name in (columns.kind, columns.user, columns.item, columns.rating, columns.time):
                continue
            text = pc.utf8_trim_whitespace(self._texts(block.table[name]))
            if what == "quantities":
                mask = pc.match_substring_regex(text, r"^(-|[0]+([.,]0*)?$)")
            else:
                words = pc.replace_substring_regex(pc.utf8_lower(text), "[^a-z]+", "")
                mask = pc.is_in(words, to_arrow(sorted(kinds.UNDONE)))
            if count := pc.sum(mask).as_py():
                self._counts[f"{what}_undone"] += count
                row = pc.index(_whole(mask), scalar(True)).as_py()
                value, column = printable(text[row].as_py(), 60), printable(name, 60)
                mend = "take such rows out of the file if they are returns"
                if what == "states":
                    mend = f'say in shop.toml: [interactions] kind = "{column}", negative = ["{value}"]'
                place = f"{self._file}: row {int(block.numbers[row]):,}, column {column}: {value!r}"
                self._unread[what] = f"{place}; {mend}"

    def _kinds(self, block: RowBlock, columns: InteractionColumns) -> dict[str, pa.Array]:
        """Mark the rows whose kind of interaction does not count; count the values of which nothing is known."""
        if not columns.kind:
            return {}
        kind = pc.utf8_trim_whitespace(self._texts(block.table[columns.kind]))
        lists = (*columns.positive, *columns.negative, *columns.ignored)
        if columns.positive or not lists:
            counted = pc.value_counts(kind.filter(pc.invert(pc.is_in(kind, pa.array(lists, pa.string())))))
            for entry in counted.slice(0, kinds.VALUES_AT_MOST).to_pylist():
                self._counts[f"{KIND_COUNTED}{entry['values'] or ''}"] += entry["counts"]
            if len(counted):
                self._counts["kinds_left_out"] += pc.sum(counted.field(1)).as_py() if columns.positive else 0
                self._unread["kinds"] = f"column {printable(columns.kind, 60)}"
                self._unread["positive"] = ", ".join(f'"{printable(value, 40)}"' for value in columns.positive)
        if not lists:
            return {}
        among = {
            name: pc.is_in(kind, pa.array(named, pa.string()))
            for name, named in (("negative", columns.negative), ("ignored", columns.ignored))
        }
        refused = {f"kind_{name}": mask for name, mask in among.items()}
        if columns.positive:
            named = [*columns.positive, *columns.negative, *columns.ignored]
            refused["kind_unknown"] = pc.invert(pc.is_in(kind, pa.array(named, pa.string())))
        return refused

    def _result(self, block: RowBlock, found: pa.Table, refused: dict[str, np.ndarray]) -> Parsed:
        """Split rows into accepted ones and rejects, in the file's order."""
        bad = np.zeros(len(found), bool)
        for mask in refused.values():
            bad |= mask
        at = np.flatnonzero(bad)
        rejected = [
            {"line": malformed.row, "reason": malformed.reason, "text": malformed.text} for malformed in block.malformed
        ]
        if len(at):
            shown = block.table.take(to_arrow(at))
            lists = [self._values(shown[name]) for name in dict.fromkeys(shown.column_names)]
            for place, row in enumerate(at.tolist()):
                reason = next(reason for reason, mask in refused.items() if mask[row])
                text = ",".join("" if of[place] is None else str(of[place])[:TEXT_CHARACTERS] for of in lists)
                rejected.append({"line": int(block.numbers[row]), "reason": reason, "text": text[:TEXT_CHARACTERS]})
            found = found.filter(to_arrow(~bad))
        rejected.sort(key=lambda reject: reject["line"])
        rejects = [{"file": self._file, "offset": None, **reject} for reject in rejected]
        self._counts = +self._counts
        lines = len(block.table) + len(block.malformed)
        return Parsed(found, rejects, lines, self._counts, unread=dict(self._unread))

    def _count_unread(self, what: str, column: str, block: RowBlock, mask: pa.Array) -> None:
        """Count values that could not be read, and describe the first."""
        if count := pc.sum(mask).as_py():
            self._counts[f"{what}_not_read"] += count
            row = int(np.argmax(to_numpy(mask)))
            value = self._texts(block.table[column].slice(row, 1))[0].as_py()
            self._unread[what] = unread.described(what, self._file, int(block.numbers[row]), column, value)

    def _keys(self, table: pa.Table) -> pa.ChunkedArray:
        """Hash the rows over all their columns."""
        framed = table.rename_columns([f"c{place}" for place in range(table.num_columns)])
        for place, column in enumerate(framed.columns):
            if pa.types.is_nested(column.type) or pa.types.is_dictionary(column.type):
                texts = pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())
            elif pa.types.is_float16(column.type) or pa.types.is_decimal256(column.type):  # DuckDB reads neither
                texts = column.cast(pa.string())
            else:
                continue
            framed = framed.set_column(place, f"c{place}", texts)
        query = f"SELECT hash({', '.join(framed.column_names)}) AS key FROM framed"
        keys = self._duckdb.sql(query).to_arrow_table()["key"]
        del framed
        return keys

    def _ids(self, column: pa.ChunkedArray, width: int | None) -> pa.ChunkedArray:
        return values.ids(unwrapped(self._texts(column)), width)

    def _moments(self, column: pa.ChunkedArray, zone: str) -> pa.Array:
        kind = column.type
        if pa.types.is_timestamp(kind) and kind.tz is None and zone != "UTC":
            column = pc.assume_timezone(column, zone, ambiguous="earliest", nonexistent="earliest")
        temporal = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
        return _whole(column) if temporal else self._numbers(column)

    def _numbers(self, column: pa.ChunkedArray) -> pa.Array:
        kind = column.type
        if pa.types.is_integer(kind):
            return _whole(column.cast(pa.int64(), safe=False))
        return _whole(column.cast(pa.float64())) if pa.types.is_floating(kind) else _whole(self._texts(column))

    def _texts(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return a column of any type as text."""
        kind = column.type
        if pa.types.is_dictionary(kind):
            return self._texts(column.cast(kind.value_type))
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
            try:
                return column.cast(pa.binary()).cast(pa.string())
            except pa.ArrowInvalid:
                return pa.chunked_array([[self._decoded(value) for value in column.to_pylist()]], pa.string())
        if pa.types.is_floating(kind):
            return texts_of_floats(column)
        try:
            return column.cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return pa.chunked_array([[None if v is None else str(v) for v in column.to_pylist()]], pa.string())

    def _decoded(self, value: bytes | None) -> str | None:
        """Decode a text as UTF-8, or else as cp1252, which spreadsheets on Windows write."""
        if value is None:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            self._counts["values_not_utf8"] += 1
            try:
                return value.decode("cp1252")
            except UnicodeDecodeError:
                return value.decode("latin-1")

    def _values(self, column: pa.ChunkedArray) -> list:
        """Return a column as Python values: lists and dicts of nested columns, else texts."""
        return column.to_pylist() if pa.types.is_nested(column.type) else self._texts(column).to_pylist()

    def _pictures(self, column: pa.ChunkedArray) -> list:
        """Return a column of pictures as Python values, as `_values` does; the bytes of a picture stay bytes."""
        if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
            return self._values(column)
        return [value if value and is_picture(value) else self._decoded(value) for value in column.to_pylist()]


def _level(value: object) -> object:
    """Return a level of categories as a list of its own levels, where it names several (`A|B`, `['A', 'B']`)."""
    if not isinstance(value, str):
        return value
    if value.lstrip()[:1] == "[":
        return _listed(value) or value
    return value.split("|")


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _flat(mask: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return to_numpy(pc.fill_null(mask, scalar(False)))


def _too_long(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.greater(pc.binary_length(ids), scalar(ID_BYTES, np.int32)), scalar(False))


def _listed(text: str) -> object:
    """Parse a list written as JSON or as Python writes it; None if it is neither, or long."""
    if len(text) > LIST_CHARACTERS:
        return None
    value = parsed(text)
    if value is not None:
        return value
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None
