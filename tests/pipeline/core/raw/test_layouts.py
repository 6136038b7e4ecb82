"""JSON of any layout gives the rows of plain JSON lines, or is refused by its name with a mend; never a part alone."""

import gzip
import json
import pprint
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.raw import framing, ingest

REVIEWS = [
    {"reviewerID": "A1", "asin": "B1", "overall": 4.0, "unixReviewTime": 1400000000, "image": ["http://h/1.jpg"]},
    {"reviewerID": "A2", "asin": "B2", "overall": 5.0, "unixReviewTime": 1400000001, "style": {"Size:": " M {x}"}},
    {"reviewerID": "A3", "asin": "B3", "overall": 1.0, "unixReviewTime": 1400000002, "reviewText": 'café "}{" [,]'},
    {"reviewerID": "A4", "asin": "B4", "overall": None, "unixReviewTime": 1400000003, "reviewText": "it's {fine},"},
]
PRODUCTS = [
    {"asin": "B1", "title": "Café {shirt}", "category": ["Clothing", "Men"], "imageURL": ["http://h/1.jpg"]},
    {"asin": "B2", "title": "It's a top", "category": ["Clothing"], "imageURL": [], "related": {"also_bought": ["B1"]}},
    {"asin": "B3", "title": 'A "dress"', "category": [], "imageURL": ["http://h/2.jpg", "http://h/3.jpg"]},
]
ROWS = {"reviews": REVIEWS, "products": PRODUCTS}


def lines(rows: list[dict], end: str = "\n", ascii_only: bool = True) -> str:
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + end for row in rows)


MARK = "\ufeff"
LAYOUTS = {
    "pretty-printed": lambda rows: "\n".join(json.dumps(row, indent=2) for row in rows),
    "pretty-printed without indentation": lambda rows: "\n".join(json.dumps(row, indent=0) for row in rows),
    "pretty-printed with CRLF": lambda rows: "\n".join(json.dumps(row, indent=4) for row in rows).replace("\n", "\r\n"),
    "pretty-printed with commas": lambda rows: ",\n".join(json.dumps(row, indent="\t") for row in rows) + ",\n",
    "pretty-printed, then lines": lambda rows: json.dumps(rows[0], indent=2) + "\n" + lines(rows[1:]),
    "lines, then pretty-printed": lambda rows: lines(rows[:2]) + "\n".join(json.dumps(r, indent=2) for r in rows[2:]),
    "no newline between": lambda rows: lines(rows, ""),
    "blanks between": lambda rows: lines(rows, " "),
    "commas between": lambda rows: lines(rows, ", "),
    "a comma after every line": lambda rows: lines(rows, ",\n"),
    "a comma after every line but the last": lambda rows: lines(rows, ",\n").removesuffix(",\n"),
    "a comma after every line, CRLF": lambda rows: lines(rows, " ,\r\n"),
    "carriage returns alone": lambda rows: lines(rows, "\r"),
    "carriage returns doubled": lambda rows: lines(rows, "\r\r\n"),
    "an array with a last comma": lambda rows: "[\n" + lines(rows, ",\n") + "]\n",
    "an array after a mark": lambda rows: MARK + json.dumps(rows),
    "an array before NULs": lambda rows: json.dumps(rows) + "\0" * 100,
    "an indented array with CRLF": lambda rows: json.dumps(rows, indent=2).replace("\n", "\r\n"),
    "in an envelope": lambda rows: json.dumps({"reviews": rows}),
    "in an envelope with other fields": lambda rows: json.dumps(
        {"count": 3, "links": [{"rel": "next"}], "page": {"n": 1, "of": [1]}, "items": rows, "next": None, "tags": []}
    ),
    "in an indented envelope": lambda rows: json.dumps({"ok": True, "products": rows, "end": "]}"}, indent=2),
    "in an envelope of any name": lambda rows: json.dumps({"zeilen": rows}),
    "in an envelope with a last comma": lambda rows: '{"data": [' + lines(rows, ",") + '], "n": 1}',
    "one level down": lambda rows: json.dumps({"status": 200, "data": {"cursor": "x", "reviews": rows}, "took": 3}),
    "pandas' orient='table'": lambda rows: json.dumps({"schema": {"fields": [{"name": "asin"}]}, "data": rows}),
    "pages": lambda rows: json.dumps({"data": rows[:1]}) + "\n" + json.dumps({"data": rows[1:]}) + "\n",
    "pages on one line": lambda rows: json.dumps({"data": rows[:2]}) + json.dumps({"data": rows[2:], "last": True}),
    "Python literals": lambda rows: "\n".join(map(repr, rows)),
    "Python literals after a mark": lambda rows: MARK + "".join(f"{row!r},\n" for row in rows),
    "lines, then Python literals": lambda rows: lines(rows[:1]) + "\n".join(map(repr, rows[1:])),
    "a mark": lambda rows: MARK + lines(rows, ascii_only=False),
    "two marks": lambda rows: MARK * 2 + lines(rows),
    "a mark before every line": lambda rows: lines(rows, "\n" + MARK),
    "a mark where files were joined": lambda rows: lines(rows[:1]) + MARK + lines(rows[1:]),
    "joined without the newline": lambda rows: lines(rows[:2]).rstrip() + lines(rows[2:]),
    "joined without the newline, a mark": lambda rows: lines(rows[:2]).rstrip() + MARK + lines(rows[2:]),
    "joined twice without the newline": lambda rows: lines(rows[:1]) + lines(rows[1:], "").rstrip(),
    "NULs at the end": lambda rows: lines(rows) + "\0" * 5000,
    "NULs between": lambda rows: lines(rows, "\n\0\0\0\n"),
    "NULs before lines": lambda rows: "\0\0\0" + lines(rows, "\n\0\0"),
    "NULs after lines": lambda rows: lines(rows, "\0\0\n"),
    "RFC 7464": lambda rows: "".join("\x1e" + line + "\n" for line in lines(rows).splitlines()),
    "blank lines first": lambda rows: "\n \r\n\n" + lines(rows),
    "blanks around every line": lambda rows: "".join(f"  {line} \t\n" for line in lines(rows).splitlines()),
}  # fmt: skip


