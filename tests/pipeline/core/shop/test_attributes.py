"""Price and further columns of the product table are kept under names, from every form of table and from JSON."""

import json
from pathlib import Path

import pytest

from pipeline.assets.ingest import version_of_products
from pipeline.core.errors import InputError
from pipeline.core.raw.ingest import ReadContext, read_products
from pipeline.core.raw.shop_tables import recognised
from pipeline.core.shop.mapping import ProductColumns, Shop
from tests.pipeline.core.shop.tables import every_form, write

ROWS = [
    ["sku", "name", "cost", "colour_group_name", "qty"],
    ["1", "Shirt", "$12.99", " Dark  Blue", "3.0"],
    ["2", "Coat", "1.299.000 EUR", "", "N/A"],
    ["3", "Hat", "ask us", "<i>Red</i>", "0"],
]
TOML = '[products]\nid = "sku"\nprice = "cost"\n[attributes]\nstock = "qty"\ncolour = "colour_group_name"\n'
EXPECTED = [
    (12.99, [("stock", "3"), ("colour", "Dark Blue")]),
    (1299000.0, None),
    (None, [("stock", "0"), ("colour", "Red")]),
]


def kept(paths: list[Path], shop: Shop | None = None, **context) -> list[tuple]:
    products = read_products(paths, shop=shop, read_context=ReadContext(**context)).products
    return list(zip(products["price"].to_pylist(), products["attributes"].to_pylist(), strict=True))


@pytest.mark.parametrize("name", every_form(ROWS))
def test_price_and_attributes_are_kept_from_every_form_of_table(tmp_path, name):
    path = write(tmp_path, name, every_form(ROWS)[name])
    shop = Shop.of(write(tmp_path, "shop.toml", TOML))
    read = read_products([path], shop=shop)
    columns = (read.products[name].to_pylist() for name in ("price", "attributes"))
    assert list(zip(*columns, strict=True)) == EXPECTED
    assert read.counts["prices_not_read"] == 1


def test_price_and_attributes_are_kept_from_json_and_recbole(tmp_path):
    shop = Shop.of(write(tmp_path, "shop.toml", TOML))
    lines = "\n".join(json.dumps(dict(zip(ROWS[0], row, strict=True))) for row in ROWS[1:])
    assert kept([write(tmp_path, "products.jsonl", lines)], shop) == EXPECTED
    item = "item_id:token\tprice:float\tbrand:token\tclass:token_seq\n1\t2.5\tNorth\ta b\n2\t\t\ta\n"
    assert kept([write(tmp_path, "shop.item", item)]) == [(2.5, [("brand", "North")]), (None, None)]


def test_amazons_own_price_and_brand_are_kept(tmp_path):
    lines = [
        {"asin": "B1", "title": "a", "price": "$12.99", "brand": "North &amp; Co"},
        {"asin": "B2", "title": "b", "price": "$7 - $9", "brand": ""},
        {"asin": "B3", "title": "c", "price": 5},
    ]
    read = read_products([write(tmp_path, "meta.json", "\n".join(map(json.dumps, lines)))])
    assert read.products["price"].to_pylist() == [12.99, None, 5.0]
    assert read.products["attributes"].to_pylist() == [[("brand", "North & Co")], None, None]
    assert read.counts["prices_not_read"] == 1


HM = """\
article_id,product_code,prod_name,product_type_name,product_group_name,index_group_name,colour_group_name,section_name
0108775015,0108775,Strap top,Vest top,Garment Upper body,Ladieswear,,Womens Basics
0108775044,0108775,Strap top,Vest top,Garment Upper body,Ladieswear,White,Womens
0108775051,0108775,Strap top,Vest top,Garment Upper body,Ladieswear,Black,
"""


def test_of_variants_that_become_one_product_the_first_value_of_each_attribute_is_kept(tmp_path):
    path = write(tmp_path, "articles.csv", HM)
    [(_, attributes)] = kept([path], recognised([], [path]))
    assert dict(attributes) == {
        "colour": "White", "section": "Womens Basics", "product_type": "Vest top",
        "product_group": "Garment Upper body", "index_group": "Ladieswear",
    }  # fmt: skip


def test_the_first_file_with_a_value_counts_whether_its_part_was_kept_or_not(tmp_path):
    first = write(tmp_path, "a.csv", "sku,name,price,brand,season\n1,Hat,,North,\n")
    second = write(tmp_path, "b.csv", "sku,name,price,brand,season\n1,Cap,3.5,South,Fall\n2,Cap,4,,\n")
    expected = [(3.5, [("brand", "North"), ("season", "Fall")]), (4.0, None)]
    for _ in range(2):
        assert kept([first, second], parts=tmp_path / "parts") == expected


