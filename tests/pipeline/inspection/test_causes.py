"""A cause stops a run only where nothing can come of it, and says why, with an example and the likely reason."""

import json
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.raw.shop_tables import recognised
from pipeline.inspection.causes import Cause, pointless, warnings
from pipeline.inspection.measuring import measure
from tests.pipeline.inspection.shops import PRODUCTS, REVIEWS, measured, product, review, write


def the_cause(facts, **more) -> tuple[str, str]:
    [cause] = pointless(facts, **more)
    return cause.name, cause.text


def test_a_shop_that_is_whole_has_no_cause(tmp_path: Path):
    assert pointless(measured(tmp_path)) == []
    assert warnings(measured(tmp_path)) == []


@pytest.mark.parametrize("text", ["../orders.csv has no row", "../orders.csv has no row."])
def test_the_message_of_a_stop_keeps_paths_and_ends_each_sentence_once(text: str):
    assert Cause("x", text).stop == "nothing can come of this run: ../orders.csv has no row. --anyway goes on."


def test_products_alone_are_enough_for_the_generator(tmp_path: Path):
    assert pointless(measured(tmp_path, None)) == []


def test_no_review_is_named_with_the_commonest_reason_and_the_first_line(tmp_path: Path):
    rows = [{"reviewerID": "A"}, {"reviewerID": "B"}, "text"]
    name, text = the_cause(measured(tmp_path, rows))
    assert name == "no_review"
    assert "none of the 3 lines could be read as a review: 2 asin_missing, 1 not_an_object" in text
    assert f"{tmp_path}/reviews.jsonl:1: " in text


def test_an_object_of_columns_is_refused_by_its_name(tmp_path: Path):
    columns = {name: {str(n): row[name] for n, row in enumerate(REVIEWS)} for name in REVIEWS[0]}
    for text in (json.dumps(columns), json.dumps(columns, separators=(",", ":"))):
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(InputError, match=r'object of columns .*orient="records", lines=True'):
            measure([tmp_path / "r.json"], [write(tmp_path / "p.jsonl", PRODUCTS)])


@pytest.mark.parametrize(
    ("change", "words", "example"),
    [
        (lambda asin: asin.lstrip("0"), "leading zeros", "'1234"),
        (lambda asin: asin + "a", "same shop", "a'"),
        (lambda asin: f"{asin[:4]}\u00a0{asin[4:]}", "blanks or invisible", "'"),
        (lambda asin: f'"{asin}"', "quotation marks", "'"),
        (lambda asin: f"{asin[2:4]}\u00a0{asin[4:]}", "several ways", "'12"),
    ],
)
def test_ids_that_do_not_meet_are_shown_with_the_likely_reason(tmp_path: Path, change, words: str, example: str):
    ids = [f"00{123400 + n}" for n in range(6)]
    reviews = [review(user, asin) for user in range(4) for asin in ids]
    facts = measured(tmp_path, reviews, [product(change(asin)) for asin in ids])
    name, text = the_cause(facts)
    assert name == "ids_apart"
    assert "none of the 6 reviewed ids is among the 6 products" in text
    assert words in text and example in text and "'00123400'" in text
    swapped = measured(tmp_path, [review(u, change(asin)) for u in range(4) for asin in ids], [product(a) for a in ids])
    assert words in the_cause(swapped)[1]


def test_ids_in_another_case_are_told(tmp_path: Path):
    facts = measured(tmp_path, products=[product(row["asin"].lower()) for row in PRODUCTS])
    assert "in capitals" in the_cause(facts)[1]


def test_columns_of_user_and_item_that_are_swapped_are_told(tmp_path: Path):
    rows = [{**row, "reviewerID": row["asin"], "asin": f"{row['reviewerID']}{n}"} for n, row in enumerate(REVIEWS * 2)]
    rows = [{**row, "asin": f"X{n % 12}"} for n, row in enumerate(rows)]
    assert "user and item are swapped" in the_cause(measured(tmp_path, rows), k=2)[1]


