"""Facts against hand-computed counts, and against what ingest and the k-core make of the same files."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.dataset.kcore import five_core
from pipeline.core.errors import InputError
from pipeline.core.raw.ingest import ReadContext, read_reviews
from pipeline.core.shop.mapping import Shop
from pipeline.inspection.facts import AttributeFacts, CustomerFacts
from pipeline.inspection.measuring import measure
from pipeline.inspection.report import Inspection, as_json, rows
from tests.pipeline.inspection.shops import PRODUCTS, REVIEWS, measured, product, review, write


def test_users_items_pairs_and_repeats_are_counted(tmp_path: Path):
    again = [review(0, "0B0", overall=1.0)]
    tables = measured(tmp_path, REVIEWS + again).tables
    assert (tables.reviews, tables.users, tables.items, tables.pairs, tables.duplicates) == (25, 4, 6, 24, 1)
    assert (tables.first_time, tables.last_time, tables.without_time) == (1_400_000_000, 1_400_000_003, 0)


def test_the_shares_of_products_are_counted(tmp_path: Path):
    bare = [{"asin": "X"}, product("Y", imageURL=["data:image/png;base64,AAAA"]), product("Z", title="")]
    facts = measured(tmp_path, products=PRODUCTS + bare)
    tables = facts.tables
    assert (tables.products, tables.with_title, tables.with_category, tables.with_picture) == (9, 7, 8, 7)
    assert facts.product_lines.counts["urls_data"] == 1


def test_price_and_attributes_are_counted_with_the_commonest_values(tmp_path: Path):
    priced = [product(f"P{n}", price="$3.50", brand=("North", "East", "North", "West", "South")[n]) for n in range(5)]
    tables = measured(tmp_path, products=[*priced, product("Q", price="ask")]).tables
    assert (tables.products, tables.with_price) == (6, 5)
    assert tables.attributes == {"brand": AttributeFacts(5, ("North", "East", "South"))}


def test_customers_are_counted_with_the_users_that_are_among_them(tmp_path: Path):
    write(tmp_path / "reviews.jsonl", REVIEWS)
    write(tmp_path / "products.jsonl", PRODUCTS)
    others = "".join(f"V{n},25,v{n}@shop.example\n" for n in range(3))
    (tmp_path / "customers.csv").write_text(f"id,age,mail\nU0,25,u0\nU1,25,\nU9,30,\n,40,of nobody\n{others}")
    named = '[customers]\nid = "id"\n[customers.attributes]\nage = "age"\nmail = "mail"\n'
    (tmp_path / "shop.toml").write_text(named)
    paths = ([tmp_path / "reviews.jsonl"], [tmp_path / "products.jsonl"])
    shop = Shop.of(tmp_path / "shop.toml")
    facts = measure(*paths, shop=shop, customers=[tmp_path / "customers.csv"])
    assert facts.tables.users == 4
    assert facts.tables.customers == CustomerFacts(
        6, 2, {"age": AttributeFacts(6, ("25",)), "mail": AttributeFacts(4, ())}
    )
    shown = dict(rows(Inspection(facts)))
    assert (shown["customers"], shown["users among the customers"]) == ("6 of 7 lines", "50.0%")
    assert (shown["customers with age"], shown["customers with mail"]) == ("100.0%, for example 25", "66.7%")
    found = as_json(Inspection(facts))
    assert found["customers"]["users_meeting_share"] == 0.5
    assert found["customers"]["attributes"]["age"] == {"share": 1.0, "examples": ["25"]}
    assert "nobody" not in str(found) and "shop.example" not in str(found["customers"]) and "U9" not in str(found)
    assert found["rejected"]["customers"] == {"reviewer_missing": 1}
    assert as_json(Inspection(measure(*paths)))["customers"] is None


def test_the_share_of_ids_that_meet_is_of_the_reviewed_ids(tmp_path: Path):
    others = [product(f"other{n}") for n in range(94)]
    assert measured(tmp_path, products=PRODUCTS[:3] + others).tables.meeting.share == 0.5


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), min_size=1, max_size=60), st.integers(1, 6))
def test_the_predicted_core_is_the_one_that_the_filter_finds(tmp_path_factory, pairs: list[tuple[int, int]], k: int):
    folder = tmp_path_factory.mktemp("core")
    core = measured(folder, [review(user, f"B{item}") for user, item in pairs], ks=(k,)).tables.cores[k]
    read = read_reviews([folder / "reviews.jsonl"])
    try:
        counts = five_core(read.reviews, k).counts
    except InputError:
        assert (core.users, core.items, core.interactions) == (0, 0, 0)
        return
    names = ("five_core_users", "five_core_items", "interactions")
    assert (core.users, core.items, core.interactions) == tuple(counts[name] for name in names)


def test_users_are_counted_by_their_pictured_items_of_shop_and_customers(tmp_path: Path):
    photographed = [review(9, f"C{n}", image=["https://h.example/c.jpg"]) for n in range(5)]
    tables = measured(tmp_path, REVIEWS + photographed).tables
    core = tables.cores[5]
    assert (core.users, core.users_with_pictures, core.users_by_customers, core.items_with_picture) == (5, 5, 1, 6)
    assert tables.with_customer_picture == 5


def test_every_file_is_described_by_its_layout_columns_first_row_and_rejects(tmp_path: Path):
    facts = measured(tmp_path, [*REVIEWS, {"reviewerID": "U\x1b[2J"}, "text"])
    [reviews, products] = facts.files
    assert (reviews.kind, reviews.layout, reviews.rejected) == ("reviews", "2018", 2)
    assert reviews.columns == ("reviewerID", "asin", "overall", "unixReviewTime")
    assert products.sample.startswith('{"asin": "0B0"') and products.rejected == 0


def test_a_first_row_is_shown_escaped_and_cut(tmp_path: Path):
    hostile = {**REVIEWS[0], "reviewText": "\u202e" + "x" * 5000}
    (tmp_path / "products.jsonl").write_text("")
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"reviewerID": "A\u202e", "asin": "B", "reviewText": "' + "x" * 5000 + '"}\n')
    facts = measure([path], [write(tmp_path / "p.jsonl", PRODUCTS)])
    assert len(facts.files[0].sample) <= 200 and "\\u202e" in facts.files[0].sample
    assert hostile["reviewText"][0] not in facts.files[0].sample


def test_without_reviews_only_products_are_measured(tmp_path: Path):
    facts = measured(tmp_path, None)
    assert facts.review_lines is None and facts.tables.users == 0 and facts.tables.with_picture == 6


def test_parts_that_were_read_for_the_inspection_are_not_read_again_by_ingest(tmp_path: Path):
    reviews, products = write(tmp_path / "r.jsonl", REVIEWS), write(tmp_path / "p.jsonl", PRODUCTS)
    out = tmp_path / "out"
    out.mkdir()
    measure([reviews], [products], ReadContext(out, tmp_path / "parts"))
    assert list(out.iterdir()) == []
    read = read_reviews([reviews], read_context=ReadContext(out, tmp_path / "parts"))
    assert read.files_known == read.files == 1
