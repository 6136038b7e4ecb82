"""Raw review and product files to typed tables; every line is accepted or listed in `rejects` with its place.

One way in for all lines: `sources.blocks` frames them, DuckDB parses a block at once (a line it cannot parse is
tried once more in Python, which takes lone surrogates and Python literals), and nothing here drops a line silently.
Rows go to a Parquet file block by block, so that memory grows with the files by 8 bytes a line alone (`repeats.py`).
The vintages' shapes are in `vintages.py`. Filtering belongs to `kcore.py`, classes to `categories.py`.

Outcomes: blank lines are no lines (not counted, though they count in line numbers). Bytes that are not UTF-8 become
U+FFFD and the line is read (counted). A number as an id is taken as its text; null, blank, list and object are no id.

`review_id` is 16 hex digits of the XXH3-64 of the canonical line, which is the line as it stands in the file without
surrounding white space, followed by `-k` for its k-th repeat (k >= 1) within one file.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipeline.core import schemas
from pipeline.core.repeats import Repeats
from pipeline.core.sources import MAX_LINE_BYTES, BadInput, Block, Meter, blocks
from pipeline.core.tables import StoredTable, written
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
    """Lines read so far, and how far the files are read, in bytes as they lie on disk."""

    lines: int
    bytes: int
    bytes_total: int
    note: str


@dataclass(frozen=True)
class ReviewsRead:
    """The reviews and the rejects as files; reviews + counts["repeated_across_files"] + rejects = lines."""

    reviews_file: StoredTable  # REVIEWS
    rejects_file: StoredTable  # REJECTS
    lines: int
    counts: dict[str, int] = field(default_factory=dict)
    vintages: dict[str, str] = field(default_factory=dict)  # file -> vintage

    @cached_property
    def reviews(self) -> pa.Table:
        """REVIEWS, in memory."""
        return self.reviews_file.read()

    @cached_property
    def rejects(self) -> pa.Table:
        """REJECTS, in memory."""
        return self.rejects_file.read()

    @property
    def accepted(self) -> int:
        """Lines that held a review, those met again in a further file included."""
        return self.reviews_file.num_rows + self.counts["repeated_across_files"]


@dataclass(frozen=True)
class ProductsRead:
    """products (PRODUCTS, garment_class null), rejects; products + counts["repeated_asin"] + rejects = lines."""

    products: pa.Table
    rejects_file: StoredTable  # REJECTS
    lines: int
    counts: dict[str, int] = field(default_factory=dict)
    vintages: dict[str, str] = field(default_factory=dict)

    @cached_property
    def rejects(self) -> pa.Table:
        """REJECTS, in memory."""
        return self.rejects_file.read()

    @property
    def accepted(self) -> int:
        """Lines that held a product, repeats of an asin included."""
        return self.products.num_rows + self.counts["repeated_asin"]


def read_reviews(
    paths: Sequence[Path],
    vintage: str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    *,
    out: Path | None = None,
) -> ReviewsRead:
    """All reviews of `paths`, in their order, each once however many files hold it.

    `vintage` overrides what looking at the file says: "auto", "2014", "2018" or "2023" (REFERENCE section 1).
    A missing or unusable rating or time is null. `out` is the folder for the two files (None: a temporary one that
    goes with the result). Raises BadInput for a file of unknown shape, without lines, or whose compressed data is cut
    short: then nothing of any file is returned.
    """
    reading = _Reading(vintage, "reviews", on_progress)
    folder, repeats = _Folder(out), Repeats()
    with (
        written(folder.path / "reviews.parquet", schemas.REVIEWS, ("rating", "time")) as add,
        written(folder.path / "reviews-rejects.parquet", schemas.REJECTS) as reject,
    ):
        for path in reading.in_turn(paths):
            repeats.next_file()
            for accepted, rejects in reading.file(path):
                hashes = accepted["hash"].to_numpy()
                before, known = repeats.add(hashes)
                reviews = accepted.append_column("review_id", _review_ids(hashes, before))
                reading.counts["repeated_across_files"] += int(known.sum())
                add(reviews.filter(pa.array(~known)) if known.any() else reviews)
                reject(rejects)
    return ReviewsRead(
        folder.table("reviews", schemas.REVIEWS),
        folder.table("reviews-rejects", schemas.REJECTS),
        reading.lines,
        dict(reading.counts),
        reading.vintages,
    )


def read_products(
    paths: Sequence[Path],
    vintage: str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    *,
    out: Path | None = None,
) -> ProductsRead:
    """All products of `paths`; lines under one asin are one product: the first line's fields, the union of the URLs.

    Arguments and errors as in `read_reviews`. `garment_class` is left null (`categories.map_products` fills it).
    """
    reading, folder = _Reading(vintage, "products", on_progress), _Folder(out)
    products: dict[str, dict] = {}
    with written(folder.path / "products-rejects.parquet", schemas.REJECTS) as reject:
        for path in reading.in_turn(paths):
            for rows, rejects in reading.file(path):
                reject(rejects)
                for row in rows.to_pylist():
                    first = products.setdefault(row["asin"], row)
                    if first is not row:
                        reading.counts["repeated_asin"] += 1
                        for name in ("vendor_urls", "vendor_urls_high"):
                            first[name] = list(dict.fromkeys(first[name] + row[name]))
    rows = [{"garment_class": None, **row} for row in products.values()]
    table = pa.Table.from_pylist(rows, schema=schemas.PRODUCTS)
    rejected = folder.table("products-rejects", schemas.REJECTS)
    return ProductsRead(table, rejected, reading.lines, dict(reading.counts), reading.vintages)


def _review_ids(hashes: np.ndarray, before: np.ndarray) -> pa.Array:
    """Ids [n] from the hashes of the lines and how often each stood in its file before."""
    # Big-endian bytes in hexadecimal, all rows in one call.
    text = hashes.astype(">u8").tobytes().hex()
    offsets = pa.py_buffer(np.arange(0, len(text) + 1, 16, dtype=np.int32))
    ids = pa.Array.from_buffers(pa.string(), len(hashes), [None, offsets, pa.py_buffer(text.encode())])
    repeats = np.flatnonzero(before)
    if not len(repeats):
        return ids
    replaced = [f"{ids[i].as_py()}-{before[i]}" for i in repeats]
    return pc.replace_with_mask(ids, pa.array(before > 0), pa.array(replaced, pa.string()))


class _Folder:
    """Where a reading's files lie: the caller's folder, or a temporary one that lives as long as its tables."""

    def __init__(self, out: Path | None) -> None:
        self._owner = None if out else tempfile.TemporaryDirectory(prefix="atelier-")
        self.path = out or Path(self._owner.name if self._owner else "")

    def table(self, name: str, schema: pa.Schema) -> StoredTable:
        return StoredTable(self.path / f"{name}.parquet", schema, owner=self._owner)


class _Reading:
    """One call's tally: lines, counts and vintages over all its files, and the parsing of a block."""

    def __init__(self, vintage: str, kind: str, on_progress: Callable[[Progress], None] | None) -> None:
        if vintage not in ("auto", *VINTAGES):
            raise ValueError(f"vintage: {vintage!r} is not one of auto, {', '.join(VINTAGES)}")
        self.vintage, self.kind, self.on_progress = vintage, kind, on_progress
        self.lines = 0
        self.counts: Counter[str] = Counter(
            dict.fromkeys(("repeated_across_files",) if kind == "reviews" else ("repeated_asin",), 0)
        )
        self.vintages: dict[str, str] = {}
        self._bytes = self._total = 0  # on disk: of the files that are read, and of all
        self._duckdb = duckdb.connect()
        self._duckdb.execute("SET enable_progress_bar = false")

    def in_turn(self, paths: Sequence[Path]) -> Iterator[Path]:
        """`paths`, and how far they are read."""
        sizes = [Path(path).stat().st_size for path in paths]
        self._total = sum(sizes)
        for path, size in zip(paths, sizes, strict=True):
            yield Path(path)
            self._bytes += size

    def file(self, path: Path) -> Iterator[tuple[pa.Table, pa.Table]]:
        """(accepted lines, REJECTS) of `path`, a block at a time."""
        before, vintage, meter = self.lines, None, Meter()
        for block in blocks(path, meter=meter):
            if vintage is None and not block.too_long:
                vintage = self._vintage(path, block)
                self.vintages[str(path)] = vintage
            yield self._parse(path, block, vintage or "2018")
            if self.on_progress:
                self.on_progress(Progress(self.lines, self._bytes + meter.bytes, self._total, path.name))
        if self.lines == before:
            raise BadInput(f"{path}: the file holds no lines; fetch it again or take it out of the input")

    def _vintage(self, path: Path, block: Block) -> str:
        if self.vintage != "auto":
            return self.vintage
        heads = (block.data[a:b] for a, b in zip(block.starts[:-1], block.starts[1:], strict=True) if b - a < 1 << 20)
        lines = [text for _, text in zip(range(SNIFFED_LINES), filter(None, map(bytes.strip, heads)), strict=False)]
        return detect(path, [line.decode("utf-8", "replace") for line in lines], self.kind)

    def _parse(self, path: Path, block: Block, vintage: str) -> tuple[pa.Table, pa.Table]:
        """The accepted lines of a block (reviews: with `hash` of the line), and REJECTS of the others."""
        too_long = np.diff(block.starts) > MAX_LINE_BYTES if not block.too_long else np.array([True])
        lines = self._frame(block)
        if too_long.any():
            lines = pc.if_else(pa.array(too_long), pa.scalar("", lines.type), lines)
        table = self._review_rows(lines, vintage) if self.kind == "reviews" else self._product_rows(lines, vintage)
        bad = np.flatnonzero(np.asarray(pc.is_valid(table["reason"])))
        blank, rejected = 0, []
        for row in bad:
            start, end = int(block.starts[row]), int(block.starts[row + 1])
            reason = "too_long" if too_long[row] else table["reason"][int(row)].as_py()
            if reason == "blank":
                blank += 1
                continue
            text = block.data[start : min(end, start + 4 * TEXT_CHARACTERS)].decode("utf-8", "replace").strip()
            offset = None if block.offset is None else block.offset + start
            place = {"file": str(path), "line": block.first_line + int(row), "offset": offset}
            rejected.append({**place, "reason": reason, "text": text[:TEXT_CHARACTERS]})
        self.lines += table.num_rows - blank
        table = table.drop_columns(["reason"])
        if self.kind == "reviews":
            table = table.append_column("hash", pa.array(_hashes(block)))
        if len(bad):
            table = table.take(pa.array(np.delete(np.arange(table.num_rows), bad)))
        return table, pa.Table.from_pylist(rejected, schema=schemas.REJECTS)

    def _frame(self, block: Block) -> pa.Array:
        """The block's lines, newlines and all (white space means nothing to JSON), over its bytes as they are."""
        offsets, data = pa.py_buffer(block.starts), pa.py_buffer(block.data)
        if block.data.isascii():
            return pa.Array.from_buffers(pa.large_string(), len(block.starts) - 1, [None, offsets, data])
        lines = pa.Array.from_buffers(pa.large_binary(), len(block.starts) - 1, [None, offsets, data])
        try:
            return lines.cast(pa.large_string())
        except pa.ArrowInvalid:  # some bytes are not UTF-8
            texts = [line.decode("utf-8", "replace") for line in lines.to_pylist()]
            self.counts["lines_not_utf8"] += sum("\ufffd" in text for text in texts)
            return pa.array(texts, pa.large_string())

    def _transform(self, lines: pa.Array, keys: dict[str, str], vintage: str) -> pa.Table:
        """Columns `keys` (a type each) and reason (null where the line is an object), a row a line, in order."""
        # One plain projection: an expression over s inside a CASE or a filter would parse the line once more.
        columns = ", ".join(
            f's."{key}"{"::VARCHAR" if kind == "JSON" else ""} AS "{key}"' for key, kind in keys.items()
        )
        structure = json.dumps(keys).replace("'", "''")
        query = (
            f"SELECT {columns}, s IS NULL AS unread"
            f" FROM (SELECT try(json_transform(text, '{structure}')) AS s FROM framed)"
        )
        text = lines if vintage != "2014" or self.kind == "reviews" else _as_json(lines, keys)
        table = self._query(query, text).combine_chunks()
        unread = np.asarray(table["unread"])
        table = table.drop_columns(["unread"])
        # An object has at least an id; what has none, and what could not be read, is looked at one by one.
        named = [pc.is_valid(table[key]) for key, kind in keys.items() if kind == "VARCHAR"]
        odd = np.flatnonzero(unread | ~np.logical_or.reduce([np.asarray(column) for column in named]))
        if not len(odd):
            return table.append_column("reason", pa.nulls(table.num_rows, pa.string()))
        suspects = lines.take(pa.array(odd))
        stripped = [suspect.strip() for suspect in suspects.to_pylist()]
        if unread.any() and text is lines:
            again = unread[odd] & np.array([bool(suspect) for suspect in stripped])
            mended = self._query(query, _as_json(suspects.filter(pa.array(again)), keys))
            places = odd[again]
            unread[places] = np.asarray(mended["unread"])
            kept = pa.array(np.delete(np.arange(table.num_rows), places))
            whole = pa.concat_tables([table.take(kept), mended.drop_columns(["unread"])])
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
        return table.append_column("reason", pa.array(reasons, pa.string()))

    def _query(self, query: str, text: pa.Array) -> pa.Table:
        # Batches are DuckDB's unit of parallel scanning.
        framed = pa.table({"text": text})
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
                "reviewer_id": reviewer,
                "asin": asin,
                "rating": rating,
                "time": pc.divide(time, 1000) if vintage == "2023" else time,
                "image_urls": _lists(pictures, lambda text: clean_urls(picture_urls(parsed(text)), self.counts)),
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
            row = {"reason": reason, "asin": raw["id"]}
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
        return pa.Table.from_pylist(rows, schema=pa.schema([("reason", pa.string()), *nullable]))


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


def _hashes(block: Block) -> np.ndarray:
    """XXH3-64 [lines] uint64 of each line without surrounding white space."""
    data, hashed, start = block.data, [], 0
    for end in block.starts[1:].tolist():
        hashed.append(xxhash.xxh3_64_intdigest(data[start:end].strip()))
        start = end
    return np.array(hashed, np.uint64)


def line_hash(line: bytes) -> str:
    """The first part of a review's id, as `read_reviews` computes it: for provenance checks from outside."""
    return f"{xxhash.xxh3_64_intdigest(line.strip()):016x}"