def read(path: Path, kind: str):
    """Return the rows without their ids, and the found rejects."""
    found = (ingest.read_reviews if kind == "reviews" else ingest.read_products)([path])
    table = found.reviews.drop_columns("review_id") if kind == "reviews" else found.products
    assert found.accepted + found.rejects.num_rows == found.lines
    return table.to_pylist(), [(row["line"], row["reason"]) for row in found.rejects.to_pylist()]


def stored(path: Path, text: str | bytes) -> Path:
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("kind", list(ROWS))
@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize(("name", "block"), [("odd.json", 97), ("odd.json.gz", framing.BLOCK_BYTES)])
def test_every_layout_gives_the_rows_of_lines(tmp_path, monkeypatch, kind: str, layout: str, name: str, block: int):
    plain = read(stored(tmp_path / "plain.jsonl", lines(ROWS[kind])), kind)
    assert len(plain[0]) == len(ROWS[kind]) and not plain[1]
    original = framing.blocks
    monkeypatch.setattr("pipeline.core.raw.parts.blocks", lambda path, meter: original(path, block, meter))
    assert read(stored(tmp_path / name, LAYOUTS[layout](ROWS[kind])), kind) == plain


@pytest.mark.parametrize("layout", ["a mark", "pretty-printed", "an array with a last comma", "in an envelope"])
@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"]
)
@pytest.mark.parametrize(("name", "block"), [("odd.json", 1), ("odd.json.gz", framing.BLOCK_BYTES)])
def test_every_encoding_gives_the_rows_of_utf8(tmp_path, monkeypatch, layout, encoding, name, block):
    plain = read(stored(tmp_path / "plain.jsonl", lines(REVIEWS)), "reviews")
    original = framing.blocks
    monkeypatch.setattr("pipeline.core.raw.parts.blocks", lambda path, meter: original(path, block, meter))
    text = LAYOUTS[layout](REVIEWS).removeprefix(MARK)
    assert read(stored(tmp_path / name, text.encode(encoding)), "reviews") == plain


def test_one_object_alone_is_a_row_however_it_is_laid_out(tmp_path):
    for text in (json.dumps(REVIEWS[0]), json.dumps(REVIEWS[0], indent=2), json.dumps(REVIEWS[:1]), repr(REVIEWS[0])):
        rows, rejects = read(stored(tmp_path / "x.json", text), "reviews")
        assert [row["asin"] for row in rows] == ["B1"] and not rejects


def test_a_review_has_one_id_in_every_layout_that_keeps_its_text(tmp_path):
    names = ("no newline between", "a comma after every line", "in an envelope", "a mark before every line",
             "pretty-printed", "joined without the newline, a mark", "NULs after lines")  # fmt: skip
    paths = [stored(tmp_path / f"{n}.json", LAYOUTS[name](REVIEWS)) for n, name in enumerate(names)]
    found = ingest.read_reviews(paths)
    assert found.reviews.num_rows == len(REVIEWS)
    assert found.counts["repeated_across_files"] == (len(names) - 1) * len(REVIEWS)


