"""Raw review and product files to typed tables; every line is accepted or listed in `rejects` with its place.

One way in for all lines: `sources.blocks` frames them, DuckDB parses a block at once (a line it cannot parse is
tried once more in Python, which takes lone surrogates and Python literals), and nothing here drops a line silently.
The vintages' shapes are in `vintages.py`. Filtering belongs to `kcore.py`, classes to `categories.py`.

Outcomes: blank lines are no lines (not counted, though they count in line numbers). Bytes that are not UTF-8 become
U+FFFD and the line is read (counted). A number as an id is taken as its text; null, blank, list and object are no id.

`review_id` is 16 hex digits of the MD5 of the canonical line, which is the line as it stands in the file without
surrounding white space, followed by `-k` for its k-th repeat (k >= 1) within one file.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.sources import MAX_LINE_BYTES, BadInput, Block, blocks, stripped
from pipeline.core.vintages import (
    PRODUCT_KEYS,
    REVIEW_KEYS,
    VINTAGES,
    category_list,
    clean_title,
    clean_urls,
    detect,
    encodable,
    parsed,
    picture_urls,
    vendor_pictures,
)

REJECT_REASONS = ("not_json", "not_an_object", "reviewer_missing", "asin_missing", "too_long")
TEXT_CHARACTERS = 500  # what rejects keep of a line
SNIFFED_LINES = 100  # looked at to tell the vintage


@dataclass(frozen=True)
class Progress:
    """Lines read so far; the total is not known before the end of the last file."""

    done: int
    note: str


@dataclass(frozen=True)
class ReviewsRead:
    """reviews (REVIEWS), rejects (REJECTS); reviews.num_rows + counts["repeated_across_files"] + rejects = lines."""

    reviews: pa.Table
    rejects: pa.Table
    lines: int
    counts: dict[str, int] = field(default_factory=dict)
    vintages: dict[str, str] = field(default_factory=dict)  # file -> vintage

    @property
    def accepted(self) -> int:
        """Lines that held a review, those met again in a further file included."""
        return self.reviews.num_rows + self.counts["repeated_across_files"]


@dataclass(frozen=True)
class ProductsRead:
    """products (PRODUCTS, garment_class null), rejects; products + counts["repeated_asin"] + rejects = lines."""

    products: pa.Table
    rejects: pa.Table
    lines: int
    counts: dict[str, int] = field(default_factory=dict)
    vintages: dict[str, str] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Lines that held a product, repeats of an asin included."""
        return self.products.num_rows + self.counts["repeated_asin"]


def read_reviews(
    paths: Sequence[Path], vintage: str = "auto", on_progress: Callable[[Progress], None] | None = None
) -> ReviewsRead:
    """All reviews of `paths`, in their order, each once however many files hold it.

    `vintage` overrides what looking at the file says: "auto", "2014", "2018" or "2023" (REFERENCE section 1).
    A missing or unusable rating or time is null. Raises BadInput for a file of unknown shape, without lines, or
    whose compressed data is cut short: then nothing of any file is returned.
    """
    reading = _Reading(vintage, "reviews", on_progress)
    seen, tables = None, []
    for path in paths:
        # Hashes of a file stay apart until its end: only then are the repeats inside it known.
        parts = list(reading.file(Path(path)))
        table = pa.concat_tables(parts)
        table = table.append_column("review_id", _review_ids(table["hash"]))
        if seen is not None:
            fresh = pc.invert(pc.is_in(table["review_id"], value_set=seen))
            reading.counts["repeated_across_files"] += table.num_rows - (pc.sum(fresh).as_py() or 0)
            table = table.filter(fresh)
        if len(paths) > 1:
            ids = table["review_id"].combine_chunks()
            seen = ids if seen is None else pa.concat_arrays([seen, ids])
        tables.append(table)
    table = pa.concat_tables(tables)
    reviews = pa.table([table[name] for name in schemas.REVIEWS.names], schema=schemas.REVIEWS)
    return ReviewsRead(reviews, reading.rejects(), reading.lines, dict(reading.counts), reading.vintages)


