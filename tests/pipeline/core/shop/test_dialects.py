"""The beginning of a CSV file shows how it is written: the delimiter by the names; what is unclear is refused."""

import pytest

from pipeline.core.errors import InputError
from pipeline.core.raw.dialects import Dialect
from pipeline.core.raw.ingest import read_reviews
from pipeline.core.raw.shop_tables import ShopTable
from pipeline.core.raw.tables import TableFile
from pipeline.core.shop.layouts import KNOWN
from pipeline.core.shop.mapping import InteractionColumns, Shop
from tests.pipeline.core.shop.tables import write


def dialect(folder, content: str, given: InteractionColumns | None = None) -> Dialect:
    found = TableFile(write(folder, "orders.csv", content), None, given, KNOWN).dialect
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("header", "row", "delimiter"),
    [
        ("item_id,title,category,image", "B{},Shirt,Clothing > Women > Tops > Shirts,a.jpg", ","),
        ("item_id,title,image", "B{},Shirt,a.jpg|b.jpg|c.jpg|d.jpg", ","),
        ("user_id,item_id,created_at", "U{},B1,Wed Oct 10 20:19:24 +0000 2018", ","),
        ("user_id;item_id;address", "U{};B1;Weg 3, 53111 Bonn, NRW, DE, EU", ";"),
        ("user_id\titem_id\tprice", "U{}\tB1\t19,90 - 29,90", "\t"),
        ("wer,was,weg", "U{},B1,one > two > three > four", ","),
        ("user id,item id,time", "U{},B1,x y z u v w", ","),
        ("user_id item_id time", "U{} B1 1400000000", " "),
    ],
)
def test_the_delimiter_is_that_of_the_headers_names(tmp_path, header, row, delimiter):
    found = dialect(tmp_path, "\n".join([header, *(row.format(n) for n in range(30))]))
    assert found.delimiter == delimiter
    assert len(found.names) == header.count(delimiter) + 1


def test_names_in_shop_toml_count_for_the_delimiter(tmp_path):
    rows = "".join(f"{n};B{n};a,b,c,d,e\n" for n in range(30))
    given = InteractionColumns(user="was", item="weg")
    found = dialect(tmp_path, f"wer (Kunde, Gast);was;weg\n{rows}", given)
    assert found.delimiter == ";"


def test_a_message_about_a_missing_column_names_the_delimiter(tmp_path):
    with pytest.raises(InputError, match=r"no column is known as the user.*separated at ';'.*delimiter = "):
        ShopTable(write(tmp_path, "o.csv", "wer;was\na;b\n"), "reviews", None)
    with pytest.raises(InputError, match=r"no such column.*separated at ';'"):
        ShopTable(tmp_path / "o.csv", "reviews", Shop(interactions=InteractionColumns(user="a")))


@pytest.mark.parametrize("delimiter", [",", " "])
def test_a_header_without_the_name_of_one_column_is_refused(tmp_path, delimiter):
    rows = [["user_id", "item_id", "timestamp"], *([f"{n}", f"U{n}", f"B{n}", "1400000000"] for n in range(9))]
    with pytest.raises(InputError, match=r"3 names .* for 4 values.*write.csv\(\.\.\., row.names = FALSE\)"):
        dialect(tmp_path, "\n".join(map(delimiter.join, rows)))


def test_a_delimiter_at_the_end_of_rows_is_an_empty_column(tmp_path):
    assert dialect(tmp_path, "user,item\nU1,B1,\nU2,B2,\n").names == ("user", "item", "3")


@pytest.mark.parametrize(
    ("first", "row"),
    [("# exported 2021\n# by the shop, daily\n", 4), ("\n# one\n\n", 5), ("", 2)],
)
def test_comments_before_a_known_header_are_passed_and_counted(tmp_path, first, row):
    read = read_reviews([write(tmp_path, "orders.csv", f"{first}user_id,item_id,note\n,B1,x\nU2,B2,y\n")])
    assert [r["line"] for r in read.rejects.to_pylist()] == [row]
    assert read.reviews["reviewer_id"].to_pylist() == ["U2"]


def test_a_header_or_values_that_begin_with_a_hash_are_no_comments(tmp_path):
    assert dialect(tmp_path, "#user_id,item_id\nU1,B1\n").names == ("#user_id", "item_id")
    assert dialect(tmp_path, "#12,B1\n#13,B2\nU3,B3\n").skipped == 0


def test_a_small_file_with_padding_of_nul_is_read(tmp_path):
    read = read_reviews([write(tmp_path, "orders.csv", b"user_id,item_id\nU1,B1\n" + bytes(4096))])
    assert (read.lines, len(read.reviews)) == (1, 1)


def test_several_columns_of_a_name_that_is_used_are_asked_about(tmp_path):
    path = write(tmp_path, "orders.csv", "user,item,item\nU1,B1,C1\n")
    with pytest.raises(InputError, match=r'several columns have the name item.*item = "item" or "item#2"'):
        read_reviews([path])
    toml = write(tmp_path, "shop.toml", '[interactions]\nitem = "item#2"\n')
    assert read_reviews([path], shop=Shop.of(toml)).reviews["asin"].to_pylist() == ["C1"]
    ShopTable(write(tmp_path, "p.csv", "user,item,note,note\nU1,B1,x,y\n"), "reviews", None)  # not used