RECENT = {"user_id": "C1", "parent_asin": "D1", "asin": "D1-red", "rating": 3.0, "timestamp": 1588615855070,
          "images": [{"small_image_url": "http://h/s"}], "videos": [{"url": "http://h/v", "user_id": ""}]}  # fmt: skip
META = {"title": "Top", "images": [{"thumb": "http://h/t", "large": "http://h/l"}],
        "videos": [{"title": "x", "url": "http://h/v", "user_id": "u"}], "parent_asin": "D1"}  # fmt: skip


def test_lists_of_objects_in_a_row_are_no_envelope(tmp_path):
    for rows in ([RECENT], [RECENT, {**RECENT, "user_id": "C2"}]):
        for text in (lines(rows), "\n".join(json.dumps(row, indent=2) for row in rows)):
            found, _ = read(stored(tmp_path / "r.jsonl", text), "reviews")
            assert [row["reviewer_id"] for row in found] == [row["user_id"] for row in rows]
            assert found[0]["image_urls"] == ["http://h/s"] and found[0]["time"] == 1588615855
    (product,), _ = read(stored(tmp_path / "p.jsonl", lines([META])), "products")
    assert (product["asin"], product["vendor_urls_high"]) == ("D1", ["http://h/l"])


def as_columns(rows: list[dict]) -> dict:
    return {key: {str(n): row.get(key) for n, row in enumerate(rows)} for key in rows[0]}


