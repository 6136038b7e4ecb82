"""Customers are kept with the attributes that a shop names, each once, and nobody who was erased."""

import json

import pytest

from pipeline.core.erasure import Erasures
from pipeline.core.errors import InputError
from pipeline.core.raw.ingest import ReadContext, read_customers
from pipeline.core.raw.shop_tables import described, recognised
from pipeline.core.shop.mapping import CustomerColumns, Shop
from tests.pipeline.core.shop.tables import every_form, write

ROWS = [["kunde", "alter", "stufe"], ["7", "25", "gold"], ["12", "", "n/a"], ["", "40", "blue"], ["7", "26", "silver"]]
TOML = '[customers]\nid = "kunde"\nwidth = 3\n[customers.attributes]\ntier = "stufe"\nage = "alter"\n'
EXPECTED = [
    {"reviewer_id": "007", "attributes": [("tier", "gold"), ("age", "25")]},
    {"reviewer_id": "012", "attributes": None},
]


@pytest.mark.parametrize("name", every_form(ROWS))
def test_customers_are_read_from_every_form_of_table_and_each_kept_once(tmp_path, name):
    path = write(tmp_path, name, every_form(ROWS)[name])
    read = read_customers([path], shop=Shop.of(write(tmp_path, "shop.toml", TOML)))
    assert read.customers.to_pylist() == EXPECTED
    assert [row["reason"] for row in read.rejects.to_pylist()] == ["reviewer_missing"]
    assert (read.lines, read.accepted, read.counts["repeated_customer"]) == (4, 3, 1)


def test_customers_are_read_from_json(tmp_path):
    lines = "\n".join(json.dumps(dict(zip(ROWS[0], row, strict=True))) for row in ROWS[1:])
    shop = Shop.of(write(tmp_path, "shop.toml", TOML))
    assert read_customers([write(tmp_path, "customers.jsonl", lines)], shop=shop).customers.to_pylist() == EXPECTED


def test_a_customer_has_each_attribute_of_the_first_row_with_it_also_in_another_file(tmp_path):
    toml = write(tmp_path, "shop.toml", '[customers]\nid = "id"\n[customers.attributes]\na = "a"\nb = "b"\n')
    paths = [write(tmp_path, "1.csv", "id,a,b\nu,,1\nv,,\n"), write(tmp_path, "2.csv", "id,a,b\nu,2,3\nw,4,\n")]
    for known in (0, 2):
        context = ReadContext(parts=tmp_path / "parts")
        read = read_customers(paths, read_context=context, shop=Shop.of(toml))
        assert dict(zip(*(read.customers[name].to_pylist() for name in read.customers.column_names), strict=True)) == {
            "u": [("a", "2"), ("b", "1")], "v": None, "w": [("a", "4")],
        }  # fmt: skip
        assert read.files_known == known


HM = """\
customer_id,FN,Active,club_member_status,fashion_news_frequency,age,postal_code
00000dba,,,ACTIVE,NONE,49.0,52043ee2162cf5aa
0000423b,1.0,1.0,PRE-CREATE,Regularly,25,2973abc54daa8a5f
"""


def test_hms_customers_are_recognised_without_the_postal_code(tmp_path):
    path = write(tmp_path, "customers.csv", HM)
    shop = recognised([], [], None, [path])
    assert shop is not None and "H&M (Kaggle): id" in described(shop)
    first, second = read_customers([path], shop=shop).customers.to_pylist()
    assert first == {"reviewer_id": "00000dba", "attributes": [("club_member_status", "ACTIVE"), ("age", "49")]}
    assert dict(second["attributes"]) == {
        "fashion_news": "1", "active": "1", "club_member_status": "PRE-CREATE", "fashion_news_frequency": "Regularly",
        "age": "25",
    }  # fmt: skip
    again = Shop.of(write(tmp_path, "shop.toml", shop.toml()))
    assert again.customers == shop.customers and "postal" not in shop.toml()


def test_of_other_tables_no_attribute_is_kept_unless_it_is_named(tmp_path):
    path = write(tmp_path, "people.csv", "customer_id,age,city\nu1,30,Rome\n")
    assert read_customers([path]).customers.to_pylist() == [{"reviewer_id": "u1", "attributes": None}]


def test_the_id_is_the_column_that_the_orders_name(tmp_path):
    orders = write(tmp_path, "orders.csv", "buyer_id,item\na,1\n")
    people = write(tmp_path, "people.csv", "account_id,buyer_id,tier\n9,a,gold\n")
    with pytest.raises(InputError, match=r"which column is the id: account_id or buyer_id"):
        read_customers([people])
    shop = recognised([orders], [], None, [people])
    assert read_customers([people], shop=shop).customers["reviewer_id"].to_pylist() == ["a"]


def test_an_erased_person_is_left_out_also_from_kept_parts(tmp_path):
    path = write(tmp_path, "customers.csv", HM)
    kept = ReadContext(parts=tmp_path / "parts")
    assert read_customers([path], read_context=kept).customers.num_rows == 2
    erased = Erasures.none().with_more("reviewer", "00000dba", [])
    read = read_customers([path], read_context=ReadContext(parts=tmp_path / "parts", erased=erased))
    assert read.customers["reviewer_id"].to_pylist() == ["0000423b"]
    assert (read.erased, read.accepted, read.lines) == (1, 2, 2)


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ('[customers]\nid = "kunde"\nattributes = 3\n', r"customers.attributes: has to be a table"),
        ("[customers.attributes]\nage = 3\n", r"shop.toml:2: \[customers.attributes\] age: give the name of a column"),
        ('[customers]\nname = "x"\n', r"shop.toml:2: \[customers\] name: there is no such key; give one of id"),
        ("customers = 3\n", r"customers: has to be a table"),
        ('[customers]\nid = "x"\n', r'\[customers\] id = "x": the table has no such column'),
        ('[customers.attributes]\nage = "x"\n', r'\[customers.attributes\] age = "x": the table has no such column'),
    ],
)
def test_a_wrong_table_of_customers_is_refused_with_its_line(tmp_path, toml, named):
    with pytest.raises(InputError, match=named):
        read_customers(
            [write(tmp_path, "a.csv", "kunde,alter\n1,2\n")], shop=Shop.of(write(tmp_path, "shop.toml", toml))
        )


def test_what_a_shop_says_of_its_customers_changes_its_digest(tmp_path):
    shops = [Shop(), Shop(customers=CustomerColumns(id="a")), Shop(customers=CustomerColumns(attributes=(("a", "b"),)))]
    assert len({shop.digest for shop in shops}) == 3
