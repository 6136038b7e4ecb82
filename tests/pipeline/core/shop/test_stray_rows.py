"""Rows that an open quote swallowed and headers of joined files are rejects, or the file is refused."""

from collections import Counter

import pytest

from pipeline.core.errors import InputError
from pipeline.core.raw import tables
from pipeline.core.raw.ingest import read_reviews
from tests.pipeline.core.shop.tables import write

HEADER = "user_id,note,item_id,timestamp"
ROWS = [f"U{n % 7},fine thing,01{n:08d},{1_400_000_000 + n}" for n in range(40)]


def read(folder, *lines: str):
    return read_reviews([write(folder, "orders.csv", "\n".join(lines) + "\n")])


def reasons(found) -> Counter[str]:
    return Counter(found.rejects["reason"].to_pylist())


@pytest.mark.parametrize(
    ("opening", "closing", "swallowed"),
    [
        ('U1,"open,0100000001,1400000000', 'U2,"fine",0100000002,1400000000', 5),  # closed by a value with quotes
        ('U1,"open,0100000001,1400000000', 'U2,TV 32",0100000002,1400000000', 5),  # closed by inches
        ('"U1,open,0100000001,1400000000', 'U2,"fine",0100000002,1400000000', 5),  # another number of values
        ('U1,open,0100000001,"1400000000', 'U2,fine,0100000002,"1400000000"', 5),  # in the last column
        ('U1,"open,0100000001,1400000000', ROWS[14], 30),  # never
        ('U1,open,0100000001,"1400000000', ROWS[14], 30),
    ],
)
def test_every_line_that_an_open_quote_swallows_is_a_reject(tmp_path, opening, closing, swallowed):
    rows = [*ROWS[:10], opening, *ROWS[11:14], closing, *ROWS[15:]]
    found = read(tmp_path, HEADER, *rows)
    assert found.lines == 40
    assert reasons(found) == {"quote_not_closed": swallowed}
    assert found.reviews["asin"].to_pylist() == [f"01{n:08d}" for n in range(40) if not 0 <= n - 10 < swallowed]
    assert found.rejects["line"].to_pylist() == [12] * swallowed


def test_one_open_quote_that_swallows_the_next_row_alone_loses_nothing_silently(tmp_path):
    found = read(tmp_path, HEADER, *ROWS[:10], 'U1,"open,01,1400000000', 'U2,"fine",02,1400000000', *ROWS[12:])
    assert found.lines == 40
    assert reasons(found) == {"quote_not_closed": 2}


def test_a_quote_that_swallows_many_rows_and_then_closes_is_refused(tmp_path):
    rows = [*ROWS, 'U1,"open,01,1400000000', *ROWS * 3, 'U2,"fine",02,1400000000', *ROWS]
    with pytest.raises(InputError, match=r'row 42 or after it: a value opens with ".*quote = ""'):
        read(tmp_path, HEADER, *rows)


@pytest.mark.parametrize(
    "note",
    ["Great, really\ngood, warm, soft\n\nsaid so, twice, over", "one\ntwo", "a,b,c\nyes,so,it,is", "ends\n"],
)
def test_notes_of_several_lines_are_read(tmp_path, note):
    rows = [f'U{n},"{note}",01{n:08d},{1_400_000_000 + n}' for n in range(20)]
    found = read(tmp_path, HEADER, *rows)
    assert (found.lines, len(found.reviews)) == (20, 20)


def test_rows_after_swallowed_lines_keep_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_BYTES", 1_500)
    rows = [*ROWS, '"U1,open,01,1400000000', ROWS[0], '"U2",fine,02,1400000000', *ROWS, "U3,x,,1400000000"]
    found = read(tmp_path, HEADER, *rows)
    assert [(r["line"], r["reason"]) for r in found.rejects.to_pylist()] == [
        *[(42, "quote_not_closed")] * 3,
        (83, "asin_missing"),
    ]


def test_texts_that_begin_with_a_quotation_mark_are_rejects_of_that_reason(tmp_path):
    rows = [f'US\tU{n}\tB{n}\t"Great\tx "q" y\n' for n in range(5)]
    found = read_reviews([write(tmp_path, "o.tsv", "marketplace\tuser_id\titem_id\thead\tbody\n" + "".join(rows))])
    assert reasons(found) == {"quote_not_closed": 5}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_header_of_a_joined_file_is_no_review(tmp_path, mark):
    found = read(tmp_path, HEADER, *ROWS, mark + HEADER, *ROWS)
    assert reasons(found) == {"header_again": 1}
    assert found.rejects["line"].to_pylist() == [42]
    assert len(found.reviews) == 80


@pytest.mark.parametrize("header", ["item_id,note,user_id,timestamp", "asin,text,reviewer,time"])
def test_joined_files_with_other_columns_are_refused_with_the_row(tmp_path, header):
    with pytest.raises(InputError, match=r"row 42 has names of columns again.*split the file before that row"):
        read(tmp_path, HEADER, *ROWS, header, *ROWS)


def test_a_row_that_has_one_name_of_a_column_is_a_row(tmp_path):
    found = read(tmp_path, HEADER, *ROWS, "user_id,fine,B1,1400000000")
    assert len(found.reviews) == 41
