"""Parse blocks of raw lines to rows and rejects; nothing is dropped silently.

DuckDB parses a whole block. Lines that it cannot parse are tried again in Python, which accepts lone surrogates and
Python literals, and finds several objects in one line. Every line is read by its own vintage.

Blank lines are ignored, except in line numbers. Bytes that are not UTF-8 become U+FFFD, and such lines are read and
counted. A number as an id is read as text; null, blank, list and object are no ids. A time or rating that `values.py`
cannot read is null and counted.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.arrow import scalar, to_arrow, to_numpy
from pipeline.core.raw import unread
from pipeline.core.raw.addresses import (
    base_of,
    clean_addresses,
    encodable,
    is_plain,
    picture_urls,
    vendor_pictures,
)
from pipeline.core.raw.attribute_values import attribute, attributes
from pipeline.core.raw.copies import origin_name
from pipeline.core.raw.framing import MAX_LINE_BYTES, Block
from pipeline.core.raw.joined import canonical, framed_lines, separated
from pipeline.core.raw.values import UNITS, ids, prices, ratings, times
from pipeline.core.raw.vintages import (
    KEPT_KEYS,
    PRODUCT_KEYS,
    REVIEW_KEYS,
    categories_of,
    parsed,
    title_of,
)
from pipeline.core.shop.mapping import Shop

REJECT_REASONS = (
    *("not_json", "not_an_object", "reviewer_missing", "asin_missing", "too_long"),
    # Over a limit below, which means damage or an attack; later tables and servers need these limits.
    *("reviewer_too_long", "asin_too_long", "too_many_pictures", "time_out_of_range", "rating_out_of_range"),
)
ID_BYTES = 256  # most bytes of an id as UTF-8; Amazon's have 10 to 28
PICTURES_AT_MOST = 1_000  # per line
PRODUCTS_AT_ONCE = 1_000  # converted to Python objects at once
TEXT_CHARACTERS = 500  # kept of a rejected line
IDS = frozenset({"reviewerID", "user_id", "asin", "parent_asin"})  # an object without any of these is looked at again
_OLD, _NEW = REVIEW_KEYS["2018"], REVIEW_KEYS["2023"]  # 2014's reviews have the keys of 2018's
# Hash of the trimmed line with one newline. DuckDB computes it, because Python took a seventh of the whole ingest.
LINE_HASH = "hash(text)"
KEY_OF_ASIN = "SELECT hash(text) AS key FROM framed"


@dataclass(frozen=True)
class Parsed:
    """A block's accepted rows, its rejects, and counts of lines, repairs and dropped values."""

    rows: pa.Table  # REVIEWS without review_id or PRODUCTS without garment_class, and `key`: a hash of line or asin
    rejects: list[dict]  # rows of REJECTS
    lines: int
    counts: Counter[str]
    vintages: frozenset[str] = frozenset()  # of the lines; 2014's reviews count as 2018's
    unread: dict[str, str] = field(default_factory=dict)  # of what could not be read, the first value (`unread.py`)


def parsers_database() -> duckdb.DuckDBPyConnection:
    """Open the database shared by the parsers of one ingest, with one thread, because blocks are parsed in parallel."""
    return duckdb.connect(config={"threads": 1})