def read_products(
    paths: Sequence[Path], vintage: str = "auto", on_progress: Callable[[Progress], None] | None = None
) -> ProductsRead:
    """All products of `paths`; lines under one asin are one product: the first line's fields, the union of the URLs.

    Arguments and errors as in `read_reviews`. `garment_class` is left null (`categories.map_products` fills it).
    """
    reading = _Reading(vintage, "products", on_progress)
    products: dict[str, dict] = {}
    for path in paths:
        for part in reading.file(Path(path)):
            for row in part.to_pylist():
                first = products.setdefault(row["asin"], row)
                if first is not row:
                    reading.counts["repeated_asin"] += 1
                    for name in ("vendor_urls", "vendor_urls_high"):
                        first[name] = list(dict.fromkeys(first[name] + row[name]))
    rows = [{"garment_class": None, **row} for row in products.values()]
    table = pa.Table.from_pylist(rows, schema=schemas.PRODUCTS)
    return ProductsRead(table, reading.rejects(), reading.lines, dict(reading.counts), reading.vintages)


def _review_ids(hashes: pa.ChunkedArray) -> pa.Array:
    """Ids of one file's reviews from the uint64 hashes of their lines; repeats inside the file are told apart."""
    values = hashes.to_numpy()
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    new = np.ones(len(values), bool)
    new[1:] = ranked[1:] != ranked[:-1]
    starts = np.flatnonzero(new)
    occurrence = np.empty(len(values), np.int64)
    occurrence[order] = np.arange(len(values)) - starts[np.cumsum(new) - 1]
    # Big-endian bytes in hexadecimal, all rows in one call.
    text = values.astype(">u8").tobytes().hex()
    data = pa.array(np.frombuffer(text.encode(), "S16")).cast(pa.string())
    repeats = np.flatnonzero(occurrence)
    if not len(repeats):
        return data
    replaced = [f"{data[i].as_py()}-{occurrence[i]}" for i in repeats]
    return pc.replace_with_mask(data, pa.array(occurrence > 0), pa.array(replaced, pa.string()))


