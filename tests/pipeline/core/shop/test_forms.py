"""A file is what its bytes say: tables of every form are read alike, and what is not read is named with a way out."""

import gzip

import pyarrow as pa
import pytest

from pipeline.core.errors import InputError
from pipeline.core.raw import forms, tables
from pipeline.core.raw.ingest import read_reviews
from tests.pipeline.core.shop import tables as written
from tests.pipeline.core.shop.tables import ORDERS, every_form, write, zipped


@pytest.mark.parametrize("name", every_form(ORDERS))
def test_every_form_of_a_table_is_read_alike(tmp_path, name):
    read = read_reviews([write(tmp_path, name, every_form(ORDERS)[name])])
    rows = [(row["reviewer_id"], row["asin"], row["time"]) for row in read.reviews.to_pylist()]
    assert rows == [("U1", "0108775015", 1537401600), ("U2", "0110065001", 1537488000)]
    assert read.lines == 2
    assert not len(read.rejects)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (zipped(**{"[Content_Types].xml": "x", "xl/workbook.xml": "x"}), "an Excel file (xlsx)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an Excel file (xls)"),
        (zipped(**{"META-INF/manifest.xml": "x", "content.xml": "x"}), "an OpenDocument spreadsheet"),
        (b"BZh91AY&SY\x00\x01\x02", "a bzip2 file"),
        (b"\xfd7zXZ\x00\x00\x04", "an xz file"),
        (b"7z\xbc\xaf\x27\x1c\x00", "a 7-Zip archive"),
        (bytes(257) + b"ustar\x00" + bytes(300), "a tar archive"),
        (gzip.compress(bytes(257) + b"ustar\x00" + bytes(300)), "a tar archive"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"SQLite format 3\x00" + bytes(100), "a SQLite database"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "a JPEG picture"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "a page or document with markup"),
        (zipped(**{"a.csv": "a,b\n", "b.csv": "a,b\n"}), "a zip of 2 files (a.csv, b.csv)"),
        (gzip.compress(gzip.compress(b"a,b\n1,2\n")), "compressed twice"),
        (bytes(range(256)) * 8, "neither text nor Parquet"),
        (b"1::1193::5::978300760\n1::661::3::978302109\n", 'separated by "::"'),
        (b"one line\nand another\n", "no one delimiter splits its lines"),
        (b"item_id," + b"a" * (1 << 18) + b"\n1,2\n", "its first line is longer than 262,144 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_read_is_refused_by_name_and_without_its_bytes(tmp_path, content, named):
    with pytest.raises(InputError) as told:
        read_reviews([write(tmp_path, "orders.csv", content)])
    assert named in str(told.value)
    assert all(letter >= " " or letter == "\n" for letter in str(told.value))
    assert "\ufffd" not in str(told.value)


def test_a_zip_that_grows_out_of_all_proportion_is_refused(tmp_path):
    bomb = zipped(**{"orders.csv": "user,item\n" + "a,b\n" * 20_000_000})
    with pytest.raises(InputError, match="more than a table does"):
        read_reviews([write(tmp_path, "orders.zip", bomb)])


def test_names_of_columns_that_look_like_magic_are_names(tmp_path):
    for name in ("PARENT_ASIN,USER_ID\nB1,A1\n", "ORCID,user_id,item\nx,A1,B1\n"):
        assert forms.form_of(write(tmp_path, "x.csv", name)).kind == forms.CSV


def test_damage_is_told_and_nothing_is_kept(tmp_path):
    whole = written.parquet(written.columns(ORDERS))
    packed = gzip.compress("".join(f"U{n},B{n * 7919}\n" for n in range(200_000)).encode())
    for name, content in (("a.parquet", whole[:-20]), ("b.csv.gz", packed[: len(packed) // 2])):
        with pytest.raises(InputError, match="cut short or damaged"):
            read_reviews([write(tmp_path, name, content)])


def test_rows_are_numbered_and_malformed_ones_are_kept_as_rejects(tmp_path):
    path = write(tmp_path, "orders.csv", 'user,item,note\nA,1,"two\nlines"\nB,2\n\nC,3,x\nD,4,x,y\n,5,x\nE,,x\n')
    read = read_reviews([path])
    assert read.reviews["reviewer_id"].to_pylist() == ["A", "C"]
    assert read.lines == 6
    rejects = [(r["line"], r["reason"], r["text"]) for r in read.rejects.to_pylist()]
    assert rejects == [
        (3, "too_few_values", "B,2"),
        (5, "too_many_values", "D,4,x,y"),
        (6, "reviewer_missing", ",5,x"),
        (7, "asin_missing", "E,,x"),
    ]


def test_rows_are_numbered_over_many_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_BYTES", 1_000)
    lines = [f"U{n},B{n}" if n % 7 else f"U{n}" for n in range(2, 5_000)]
    read = read_reviews([write(tmp_path, "orders.csv", "\n".join(["user,item", *lines]))])
    assert [r["line"] for r in read.rejects.to_pylist()] == [n for n in range(2, 5_000) if n % 7 == 0]
    assert read.reviews["asin"].to_pylist() == [f"B{n}" for n in range(2, 5_000) if n % 7]


def test_a_quote_that_is_never_closed_is_told_with_its_row_and_the_mend(tmp_path):
    rows = "".join(f"U{n},B{n}\n" for n in range(1_000))
    path = write(tmp_path, "orders.csv", f'user,item\n{rows}"U,B\n{rows}')
    with pytest.raises(InputError, match=r'row 1,002 or after it: a value opens with ".*quote = ""'):
        read_reviews([path])


def test_texts_of_windows_among_utf8_are_read_and_counted(tmp_path):
    read = read_reviews([write(tmp_path, "orders.csv", b"user,item\nJos\xe9,1\nZo\xc3\xab,2\n")])
    assert read.reviews["reviewer_id"].to_pylist() == ["José", "Zoë"]
    assert read.counts["values_not_utf8"] == 1


def test_typed_columns_of_parquet_are_read_as_what_they_say(tmp_path):
    table = pa.table(
        {
            "user_id": pa.array([1, 2, None], pa.int64()),
            "item_id": pa.array(["a", "b", "a"]).dictionary_encode(),
            "timestamp": pa.array([1_600_000_000_000_000, None, 0], pa.timestamp("us")),
            "rating": pa.array([4.5, 5, 1], pa.float32()),
            "images": [["http://x.example/1.jpg"], [], None],
        }
    )
    read = read_reviews([write(tmp_path, "orders.parquet", written.parquet(table))])
    assert [tuple(row.values())[:5] for row in read.reviews.to_pylist()] == [
        ("1", "a", 4.5, 1_600_000_000, ["http://x.example/1.jpg"]),
        ("2", "b", 5.0, None, []),
    ]
    assert [r["reason"] for r in read.rejects.to_pylist()] == ["reviewer_missing"]


def test_hives_partitions_are_columns_and_are_found_below_a_folder(tmp_path):
    from pipeline.core.raw.sources import resolve

    table = pa.table({"user": ["A"], "item": ["B"]})
    for day in ("2020-01-02", "2020-01-01"):
        write(tmp_path, f"date={day}/part-0.parquet", written.parquet(table))
    write(tmp_path, "date=2020-01-01/_SUCCESS.parquet", b"x")
    read = read_reviews(resolve(str(tmp_path)))
    assert read.reviews["time"].to_pylist() == [1577836800, 1577923200]


def test_lines_before_the_first_row_count_in_the_numbers_of_rows(tmp_path):
    read = read_reviews([write(tmp_path, "orders.csv", "\n\nuser,item\na,1\nb\nc,2\n,3\n")])
    assert [(r["line"], r["reason"]) for r in read.rejects.to_pylist()] == [
        (5, "too_few_values"),
        (7, "reviewer_missing"),
    ]


@pytest.mark.parametrize("value", ["4.05111E+12", '"4,05111E+12"', "4e+12"])
def test_ids_that_a_spreadsheet_rounded_are_rejects(tmp_path, value):
    read = read_reviews([write(tmp_path, "orders.csv", f"user,item\nU1,{value}\nU2,4051108775000\nU3,B+C\n")])
    assert read.rejects["reason"].to_pylist() == ["id_rounded"]
    assert read.reviews["asin"].to_pylist() == ["4051108775000", "B+C"]


def test_float32_ids_too_long_for_it_are_rejects(tmp_path):
    table = pa.table(
        {"user": ["a", "b", "c"], "item": pa.array([16_777_216.0, 4_051_108_775_000.0, None], pa.float32())}
    )
    read = read_reviews([write(tmp_path, "orders.parquet", written.parquet(table))])
    assert read.rejects["reason"].to_pylist() == ["id_rounded", "asin_missing"]
    assert read.reviews["asin"].to_pylist() == ["16777216"]


@pytest.mark.parametrize("value", ['="0108775015"', '"=""0108775015"""'])
def test_ids_that_excel_keeps_as_text_lose_its_form(tmp_path, value):
    read = read_reviews([write(tmp_path, "orders.csv", f"user,item\nU1,{value}\nU2,a=b\n")])
    assert read.reviews["asin"].to_pylist() == ["0108775015", "a=b"]


def test_float_ids_are_spelt_alike_in_every_block(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 2)
    ids = [4_051_108_775_000.0, 5.0, float("nan"), 4_051_108_775_000.0, 1.5, 5.0]
    table = pa.table({"user": list("abcdef"), "item": pa.array(ids)})
    read = read_reviews([write(tmp_path, "orders.parquet", written.parquet(table))])
    assert read.reviews["asin"].to_pylist() == ["4051108775000", "5", "4051108775000", "1.5", "5"]


@pytest.mark.parametrize(
    "column",
    [pa.array([1.5, None, 2], pa.float16()), pa.array([1, None, 3], pa.decimal128(5, 2)).cast(pa.decimal256(60, 2))],
    ids=["float16", "decimal256"],
)
def test_columns_of_types_that_duckdb_does_not_know_are_part_of_a_rows_name(tmp_path, column):
    table = pa.table({"user": ["a", "a", "a"], "item": ["b", "b", "b"], "more": column})
    found = [
        read_reviews([write(tmp_path, "orders.parquet", written.parquet(table))]).reviews["review_id"].to_pylist()
        for _ in range(2)
    ]
    assert len(set(found[0])) == 3
    assert found[0] == found[1]
    named = read_reviews(
        [write(tmp_path, "orders.parquet", written.parquet(table.rename_columns(["user", "note", "item"])))]
    )
    assert named.reviews["asin"].to_pylist()[0] == ("1.5" if pa.types.is_float16(column.type) else "1")


LINE = '{"overall": 5.0, "reviewerID": "U0", "asin": "B1", "unixReviewTime": 1400000000}'


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (f"2020-01-01 INFO {LINE}", "a text before its JSON ('2020-01-01 INFO '"),
        (f"0\t{LINE}", "a text before its JSON"),
        ('"' + LINE.replace('"', '""') + '"', "JSON as a text in quotes"),
        ('"' + LINE.replace('"', '\\"') + '"', "JSON as a text in quotes"),
    ],
)
def test_json_inside_of_other_text_is_refused_by_name(tmp_path, line, named):
    with pytest.raises(InputError) as told:
        read_reviews([write(tmp_path, "reviews.json", f"{line}\n" * 9)])
    assert named in str(told.value)


def test_a_script_that_exports_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="a script"):
        read_reviews([write(tmp_path, "reviews.js", f"export default [\n{LINE},\n{LINE}];")])


def test_json_in_a_column_of_a_table_is_a_value(tmp_path):
    quoted = '"' + LINE.replace('"', '""') + '"'
    for header, row in (("user\titem\tmore", f"a\tb\t{LINE}"), ("more,user,item", f"{quoted},a,b")):
        read = read_reviews([write(tmp_path, "orders.csv", f"{header}\n{row}\n")])
        assert read.reviews["asin"].to_pylist() == ["b"]