class Parser:
    """Parser of blocks of one kind, `reviews` or `products`. Each thread needs its own."""

    def __init__(self, kind: str, database: duckdb.DuckDBPyConnection, shop: Shop | None = None) -> None:
        """Take from `shop` how ids and times read, where a shop.toml says so; Amazon's keys have their meaning."""
        said = shop if shop is not None and shop.file is not None else Shop()
        self.kind, self._said, self._product_width = kind, said.interactions, said.products.width
        self._unit, self._zone = said.interactions.time_unit, said.interactions.zone
        self._counts: Counter[str] = Counter()
        self._base: Path | None = None  # against which the file's paths of pictures are resolved
        self._file = ""
        self._duckdb = database.cursor()
        self._duckdb.execute("SET enable_progress_bar = false")

    def parse(self, path: Path, block: Block, vintage: str, *, given: bool = True) -> Parsed:
        """Parse a block of the file at `path`.

        vintage: of all lines if `given`; otherwise it is that of the file's first line, and each line has its own.
        """
        self._counts, self._vintages = Counter(), {vintage} if given else set[str]()
        self._unread: dict[str, str] = {}
        self._base, self._file = base_of(path), origin_name(path)
        too_long = np.diff(block.starts) > MAX_LINE_BYTES if not block.too_long else np.array([True])
        lines = self._frame(block)
        self._block = block
        if too_long.any():
            lines = pc.if_else(pa.array(too_long), pa.scalar("", lines.type), lines)
        rows_of = self._review_rows if self.kind == "reviews" else self._product_rows
        table = rows_of(lines, vintage, given)
        bad = np.flatnonzero(to_numpy(pc.is_valid(table["reason"])))
        unread = bad[to_numpy(pc.equal(table["reason"].take(to_arrow(bad)), "not_json"))] if len(bad) else bad
        parted = separated(block, unread[~too_long[unread]]) if len(unread) else None
        if parted is not None:
            return self.parse(path, parted, vintage, given=given)
        blank, rejected = 0, []
        for row in bad:
            start, end = int(block.starts[row]), int(block.starts[row + 1])
            reason = "too_long" if too_long[row] else table["reason"][int(row)].as_py()
            if reason == "blank":
                blank += 1
                continue
            head = block.data[start : min(end, start + 4 * TEXT_CHARACTERS)].tobytes()
            text = head.decode("utf-8", "replace").strip()
            line, offset = block.place(int(row))
            place = {"file": self._file, "line": line, "offset": offset}
            rejected.append({**place, "reason": reason, "text": text[:TEXT_CHARACTERS]})
        rows = table.drop_columns(["reason"])
        if len(bad):
            rows = rows.take(pa.array(np.delete(np.arange(table.num_rows), bad)))
        return Parsed(rows, rejected, table.num_rows - blank, self._counts, frozenset(self._vintages), self._unread)

    def _frame(self, block: Block) -> pa.Array:
        """Trim the lines and end each with one newline; mostly without copying the block's bytes."""
        data, starts = framed_lines(block.data, block.starts)
        offsets, content = pa.py_buffer(starts), pa.py_buffer(data)
        if data.max(initial=0) < 128:  # ASCII
            return pa.Array.from_buffers(pa.large_string(), len(starts) - 1, [None, offsets, content])
        lines = pa.Array.from_buffers(pa.large_binary(), len(starts) - 1, [None, offsets, content])
        try:
            return lines.cast(pa.large_string())
        except pa.ArrowInvalid:  # some bytes are not UTF-8
            texts = [line.decode("utf-8", "replace") for line in lines.to_pylist()]
            self._counts["lines_not_utf8"] += sum("\ufffd" in text for text in texts)
            return pa.array(texts, pa.large_string())

    def _transform(self, lines: pa.Array, keys: dict[str, str], *, literals: bool = False) -> pa.Table:
        """Extract columns `keys` (with a type each), hash (of the line) and reason (null for an object), in order.

        literals: whether most lines are Python literals.
        """
        # Use one plain projection: an expression over s inside a CASE or a filter would parse the line again.
        columns = ", ".join(
            f's."{key}"{"::VARCHAR" if kind == "JSON" else ""} AS "{key}"' for key, kind in keys.items()
        )
        structure = json.dumps(keys).replace("'", "''")
        query = (
            f"SELECT {columns}, s IS NULL AS unread, {LINE_HASH} AS hash"
            f" FROM (SELECT text, try(json_transform(text, '{structure}')) AS s FROM framed)"
        )
        text = _as_json(lines, keys) if literals else lines
        table = self._query(query, text).combine_chunks()
        unread, hashes = to_numpy(table["unread"]).copy(), table["hash"]
        table = table.drop_columns(["unread", "hash"])
        # Lines that could not be parsed or have no id are examined one by one.
        named = [pc.is_valid(table[key]) for key in keys if key in IDS]
        odd = np.flatnonzero(unread | ~np.logical_or.reduce([to_numpy(column) for column in named]))
        if not len(odd):
            return table.append_column("hash", hashes).append_column("reason", pa.nulls(table.num_rows, pa.string()))
        suspects = lines.take(pa.array(odd))
        stripped = [suspect.removesuffix("\n") for suspect in suspects.to_pylist()]
        if unread.any() and text is lines:
            again = unread[odd] & np.array([bool(suspect) for suspect in stripped])
            mended = self._query(query, _as_json(suspects.filter(pa.array(again)), keys))
            places = odd[again]
            unread[places] = np.asarray(mended["unread"])
            kept = pa.array(np.delete(np.arange(table.num_rows), places))
            whole = pa.concat_tables([table.take(kept), mended.drop_columns(["unread", "hash"])])
            order = np.empty(table.num_rows, np.int64)
            order[np.concatenate([np.asarray(kept), places])] = np.arange(table.num_rows)
            table = whole.take(pa.array(order)).combine_chunks()
        reasons: list[str | None] = [None] * table.num_rows
        for place, suspect in zip(odd, stripped, strict=True):
            if not suspect:
                reasons[place] = "blank"
            elif unread[place]:
                reasons[place] = "not_json"
            elif not suspect.startswith("{"):
                reasons[place] = "not_an_object"
        return table.append_column("hash", hashes).append_column("reason", pa.array(reasons, pa.string()))

    def _query(self, query: str, text: pa.Array) -> pa.Table:
        framed = pa.table({"text": text})  # DuckDB finds it by this name; registering it would bind the query twice
        found = self._duckdb.sql(query).to_arrow_table()
        del framed
        return found

    def _review_rows(self, lines: pa.Array, vintage: str, given: bool) -> pa.Table:
        layouts = [_NEW if vintage == "2023" else _OLD] if given else [_OLD, _NEW]
        types: dict[str, str] = {}
        for names in layouts:
            types |= dict.fromkeys([names["reviewer"], names["asin"], names["variant"]], "VARCHAR")
            number = "DOUBLE" if self._unit == "auto" or self._unit in UNITS else "VARCHAR"
            types |= {names["rating"]: "DOUBLE", names["time"]: number, names["pictures"]: "JSON"}
        table = self._transform(lines, types)
        columns = self._columns(table, vintage, given)
        reviewer, asin, time, rating = (columns[name] for name in ("reviewer", "asin", "time", "rating"))
        at, (stars, vague, odd) = times(time, self._unit, self._zone), ratings(rating)
        seconds, late, not_read = at.seconds, at.out_of_range, at.unreadable
        if rating.null_count or (time.null_count and types[_OLD["time"]] == "DOUBLE"):
            # What is no number may be another way to write one: read these lines' values as text.
            nulls = pc.and_(pc.is_null(table["reason"]), pc.or_(pc.is_null(time), pc.is_null(rating)))
            rows = np.flatnonzero(to_numpy(nulls))
            texts = {key: "VARCHAR" if of == "DOUBLE" else of for key, of in types.items()}
            again = self._columns(self._transform(lines.take(to_arrow(rows)), texts), vintage, given)
            at = times(again["time"], self._unit, self._zone)
            stars_again, vague_again, odd_again = ratings(again["rating"])
            seconds, late = _replaced(seconds, rows, at.seconds), _replaced(late, rows, at.out_of_range)
            stars, odd = _replaced(stars, rows, stars_again), _replaced(odd, rows, odd_again)
            not_read, vague = _replaced(not_read, rows, at.unreadable), _replaced(vague, rows, vague_again)
        for what, role, mask in ((unread.TIMES, "time", not_read), (unread.RATINGS, "rating", vague)):
            if pc.any(mask).as_py():
                self._count_unread(what, role, mask, lines)
        reason, pictures = table["reason"], columns["pictures"].combine_chunks()
        refused = {
            "reviewer_missing": pc.is_null(reviewer),
            "asin_missing": pc.is_null(asin),
            "reviewer_too_long": _too_long(reviewer),
            "asin_too_long": _too_long(asin),
            "time_out_of_range": late,
            "rating_out_of_range": odd,
        }
        if reason.null_count < len(reason) or any(pc.any(rows).as_py() for rows in refused.values()):
            reasons = (pa.scalar(name) for name in refused)
            reason = pc.case_when(pc.make_struct(pc.is_valid(reason), *refused.values()), reason, *reasons)
            pictures = pc.if_else(pc.is_null(reason).combine_chunks(), pictures, pa.nulls(1, pictures.type)[0])
        urls, too_many = _lists(pictures, lambda text: _urls(text, self._counts, self._base))
        if len(too_many):
            many = np.zeros(len(reason), bool)
            many[too_many] = True
            reason = pc.if_else(pa.array(many), pa.scalar("too_many_pictures"), reason)
        return pa.table(
            {
                "reviewer_id": reviewer,
                "asin": asin,
                "rating": stars.cast(pa.float32(), safe=False),
                "time": seconds,
                "image_urls": urls,
                "key": table["hash"],
                "reason": reason,
            }
        )

    def _count_unread(self, what: str, role: str, mask: pa.Array, lines: pa.Array) -> None:
        """Count values that could not be read, and describe the first."""
        self._counts[f"{what}_not_read"] += pc.sum(mask).as_py()
        row = int(np.argmax(to_numpy(mask)))
        value = parsed(lines[row].as_py().strip(), literal=True)
        keys = [names[role] for names in (_OLD, _NEW)]
        found = next(((key, value[key]) for key in keys if isinstance(value, dict) and key in value), (keys[0], "?"))
        self._unread[what] = unread.described(what, self._file, self._block.place(row)[0], *found)

    def _columns(self, table: pa.Table, vintage: str, given: bool) -> dict[str, pa.ChunkedArray]:
        """Return reviewer, asin, rating, time and pictures of each line by its vintage."""
        if given:
            return self._of_layout(table, _NEW if vintage == "2023" else _OLD)
        recent = ids(table[_NEW["reviewer"]]).is_valid()
        some, all_of_them = pc.any(recent).as_py(), pc.all(recent).as_py()
        if some:
            self._vintages.add("2023")
        if all_of_them:
            return self._of_layout(table, _NEW)
        old = self._of_layout(table, _OLD)
        if pc.any(old["reviewer"].is_valid()).as_py():
            self._vintages.add("2014" if vintage == "2014" else "2018")
        if not some:
            return old
        new = self._of_layout(table, _NEW)
        return {name: pc.if_else(recent, new[name], old[name]) for name in old}

    def _of_layout(self, table: pa.Table, names: dict[str, str]) -> dict[str, pa.ChunkedArray]:
        """Return reviewer, asin, rating, time and pictures by the keys of one layout."""
        width = self._said.width
        asin = ids(table[names["asin"]], width)
        if names["variant"] != names["asin"]:
            asin = pc.coalesce(asin, ids(table[names["variant"]], width))
        found = {"reviewer": ids(table[names["reviewer"]], self._said.user_width), "asin": asin}
        return found | {name: table[names[name]] for name in ("rating", "time", "pictures")}

    def _product_rows(self, lines: pa.Array, vintage: str, given: bool) -> pa.Table:
        types = dict.fromkeys(PRODUCT_KEYS, "JSON")
        types |= dict.fromkeys(("asin", "parent_asin", *KEPT_KEYS), "VARCHAR")
        table = self._transform(lines, types, literals=vintage == "2014")
        asin, parent = (ids(table[key], self._product_width) for key in ("asin", "parent_asin"))
        if vintage == "2023" or not given:
            asin = pc.coalesce(parent, asin)
        if not given:
            recent, literal = parent.is_valid(), pc.starts_with(lines, "{'")
            named = pc.is_valid(asin)
            for name, of_vintage in (
                ("2014", literal),
                ("2023", pc.and_not(recent, literal)),
                ("2018", pc.and_not(named, pc.or_(recent, literal))),
            ):
                if pc.any(of_vintage).as_py():
                    self._vintages.add(name)
        price, unreadable = prices(table["price"])
        self._counts["prices_not_read"] += pc.sum(unreadable).as_py() or 0
        named_attributes = attributes({"brand": attribute(table["brand"], self._counts)}, len(table))
        table = table.drop_columns(KEPT_KEYS).append_column("id", asin)
        # Convert a few at a time, because Python objects take ten times the memory.
        found = pa.concat_tables([self._products(rows) for rows in table.to_batches(PRODUCTS_AT_ONCE)])
        found = found.append_column("price", price).append_column("attributes", named_attributes)
        return found.append_column("key", self._query(KEY_OF_ASIN, found["asin"])["key"])

    def _products(self, raw_rows: pa.RecordBatch) -> pa.Table:
        """Convert rows to PRODUCTS without garment_class, and the reason, which is null for a product."""
        rows = [self._product(raw) for raw in raw_rows.to_pylist()]
        wanted = [f for f in schemas.PRODUCTS if f.name not in ("garment_class", *schemas.KEPT_OF_PRODUCTS)]
        nullable = [pa.field(f.name, f.type) for f in wanted]  # `parse` removes rejected rows
        return pa.Table.from_pylist(rows, schema=pa.schema([("reason", pa.string()), *nullable]))

    def _product(self, raw: dict) -> dict:
        asin = raw["id"]
        if raw["reason"] or not asin:
            return {"reason": raw["reason"] or "asin_missing"}
        if len(asin.encode()) > ID_BYTES:
            return {"reason": "asin_too_long"}
        value = {key: _read(raw[key], self._counts) for key in PRODUCT_KEYS if key not in ("asin", "parent_asin")}
        low, high = vendor_pictures(value)
        if max(len(low), len(high)) > PICTURES_AT_MOST:
            return {"reason": "too_many_pictures"}
        refused: list[str] = []
        return {
            "asin": asin,
            "title": title_of(value["title"], self._counts),
            "categories": categories_of(value, self._counts),
            "vendor_urls": clean_addresses(low, self._counts, self._base, refused),
            "vendor_urls_high": clean_addresses(high, self._counts, self._base, refused),
            "pictures_refused": refused[0] if refused else None,
        }


