"""The encoding that shop.toml names is used everywhere, and refused where the bytes contradict it."""

import pytest

from pipeline.core.errors import InputError
from pipeline.core.raw.ingest import read_reviews
from pipeline.core.raw.shop_tables import Variants, recognised
from pipeline.core.shop.mapping import Shop
from pipeline.inspection.causes import warnings
from pipeline.inspection.measuring import measure
from tests.pipeline.core.shop.tables import write

CYRILLIC = "пользователь,товар\nПётр,шляпа\n"


def shop(folder, encoding: str, more: str = "") -> Shop:
    return Shop.of(write(folder, "shop.toml", f'[interactions]\nencoding = "{encoding}"\n{more}'))


def test_names_and_values_are_read_in_the_encoding_of_shop_toml(tmp_path):
    path = write(tmp_path, "orders.csv", CYRILLIC.encode("cp1251"))
    given = shop(tmp_path, "cp1251", 'user = "пользователь"\nitem = "товар"\n')
    found = recognised([path], [], given)
    rows = read_reviews([path], shop=found).reviews.to_pylist()
    assert [(row["reviewer_id"], row["asin"]) for row in rows] == [("Пётр", "шляпа")]


def test_the_items_of_variants_are_read_in_that_encoding(tmp_path):
    path = write(tmp_path, "products.csv", "артикул,вариант\nшляпа,синяя\n".encode("cp1251"))
    toml = '[products]\nencoding = "cp1251"\nid = "артикул"\nvariant = "вариант"\n'
    found = recognised([], [path], Shop.of(write(tmp_path, "shop.toml", toml)))
    variants = Variants.of(found)
    assert variants is not None
    assert variants.bought.to_pylist() == ["синяя"]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"user,item\nU1,B1\n", "utf-16"),
        (b"user,item\nU1,B1\n", "utf-32-le"),
        ("user,item\nU1,B1\n".encode("utf-16"), "cp1252"),
        ("user,item\nU1,B1\n".encode("utf-16-le"), "utf-8"),
        (b"\xef\xbb\xbfuser,item\nU1,B1\n", "cp1252"),
        ("user,item\nÄnne Müßig,Böse Wörter für schöne Übung\n".encode(), "latin-1"),
    ],
)
def test_an_encoding_that_the_bytes_contradict_is_refused(tmp_path, content, encoding):
    path = write(tmp_path, "orders.csv", content)
    with pytest.raises(InputError, match=f'encoding = "{encoding}": the text is UTF-'):
        recognised([path], [], shop(tmp_path, encoding))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252", "utf-8", "gb18030"])
def test_an_encoding_that_fits_is_read(tmp_path, encoding):
    path = write(tmp_path, "orders.csv", "user,item\nU1,B1\n".encode(encoding))
    assert read_reviews([path], shop=shop(tmp_path, encoding)).reviews["asin"].to_pylist() == ["B1"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_an_encoding_without_its_order_of_bytes_is_read(tmp_path, encoding):
    path = write(tmp_path, "orders.csv", "user,item\nU1,B1\n".encode(encoding))
    assert read_reviews([path], shop=shop(tmp_path, encoding[:6])).reviews["asin"].to_pylist() == ["B1"]


def test_values_that_were_read_as_another_encoding_are_warned_about(tmp_path):
    orders = write(tmp_path, "orders.csv", "user,item\nПётр,шляпа\n".encode("cp1251"))
    products = write(tmp_path, "products.csv", "id,title,image\nшляпа,Hat,https://x.example/1.jpg\n".encode("cp1251"))
    found = warnings(measure([orders], [products]))
    assert any("2 values of reviews are not UTF-8 and were read as cp1252" in text for text in found)
    assert any("1 values of products are not UTF-8" in text for text in found)
