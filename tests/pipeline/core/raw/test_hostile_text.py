"""Strangers' text takes linear time, is limited with a count or a reason, and stops no file."""

import json
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from pipeline.core.generator.categories import garment_class, map_products
from pipeline.core.generator.garment_classes import words
from pipeline.core.raw import parsing, vintages
from pipeline.core.raw.merging import review_ids
from tests.pipeline.core.raw.test_ingest_outcomes import products, review, reviews


def seconds(work: Callable[[], object]) -> float:
    """Measure CPU time, because the machine may be busy."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


TEXTS = {
    "comments never closed": "<!-- ",
    "comments of entities": "&lt;!-- ",
    "comments closed": "<!-- x -->",
    "tags": "<a ",
    "scripts never closed": "<script ",
    "scripts closed": "<script></script>",
    "a script in a style": "<style></script>",
    "doubled ampersands": "&amp;amp;",
    "long entities": "&" + "a" * 32,
    "numbers": "&#1",
    "blanks": " ",
    "code": "var function( window.",
    "braces": "{a:",
    "words": "dress, ",
    "dashes": " - ",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_a_title_is_cleaned_and_classified_in_linear_time(text: str):
    def work(size: int) -> None:
        title = text * (size // len(text))
        vintages.title_of(title, Counter())
        garment_class([words(title), title], title)

    work(1000)
    quarter, whole = seconds(lambda: work(40_000)), seconds(lambda: work(160_000))
    assert whole < max(0.3, 8 * quarter)


CATEGORIES = {
    "paths of one": [["x"]] * 80_000,
    "one path": " > ".join(["x"] * 80_000),
    "nested": ["x", *[["y", ["z"]]] * 40_000],
}


@pytest.mark.parametrize("value", CATEGORIES.values(), ids=list(CATEGORIES))
def test_categories_are_flattened_in_linear_time(value):
    quarter = seconds(lambda: vintages.category_list({"category": value[: len(value) // 4]}))
    assert seconds(lambda: vintages.category_list({"category": value})) < max(0.3, 8 * quarter)


def test_a_line_repeated_a_hundred_thousand_times_is_numbered_in_linear_time():
    def work(rows: int) -> None:
        review_ids(np.zeros(rows, np.uint64), np.arange(rows))

    assert review_ids(np.array([1, 2, 1], np.uint64), np.array([0, 0, 12])).to_pylist() == [
        "0000000000000001", "0000000000000002", "0000000000000001-12",
    ]  # fmt: skip
    quarter = seconds(lambda: work(20_000))
    assert seconds(lambda: work(80_000)) < max(0.5, 8 * quarter)


def test_a_product_on_many_lines_is_merged_in_linear_time(tmp_path):
    def work(lines: int) -> None:
        read = products(tmp_path, *({"asin": "B1", "imageURL": [f"http://h/{n}"]} for n in range(lines)))
        assert len(read.products["vendor_urls"][0]) == lines and read.products.num_rows == 1

    work(10)
    quarter = seconds(lambda: work(1_000))
    assert seconds(lambda: work(4_000)) < max(2.0, 8 * quarter)


DEEP = 100_000
ODD = {
    "deep lists": "[" * DEEP + "]" * DEEP,
    "deep objects": '{"a":' * DEEP + "1" + "}" * DEEP,
    "a number of many digits": "1" * DEEP,
    "a huge exponent": "1e99999",
    "a character of many digits": json.dumps("&#" + "1" * 5000 + ";"),
    "a character of many hex digits": json.dumps("&#x" + "f" * 5000 + ";"),
}


FIELDS = {"products": ("title", "category", "imageURL", "other"),
          "reviews": ("overall", "unixReviewTime", "image", "other")}  # fmt: skip


@pytest.mark.parametrize("array", [False, True], ids=["lines", "array"])
@pytest.mark.parametrize("kind", list(FIELDS))
def test_no_value_stops_a_file(tmp_path, kind: str, array: bool):
    odd = [
        f'{{"{"reviewerID" if kind == "reviews" else "brand"}": "A", "asin": "B{n}", "{field}": {value}}}'
        for field in FIELDS[kind]
        for n, value in enumerate(ODD.values())
    ]
    good = json.dumps({"reviewerID" if kind == "reviews" else "brand": "A", "asin": "last"})
    text = f"[{','.join([*odd, good])}]" if array else "\n".join([*odd, good])
    read = (products if kind == "products" else reviews)(tmp_path, text.encode())
    table = read.products if kind == "products" else read.reviews
    assert table["asin"].to_pylist()[-1] == "last"
    assert read.accepted + read.rejects.num_rows == read.lines == len(odd) + 1
    assert {*read.rejects["reason"].to_pylist()} <= {"time_out_of_range", "rating_out_of_range"}


@pytest.mark.parametrize("field", ["reviewerID", "asin"])
def test_no_id_stops_a_file(tmp_path, field: str):
    odd = [f'{{"{field}": {value}, "was": 1}}'.encode() for value in ODD.values()]
    read = reviews(tmp_path, *odd, review())
    assert read.reviews["reviewer_id"].to_pylist() == ["A1"] and read.rejects.num_rows == len(odd)


def test_no_python_literal_stops_a_file(tmp_path):
    deep = ["-" * 50_000 + "1", "1+" * 50_000 + "1", "[" * 50_000, "{'a':" * 50_000, "not " * 50_000]
    deep += ["{'a': " + "1 if 1 else " * 20_000 + "1}", "{'a': " + "[" * 90 + "]" * 90 + "}"]
    read = products(tmp_path, *map(str.encode, deep), b"{'asin': 'B2', 'title': 'Shirt'}")
    assert read.products["asin"].to_pylist() == ["B2"] and read.rejects.num_rows == len(deep)


ID = "A" * parsing.ID_BYTES
REFUSED = [
    ({"reviewerID": ID}, None),
    ({"reviewerID": ID + "A"}, "reviewer_too_long"),
    ({"reviewerID": "é" * parsing.ID_BYTES}, "reviewer_too_long"),
    ({"asin": ID}, None),
    ({"asin": ID + "A"}, "asin_too_long"),
    ({"unixReviewTime": 0}, None),
    ({"unixReviewTime": -1}, "time_out_of_range"),
    ({"unixReviewTime": 1_400_000_000_000}, None),  # milliseconds
    ({"unixReviewTime": 9_999_999_999}, "time_out_of_range"),
    ({"unixReviewTime": 10**30}, "time_out_of_range"),
    ({"overall": 0}, None),
    ({"overall": 100}, None),
    ({"overall": -0.5}, "rating_out_of_range"),
    ({"overall": 1e39}, "rating_out_of_range"),
    ({"image": [f"http://h/{n}" for n in range(parsing.PICTURES_AT_MOST)]}, None),
    ({"image": [f"http://h/{n}" for n in range(parsing.PICTURES_AT_MOST + 1)]}, "too_many_pictures"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED)
def test_a_review_over_a_limit_is_rejected_with_its_reason_and_its_neighbours_are_read(tmp_path, change, reason):
    read = reviews(tmp_path, review(), review(**change), review(reviewerID="A2"))
    assert read.rejects["reason"].to_pylist() == ([reason] if reason else [])
    assert read.reviews.num_rows == (2 if reason else 3) and read.lines == 3
    assert reason is None or reason in parsing.REJECT_REASONS


def test_a_time_of_2023_is_bounded_in_milliseconds(tmp_path):
    line = {"user_id": "A", "parent_asin": "B", "rating": 5.0}
    read = reviews(tmp_path, {**line, "timestamp": 1_588_615_855_070}, {**line, "timestamp": 10**16})
    assert read.reviews["time"].to_pylist() == [1_588_615_855]
    assert read.rejects["reason"].to_pylist() == ["time_out_of_range"]


def test_a_product_over_a_limit_is_rejected_or_cut_and_counted(tmp_path):
    many = [f"http://h/{n}" for n in range(parsing.PICTURES_AT_MOST + 1)]
    read = products(
        tmp_path,
        {"asin": "B1", "title": "Shirt " * 1000, "category": ["x" * 500, *(f"c{n}" for n in range(150))]},
        {"asin": "B2", "imageURL": many},
        {"asin": "B" * 300},
        {"asin": "B3", "imageURL": ["http://h/" + "x" * 9000, "http://h/1"]},
    )
    assert read.rejects["reason"].to_pylist() == ["too_many_pictures", "asin_too_long"]
    first, last = read.products.to_pylist()
    assert len(first["title"]) <= vintages.TITLE_CHARACTERS and first["title"].startswith("Shirt Shirt")
    assert len(first["categories"]) == vintages.CATEGORIES_AT_MOST and len(first["categories"][0]) == 200
    assert last["vendor_urls"] == ["http://h/1"]
    cut = {"titles_cut": 1, "categories_left_out": 51, "categories_cut": 1, "urls_too_long": 1}
    assert {name: read.counts.get(name) for name in cut} == cut


CODE = [
    '<script type="text/javascript"> var aPageStart = (new Date()).getTime(); var pos = {top: 0}; </script>',
    "var aPageStart = (new Date()).getTime(); var dress = 1",
    "<SCRIPT>top()</script >",
    "&lt;script&gt; dress &lt;/script&gt;",
    "<style> .dress { color: red; } </style>",
    ".dress { color: red; } .top { margin: 0; }",
    "<script> never closed: dress",
    "function dress(a, b) { return top; }",
    "window.ue_ihb = (window.ue_ihb || window.ueinit || 0) + 1; dress",
]


@pytest.mark.parametrize("title", CODE)
def test_code_as_a_title_becomes_empty_and_gives_no_class(tmp_path, title: str):
    read = products(tmp_path, {"asin": "B1", "title": title, "category": ["Clothing", "Women"]})
    (row,) = map_products(read.products).to_pylist()
    assert (row["title"], row["garment_class"]) == ("", None) and read.counts["titles_code"] == 1


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("Women's dress <script>var a = 1;</script> red", "Women's dress red"),
        ("Multi function (black) jacket {new}", None),
        ("Size: S; colour: red; let go = fun", None),
        ("Scripted tee, window. Style: new", None),
        ("Dress <!-- ad <script> --> red", "Dress red"),
        ("Dress <!-- never closed", None),
        ("<styled> Dress", "Dress"),
    ],
)
def test_a_title_with_code_keeps_the_rest_and_a_similar_title_stays(tmp_path, title: str, kept):
    read = products(tmp_path, {"asin": "B1", "title": title})
    assert read.products["title"].to_pylist() == [kept or title]