def _replaced(column: pa.Array, rows: np.ndarray, values: pa.Array) -> pa.Array:
    """Put `values` [len(rows)] at `rows` of a column."""
    taken = np.arange(len(column))
    taken[rows] = len(column) + np.arange(len(rows))
    return pa.concat_arrays([column, values]).take(to_arrow(taken))


def _as_json(lines: pa.Array, keys: dict[str, str]) -> pa.Array:
    """Rewrite lines that Python can read (JSON or a literal) to JSON with only `keys`; leave the others."""

    def rewritten(line: str) -> str:
        value = parsed(line.strip(), literal=True)
        if not isinstance(value, dict):
            return line
        try:
            return encodable(json.dumps({k: value.get(k) for k in keys}, ensure_ascii=False, default=str))
        except (ValueError, RecursionError):
            return line

    return pa.array([rewritten(line) for line in lines.to_pylist()], lines.type)


def _too_long(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.greater(pc.binary_length(ids), scalar(ID_BYTES, np.int32)), scalar(False))


def _read(text: str | None, counts: Counter[str]) -> object:
    """Parse a field's JSON; count it if Python cannot (too deep, or a number of thousands of digits)."""
    value = parsed(text)
    if value is None and text not in (None, "null"):
        counts["values_not_read"] += 1
    return value