class _Reading:
    """One call's tally: lines, rejects, counts and vintages over all its files, and the parsing of a block."""

    def __init__(self, vintage: str, kind: str, on_progress: Callable[[Progress], None] | None) -> None:
        if vintage not in ("auto", *VINTAGES):
            raise ValueError(f"vintage: {vintage!r} is not one of auto, {', '.join(VINTAGES)}")
        self.vintage, self.kind, self.on_progress = vintage, kind, on_progress
        self.lines = 0
        self.counts: Counter[str] = Counter(
            dict.fromkeys(("repeated_across_files",) if kind == "reviews" else ("repeated_asin",), 0)
        )
        self.vintages: dict[str, str] = {}
        self._rejects: list[dict] = []
        self._duckdb = duckdb.connect()
        self._duckdb.execute("SET enable_progress_bar = false")

    def rejects(self) -> pa.Table:
        """REJECTS, in the order of the files and their lines."""
        return pa.Table.from_pylist(self._rejects, schema=schemas.REJECTS)

    def file(self, path: Path) -> Iterator[pa.Table]:
        """The accepted lines of `path`, a table a block (at least one, perhaps empty)."""
        before, vintage = self.lines, None
        for block in blocks(path):
            if vintage is None and not block.too_long:
                vintage = self._vintage(path, block)
                self.vintages[str(path)] = vintage
            yield self._parse(path, block, vintage or "2018")
            if self.on_progress:
                self.on_progress(Progress(self.lines, path.name))
        if self.lines == before:
            raise BadInput(f"{path}: the file holds no lines; fetch it again or take it out of the input")

    def _vintage(self, path: Path, block: Block) -> str:
        if self.vintage != "auto":
            return self.vintage
        heads = (block.data[a:b] for a, b in zip(block.starts[:-1], block.starts[1:], strict=True) if b - a < 1 << 20)
        lines = [text for _, text in zip(range(SNIFFED_LINES), filter(None, map(bytes.strip, heads)), strict=False)]
        return detect(path, [line.decode("utf-8", "replace") for line in lines], self.kind)

    def _parse(self, path: Path, block: Block, vintage: str) -> pa.Table:
        lines, read = self._frame(block), self._review_rows if self.kind == "reviews" else self._product_rows
        too_long = np.diff(block.starts) > MAX_LINE_BYTES if not block.too_long else np.array([True])
        if too_long.any():
            empty = pc.if_else(pa.array(too_long), pa.scalar("", lines.type), lines)
            table = read(empty, vintage)
        else:
            table = read(lines, vintage)
        rows, reasons = table["row"].to_numpy(), table["reason"]
        blank = np.asarray(pc.equal(reasons, "blank").fill_null(False)) & ~too_long[rows]
        bad = np.asarray(reasons.is_valid()) & ~blank
        for row in rows[bad]:
            start, end = block.starts[row], block.starts[row + 1]
            text = block.data[start : min(end, start + 4 * TEXT_CHARACTERS)].decode("utf-8", "replace").strip()
            reason = "too_long" if too_long[row] else reasons[int(row)].as_py()
            offset = None if block.offset is None else block.offset + int(start)
            place = {"file": str(path), "line": block.first_line + int(row), "offset": offset}
            self._rejects.append({**place, "reason": reason, "text": text[:TEXT_CHARACTERS]})
        self.lines += len(rows) - int(blank.sum())
        return table.filter(pc.is_null(reasons)).drop_columns(["row", "reason"])

    def _frame(self, block: Block) -> pa.Array:
        """The block's lines without surrounding white space, as one Arrow array."""
        starts, ends = stripped(block)
        # Lines and what lies between them, over the bytes as they are; then only the lines.
        offsets = np.stack([starts, ends], axis=1).reshape(-1)
        pieces = pa.Array.from_buffers(
            pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(block.data)]
        )
        lines = pieces.take(pa.array(np.arange(0, len(offsets) - 1, 2)))
        try:
            return lines.cast(pa.large_string())
        except pa.ArrowInvalid:  # some bytes are not UTF-8
            texts = [line.decode("utf-8", "replace") for line in lines.to_pylist()]
            self.counts["lines_not_utf8"] += sum("\ufffd" in text for text in texts)
            return pa.array(texts, pa.large_string())

    def _transform(self, lines: pa.Array, keys: dict[str, str], vintage: str) -> pa.Table:
        """Columns row, `keys` (a type each), hash (of the line) and reason, in order; see the module's outcomes."""
        # One plain projection: an expression over s inside a CASE or a filter would parse the line once more.
        columns = ", ".join(
            f's."{key}"{"::VARCHAR" if kind == "JSON" else ""} AS "{key}"' for key, kind in keys.items()
        )
        structure = json.dumps(keys).replace("'", "''")
        query = (
            f"SELECT row, {columns}, md5_number_upper(line) AS hash, s IS NULL AS unread"
            f" FROM (SELECT row, line, try(json_transform(text, '{structure}')) AS s FROM framed)"
        )
        rows = np.arange(len(lines))
        text = lines if vintage != "2014" or self.kind == "reviews" else _as_json(lines, keys)
        table = self._query(query, pa.table({"row": rows, "line": lines, "text": text}))
        again = np.flatnonzero(np.asarray(table["unread"]) & np.asarray(pc.not_equal(lines, "")))
        if len(again) and text is lines:
            tried = lines.take(pa.array(again))
            mended = self._query(query, pa.table({"row": again, "line": tried, "text": _as_json(tried, keys)}))
            table = pa.concat_tables([table.filter(pa.array(~np.isin(rows, again))), mended]).sort_by("row")
        conditions = pc.make_struct(pc.equal(lines, ""), table["unread"], pc.invert(pc.starts_with(lines, "{")))
        reason = pc.case_when(conditions, *map(pa.scalar, ("blank", "not_json", "not_an_object")))
        return table.drop_columns(["unread"]).append_column("reason", reason)

    def _query(self, query: str, framed: pa.Table) -> pa.Table:
        # Batches are DuckDB's unit of parallel scanning.
        framed = pa.Table.from_batches(framed.to_batches(max_chunksize=max(2048, len(framed) // 8 + 1)), framed.schema)
        self._duckdb.register("framed", framed)
        try:
            return self._duckdb.sql(query).to_arrow_table()
        finally:
            self._duckdb.unregister("framed")

    def _review_rows(self, lines: pa.Array, vintage: str) -> pa.Table:
        names = REVIEW_KEYS[vintage]
        types = {names["reviewer"]: "VARCHAR", names["asin"]: "VARCHAR", names["variant"]: "VARCHAR"}
        types |= {names["rating"]: "DOUBLE", names["time"]: "BIGINT", names["pictures"]: "JSON"}
        table = self._transform(lines, types, vintage)
        reviewer = _ids(table[names["reviewer"]])
        asin = pc.coalesce(_ids(table[names["asin"]]), _ids(table[names["variant"]]))
        rating = table[names["rating"]]
        rating = pc.if_else(pc.is_finite(rating), rating, None).cast(pa.float32(), safe=False)
        time = table[names["time"]]
        reason = pc.case_when(
            pc.make_struct(pc.is_valid(table["reason"]), pc.is_null(reviewer), pc.is_null(asin)),
            *(table["reason"], pa.scalar("reviewer_missing"), pa.scalar("asin_missing")),
        )
        read = pc.is_null(reason).combine_chunks()
        pictures = pc.if_else(read, table[names["pictures"]].combine_chunks(), None)
        return pa.table(
            {
                "row": table["row"],
                "reviewer_id": reviewer,
                "asin": asin,
                "rating": rating,
                "time": pc.divide(time, 1000) if vintage == "2023" else time,
                "image_urls": _lists(pictures, lambda text: clean_urls(picture_urls(parsed(text)), self.counts)),
                # DuckDB reads the digest little-endian; the bytes themselves are what hashlib shows.
                "hash": table["hash"].to_numpy().byteswap(),
                "reason": reason,
            }
        )

    def _product_rows(self, lines: pa.Array, vintage: str) -> pa.Table:
        types = dict.fromkeys(PRODUCT_KEYS, "JSON") | {"asin": "VARCHAR", "parent_asin": "VARCHAR"}
        table = self._transform(lines, types, vintage)
        asin = _ids(table["asin"])
        asin = pc.coalesce(_ids(table["parent_asin"]), asin) if vintage == "2023" else asin
        table = table.append_column("id", asin)
        rows = []
        for raw in table.to_pylist():
            reason = raw["reason"] or (None if raw["id"] else "asin_missing")
            row = {"row": raw["row"], "reason": reason, "asin": raw["id"]}
            if reason is None:
                value = {key: parsed(raw[key]) for key, kind in types.items() if kind == "JSON"}
                low, high = vendor_pictures(value)
                row["title"] = clean_title(value["title"])
                row["categories"] = list(dict.fromkeys(filter(None, map(clean_title, category_list(value)))))
                row["vendor_urls"] = clean_urls(low, self.counts)
                row["vendor_urls_high"] = clean_urls(high, self.counts)
            rows.append(row)
        wanted = [f for f in schemas.PRODUCTS if f.name != "garment_class"]
        nullable = [pa.field(f.name, f.type) for f in wanted]  # rejected rows leave below, in _parse
        return pa.Table.from_pylist(rows, schema=pa.schema([("row", pa.int64()), ("reason", pa.string()), *nullable]))


def _ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """`column` trimmed, null where the text is no id: blank, or the JSON of a list or an object."""
    text = pc.utf8_trim_whitespace(column)
    is_id = pc.and_(pc.not_equal(text, ""), pc.invert(pc.match_substring_regex(text, r"^[\[{]")))
    return pc.if_else(is_id, text, None)


def _as_json(lines: pa.Array, keys: dict[str, str]) -> pa.Array:
    """The wanted keys of each line as JSON where Python can read it (JSON or a literal), else the line itself."""

    def rewritten(line: str) -> str:
        value = parsed(line.strip(), literal=True)
        if not isinstance(value, dict):
            return line
        try:
            return encodable(json.dumps({k: value.get(k) for k in keys}, ensure_ascii=False, default=str))
        except (ValueError, RecursionError):
            return line

    return pa.array([rewritten(line) for line in lines.to_pylist()], lines.type)


def _lists(texts: pa.Array, read: Callable[[str], list[str]]) -> pa.Array:
    """`read` of every text that is not null, as a list column; few reviews have pictures, so only those are visited."""
    rows = np.flatnonzero(np.asarray(texts.is_valid()))
    lists = [read(text) for text in texts.take(pa.array(rows)).to_pylist()]
    lengths = np.zeros(len(texts), np.int64)
    lengths[rows] = [len(urls) for urls in lists]
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array([u for urls in lists for u in urls], pa.string()))


def line_hash(line: bytes) -> str:
    """The first part of a review's id, as `read_reviews` computes it: for provenance checks from outside."""
    return hashlib.md5(line.strip(), usedforsecurity=False).hexdigest()[:16]