def test_recognised_attributes_are_written_out_to_edit_and_can_be_taken_out(tmp_path):
    path = write(tmp_path, "articles.csv", HM)
    shop = recognised([], [path])
    assert shop is not None
    written = shop.toml()
    assert "[attributes]" in written and 'colour = "colour_group_name"' in written
    again = recognised([], [path], Shop.of(write(tmp_path, "shop.toml", written)))
    assert again is not None and again.products == shop.products
    fewer = written.replace('colour = "colour_group_name"\n', "")
    [(_, attributes)] = kept([path], recognised([], [path], Shop.of(write(tmp_path, "shop.toml", fewer))))
    assert "colour" not in dict(attributes) and "section" in dict(attributes)
    none = Shop.of(write(tmp_path, "shop.toml", "[attributes]\n"))
    assert kept([path], recognised([], [path], none)) == [(None, None)]


def test_myntras_attributes_are_recognised(tmp_path):
    names = "id,gender,masterCategory,baseColour,season,year,usage,productDisplayName"
    path = write(tmp_path, "styles.csv", f"{names}\n7,Men,Apparel,Navy Blue,Fall,2011.0,NA,A shirt\n")
    [(_, attributes)] = kept([path])
    assert attributes == [("colour", "Navy Blue"), ("season", "Fall"), ("year", "2011"), ("gender", "Men")]


def test_of_several_prices_none_is_guessed(tmp_path):
    both = write(tmp_path, "a.csv", "sku,name,sale_price,list_price\n1,Hat,3,4\n")
    named = write(tmp_path, "b.csv", "sku,name,price,list_price\n1,Hat,3,4\n")
    one = write(tmp_path, "c.csv", "sku,name,sale_price\n1,Hat,3\n")
    assert [kept([path])[0][0] for path in (both, named, one)] == [None, 3.0, 3.0]


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[attributes]\ncolour = 7\n", r"shop.toml:2: \[attributes\] colour: give the name of a column"),
        ("attributes = 3\n", r"attributes: has to be a table: write \[attributes\]"),
        ('[products]\nid = "sku"\n[attributes]\ncolour = "farbe"\n', r'\[attributes\] colour = "farbe": .* no such'),
    ],
)
def test_a_wrong_attribute_is_refused_with_its_line(tmp_path, toml, named):
    with pytest.raises(InputError, match=named):
        kept([write(tmp_path, "a.csv", "sku,name\n1,Hat\n")], Shop.of(write(tmp_path, "shop.toml", toml)))


def test_names_of_attributes_may_be_any_text(tmp_path):
    shop = Shop(products=ProductColumns(id="a", attributes=(('näme "x"', "b c"), ("plain-1", "d"))))
    assert Shop.of(write(tmp_path, "shop.toml", shop.toml())).products == shop.products


def test_nested_values_are_kept_as_json_and_long_ones_are_cut(tmp_path):
    lines = "\n".join(json.dumps({"sku": n, "sizes": ["S", "M"], "text": "x" * 3000 if n else ""}) for n in range(3))
    attributes = (("sizes", "sizes"), ("text", "text"))
    toml = Shop(products=ProductColumns(id="sku", attributes=attributes)).toml()
    shop = Shop.of(write(tmp_path, "shop.toml", toml))
    read = read_products([write(tmp_path, "a.jsonl", lines)], shop=shop)
    first, second, _ = read.products["attributes"].to_pylist()
    assert json.loads(dict(first)["sizes"]) == ["S", "M"]
    assert len(dict(second)["text"]) == 2000
    assert read.counts["attributes_cut"] == 2


def test_a_price_or_stock_that_changes_makes_no_other_version_of_the_products(tmp_path):
    toml = '[products]\nid = "sku"\ntitle = "name"\nprice = "price"\n[attributes]\nstock = "qty"\n'
    shop = Shop.of(write(tmp_path, "shop.toml", toml))
    versions = []
    for day, row in enumerate(("1,Hat,3,7", "1,Hat,4,6", "1,Cap,4,6")):
        path = write(tmp_path, f"{day}.csv", f"sku,name,price,qty\n{row}\n")
        versions.append(version_of_products(read_products([path], shop=shop).products_file))
    assert versions[0] == versions[1] != versions[2]