def _urls(text: str, counts: Counter[str], base: Path | None) -> list[str] | None:
    """Extract the addresses from the JSON of a review's pictures; None if there are too many.

    Most are a list of one plain URL, which needs no parsing.
    """
    if text.startswith('["http') and text.endswith('"]') and text.count('"') == 2 and "\\" not in text:
        url = text[2:-2]
        if is_plain(url):
            return [url]
    found = picture_urls(_read(text, counts))
    return clean_addresses(found, counts, base) if len(found) <= PICTURES_AT_MOST else None


def _lists(texts: pa.Array, read: Callable[[str], list[str] | None]) -> tuple[pa.Array, np.ndarray]:
    """Apply `read` to every non-null text; return a list column, and the rows for which it gives None.

    Few reviews have pictures, so only those are visited.
    """
    rows = np.flatnonzero(to_numpy(texts.is_valid()))
    found = [read(text) for text in texts.take(to_arrow(rows)).to_pylist()]
    lists = [urls or [] for urls in found]
    lengths = np.zeros(len(texts), np.int64)
    lengths[rows] = [len(urls) for urls in lists]
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    refused = rows[[urls is None for urls in found]] if found else rows
    return pa.ListArray.from_arrays(to_arrow(offsets), to_arrow([u for urls in lists for u in urls])), refused


def line_hash(line: str) -> str:
    """Compute the first part of a review's id from its line, for provenance checks from outside."""
    text = canonical(line.encode("utf-8", "surrogatepass")).decode("utf-8", "replace") + "\n"
    found = duckdb.execute(f"SELECT {LINE_HASH} FROM (SELECT ? AS text)", [text]).fetchone()
    assert found is not None
    return f"{found[0]:016x}"