def test_one_id_in_a_hundred_is_enough_to_go_on(tmp_path: Path):
    def shop(items: int) -> list:
        return pointless(
            measured(
                tmp_path,
                [review(n // 5, f"B{n}") for n in range(items)] + [review(0, f"B{n}") for n in range(5)],
                [product(f"B{n}") for n in range(5)] + [product(f"other{n}") for n in range(50)],
            )
        )

    assert [cause.name for cause in shop(501)] == ["ids_apart"]
    assert shop(500) == []


def test_no_usable_picture_address_is_counted_by_reason(tmp_path: Path):
    bare = [product(row["asin"], imageURL=["data:image/png;base64,AAAA"]) for row in PRODUCTS]
    name, text = the_cause(measured(tmp_path, products=bare))
    assert name == "no_picture"
    assert "no product of 6 has a usable picture address (unusable addresses: 6 data: addresses)" in text
    name, text = the_cause(measured(tmp_path, products=[product(row["asin"], imageURL=[]) for row in PRODUCTS]))
    assert "none gives an address" in text
    assert the_cause(measured(tmp_path, None, bare))[0] == "no_picture"


def test_no_user_with_k_items_is_named_with_the_k_that_would_do(tmp_path: Path):
    few = [row for row in REVIEWS if row["asin"] < "0B4"]
    name, text = the_cause(measured(tmp_path, few))
    assert name == "no_user"
    assert "no user with 5 distinct items among 4 users and 16 reviews (4 with 2, 4 with 3)" in text
    assert pointless(measured(tmp_path, few), k=3) == []


def test_customers_photos_suffice_where_products_have_none(tmp_path: Path):
    photographed = [{**row, "image": [f"https://h.example/c{n}.jpg"]} for n, row in enumerate(REVIEWS)]
    bare = [product(f"other{n}", imageURL=[]) for n in range(6)]
    assert pointless(measured(tmp_path, photographed, bare)) == []
    assert the_cause(measured(tmp_path, REVIEWS, bare))[0] == "ids_apart"


def test_pictures_that_are_the_same_for_all_users_of_an_item_are_no_customers_photos(tmp_path: Path):
    orders = [{**row, "image": [f"https://h.example/{row['asin']}.jpg"]} for row in REVIEWS]
    facts = measured(tmp_path, orders, [product(row["asin"].lstrip("0")) for row in PRODUCTS])
    assert the_cause(facts)[0] == "ids_apart"
    assert any('say in shop.toml: [interactions] pictures = ""' in warning for warning in warnings(facts))


def test_few_ids_that_meet_are_warned_of_also_where_customers_photos_suffice(tmp_path: Path):
    photographed = [{**row, "image": [f"https://h.example/c{n}.jpg"]} for n, row in enumerate(REVIEWS)]
    facts = measured(tmp_path, photographed, [product(f"other{n}") for n in range(6)])
    assert pointless(facts) == []
    assert any(warning.startswith("none of the 6 reviewed ids") for warning in warnings(facts))


def test_a_third_of_ids_that_lost_zeros_is_warned_of_with_the_table_and_the_digits(tmp_path: Path):
    shorn = [product(row["asin"].lstrip("0") if n < 2 else row["asin"]) for n, row in enumerate(PRODUCTS)]
    (warning,) = warnings(measured(tmp_path, products=shorn), k=2)
    assert "only 4 of the 6 reviewed ids" in warning and warning.endswith("[products] width = 3")
    assert warnings(measured(tmp_path, products=PRODUCTS[:4]), k=2) == []


def test_a_single_customers_photo_does_not_suffice(tmp_path: Path):
    one = [{**REVIEWS[0], "image": ["https://h.example/c.jpg"]}, *REVIEWS[1:]]
    assert the_cause(measured(tmp_path, one, [product("other")]))[0] == "ids_apart"


def test_the_generators_half_alone_needs_no_ids_that_meet(tmp_path: Path):
    apart = measured(tmp_path, products=[product(f"other{n}") for n in range(6)])
    assert the_cause(apart)[0] == "ids_apart"
    assert pointless(apart, generator_alone=True) == []


def test_pictures_of_items_that_nobody_has_five_of_are_not_enough(tmp_path: Path):
    name, text = the_cause(measured(tmp_path, products=[*PRODUCTS[:4], product("0B4", imageURL=[])]))
    assert name == "no_pictured_user" and "of the 6 items of the 4 users with 5 items, 4 have one" in text


def test_half_met_ids_rejects_and_odd_times_are_warned_of(tmp_path: Path):
    late = [{**row, "unixReviewTime": 7} for row in REVIEWS]
    facts = measured(tmp_path, [*late, {"asin": "B"}], [*PRODUCTS[:2], product("9", imageURL=["x.jpg"])])
    said = " | ".join(warnings(facts, k=2))
    for words in ("1 of 25 review lines are rejected: 1 reviewer_missing", "only 2 of the 6 reviewed ids", "1995"):
        assert words in said


def test_a_cause_in_tables_says_how_their_columns_were_understood(tmp_path: Path):
    reviews, products = tmp_path / "orders.csv", tmp_path / "articles.csv"
    reviews.write_text("user,item\n" + "".join(f"U{n % 3},I{n % 4}\n" for n in range(12)))
    products.write_text("id,title,image\n" + "".join(f"I{n},Dress,https://h.example/{n}.jpg\n" for n in range(4)))
    facts = measure([reviews], [products], shop=recognised([reviews], [products]))
    name, text = the_cause(facts)
    assert name == "no_user" and "understood: orders.csv: CSV table" in text and "shop.toml" in text
    assert facts.files[0].columns == ("user", "item") and "U0" in facts.files[0].sample