OLD_ROWS = [{"asin": f"B{n}", "reviewerID": f"A{n}", "overall": 5.0} for n in range(3)]
REFUSED = {
    "columns": (json.dumps(as_columns(OLD_ROWS)), r"object of columns.*could be read.*orient=\"records\", lines=True"),
    "indented columns": (json.dumps(as_columns(OLD_ROWS), indent=2), "object of columns"),
    "columns of other names": (json.dumps({"a": {"0": 1, "1": 2}, "b": {"0": 3, "1": 4}}), "object of columns"),
    "many columns": (json.dumps(as_columns(OLD_ROWS * 40_000)), "object of columns"),
    "lists of columns": (json.dumps({"asin": ["B1", "B2"], "overall": [1, 2]}), "object of columns, each a list"),
    "rows by number": (json.dumps({str(n): row for n, row in enumerate(OLD_ROWS)}), "rows by their number"),
    "rows by id": (json.dumps({row["asin"]: row for row in OLD_ROWS}), "rows by their number or id"),
    "split": (json.dumps({"columns": ["asin"], "index": [0], "data": [["B1"]]}), "orient='split'.*records"),
    "an array of arrays": ('[["A1", "B1", 5.0], ["A2", "B1", 4.0]]', "array of arrays.*no names.*records"),
    "an array of arrays over lines": ('[\n  ["A1", "B1", 5.0],\n  ["A2", "B1", 4.0]\n]', "array of arrays"),
    "JSONP": ("callback([" + json.dumps(OLD_ROWS[0]) + "]);", "JSONP"),
    "a script": ("var reviews = [" + json.dumps(OLD_ROWS[0]) + "];", "script"),
    "a Python list": (repr(OLD_ROWS), "Python list.*JSON lines"),
    "a pretty Python list": (pprint.pformat(OLD_ROWS * 5), "Python list.*JSON lines"),
    "a truncated array": (json.dumps(OLD_ROWS)[:-5], "at element 3 .*JSON lines"),
    "a truncated envelope": (json.dumps({"reviews": OLD_ROWS})[:-5], "at element 3 .*JSON lines"),
    "an envelope without its end": (json.dumps({"reviews": OLD_ROWS})[:-1], "after the last of its 3 rows"),
    "an envelope and something": (json.dumps({"reviews": OLD_ROWS}) + "\n{}\n", "without a list of rows: '{}'"),
    "two lists": (json.dumps({"reviews": OLD_ROWS, "products": OLD_ROWS}), "several lists of rows .*'products'"),
    "two lists, one deeper": (json.dumps({"a": {"b": OLD_ROWS}, "c": {"d": OLD_ROWS}}), "several lists .*'d'"),
    "two arrays": (json.dumps(OLD_ROWS) + json.dumps(OLD_ROWS), "something follows its closing bracket"),
    "an array and a bracket": (json.dumps(OLD_ROWS) + "]", "something follows its closing bracket"),
    "a wrapping too deep": (json.dumps({"data": {"page": {"reviews": OLD_ROWS}}}), "wrapped in 'data'"),
    "one damaged object over lines": ('{\n  "asin": "B1",\n  "overall": ', "several lines.*one object a line"),
    "an empty array": ("[]", "holds no lines"),
    "an empty array over lines": ("[\n]\n", "holds no lines"),
    "nothing but blanks": (" \n\r\n\ufeff\n\0\0", "holds no lines"),
    "lists a line": ("[1, 2]\n[3, 4]\n", "list have no names"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
@pytest.mark.parametrize("kind", list(ROWS))
def test_a_layout_that_cannot_be_read_is_refused_by_name_with_a_mend(tmp_path, name: str, kind: str):
    text, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        read(stored(tmp_path / "x.json", text), kind)


def test_damage_between_pretty_objects_costs_no_other_row_and_rejects_name_its_line(tmp_path):
    pretty = [json.dumps(row, indent=2) for row in REVIEWS]
    text = "\n".join([pretty[0], pretty[1].replace('"asin"', "asin"), "junk", pretty[2], "[1, 2]", pretty[3][:-9]])
    rows, rejects = read(stored(tmp_path / "x.json", text), "reviews")
    assert [row["asin"] for row in rows] == ["B1", "B3"]
    starts = [
        1 + text[: text.index(part)].count("\n") for part in ('{\n  "reviewerID": "A2"', '{\n  "reviewerID": "A4"')
    ]
    assert rejects[0] == (starts[0], "not_json") and rejects[-1] == (starts[-1], "not_json")


def test_rejects_of_joined_lines_name_line_and_offset(tmp_path):
    bad = '{"asin": "B9"}'
    text = lines(REVIEWS[2:3]) + lines(REVIEWS[:1]).rstrip() + bad + lines(REVIEWS[1:2]) + "{cut\n"
    path = stored(tmp_path / "x.jsonl", text)
    found = ingest.read_reviews([path])
    assert found.reviews["asin"].to_pylist() == ["B3", "B1", "B2"] and found.lines == 5
    places = [(row["line"], row["offset"], row["reason"]) for row in found.rejects.to_pylist()]
    assert places == [(2, text.index(bad), "reviewer_missing"), (3, text.index("{cut"), "not_json")]


def test_a_last_object_cut_short_is_a_reject_and_the_joined_ones_before_it_are_read(tmp_path):
    text = lines(REVIEWS[:3], "") + json.dumps(REVIEWS[3])[:30]
    assert [row["asin"] for row in read(stored(tmp_path / "x.json", text), "reviews")[0]] == ["B1", "B2", "B3"]
    assert read(stored(tmp_path / "x.json", text), "reviews")[1] == [(1, "not_json")]
    joined = lines(REVIEWS[:1]) + lines(REVIEWS[1:3], "") + json.dumps(REVIEWS[3])[:30]
    assert read(stored(tmp_path / "y.json", joined), "reviews")[1] == [(2, "not_json")]


def test_not_a_number_and_infinity_are_read_in_every_layout(tmp_path):
    odd = '{"reviewerID": "A9", "asin": "B9", "overall": NaN, "n": -Infinity}'
    for text in (odd + "\n", odd + odd, "[" + odd + "]", odd.replace(", ", ",\n "), '{"reviews": [' + odd + "]}"):
        rows, rejects = read(stored(tmp_path / "x.json", text), "reviews")
        assert {(row["asin"], row["rating"]) for row in rows} == {("B9", None)} and not rejects


def test_an_envelope_or_documents_need_no_more_memory_when_longer(tmp_path):
    import tracemalloc

    def peak(kind: str, count: int) -> int:
        path, row = tmp_path / f"{kind}-{count}.json", json.dumps({"asin": "B1", "reviewText": "x" * 200})
        rows = ",".join([row] * count)
        path.write_text(
            '{"n": 1, "reviews": [' + rows + '], "end": 1}'
            if kind == "envelope"
            else ("," + rows).replace(",{", "\n{\n")
        )
        tracemalloc.start()
        assert sum(len(part.starts) - 1 for part in framing.blocks(path, 1 << 16)) == count
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    for kind in ("envelope", "documents"):
        assert peak(kind, 14_000) < peak(kind, 6_000) + 500_000, "both are beyond what is looked at"
