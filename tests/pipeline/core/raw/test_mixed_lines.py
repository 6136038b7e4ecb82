"""Each line is read by its own vintage, and its ids, times and ratings however they are written."""

import json
import random

import pytest

from pipeline.core.raw import ingest
from pipeline.core.raw.framing import blocks
from tests.pipeline.core.raw.test_ingest import PRODUCTS, REVIEWS, file_of

OLD = [{"overall": 5.0, "reviewerID": f"A{n}", "asin": f"B{n}", "unixReviewTime": 1400000000 + n} for n in range(5)]
FIRST = [{**row, "helpful": [0, 1], "reviewerID": f"E{n}"} for n, row in enumerate(OLD)]
NEW = [
    {"rating": 4.0, "user_id": f"C{n}", "parent_asin": f"D{n}", "asin": f"D{n}-red", "timestamp": 1588615855070 + n,
     "images": [{"small_image_url": f"http://h/{n}"}]}
    for n in range(5)
]  # fmt: skip
MIXED = random.Random(1).sample(OLD + NEW, 10)


def seen(read):
    return [(row["reviewer_id"], row["asin"], row["rating"], row["time"]) for row in read.reviews.to_pylist()]


def expected(rows):
    return [
        (row["user_id"], row["parent_asin"], row["rating"], row["timestamp"] // 1000)
        if "user_id" in row
        else (row["reviewerID"], row["asin"], row["overall"], row["unixReviewTime"])
        for row in rows
    ]


@pytest.mark.parametrize(
    ("rows", "vintage"),
    [
        (OLD + NEW, "2018, 2023"),
        (NEW + OLD, "2018, 2023"),
        (FIRST + NEW, "2014, 2023"),
        (FIRST + OLD + NEW, "2014, 2023"),  # the reviews of 2014 and 2018 have the same keys
        (MIXED, "2018, 2023"),
        (OLD, "2018"),
        (NEW, "2023"),
        (FIRST, "2014"),
    ],
)
@pytest.mark.parametrize("block", [200, 1 << 20])
def test_every_review_is_read_by_its_own_vintage(tmp_path, monkeypatch, rows, vintage, block):
    monkeypatch.setattr("pipeline.core.raw.parts.blocks", lambda path, meter: blocks(path, block, meter))
    read = ingest.read_reviews([file_of(tmp_path, *rows)])
    assert seen(read) == expected(rows) and read.rejects.num_rows == 0
    assert list(read.vintages.values()) == [vintage]
    pictures = [bool(urls) for urls in read.reviews["image_urls"].to_pylist()]
    assert pictures == ["images" in row for row in rows]


def test_a_given_vintage_reads_all_lines_alike(tmp_path):
    read = ingest.read_reviews([file_of(tmp_path, *OLD, *NEW)], vintage="2018")
    assert seen(read) == expected(OLD) and list(read.vintages.values()) == ["2018"]
    assert read.rejects["reason"].to_pylist() == ["reviewer_missing"] * 5


def test_rejects_of_a_mixed_file_name_their_lines(tmp_path):
    rows = [
        OLD[0],
        {**NEW[0], "parent_asin": None, "asin": ""},
        {"sku": 1},
        NEW[1],
        {**OLD[1], "overall": 500},
        "{",
        OLD[2],
    ]
    read = ingest.read_reviews([file_of(tmp_path, *rows)])
    assert seen(read) == expected([OLD[0], NEW[1], OLD[2]])
    assert [(row["line"], row["reason"]) for row in read.rejects.to_pylist()] == [
        (2, "asin_missing"), (3, "reviewer_missing"), (5, "rating_out_of_range"), (6, "not_json"),
    ]  # fmt: skip


@pytest.mark.parametrize("order", [("2014", "2018", "2023"), ("2023", "2014", "2018"), ("2018", "2023", "2014")])
def test_every_product_is_read_by_its_own_vintage(tmp_path, order):
    texts = [PRODUCTS[vintage].replace("B1", f"B{vintage}") for vintage in order]
    read = ingest.read_products([file_of(tmp_path, *texts)])
    assert read.products["asin"].to_pylist() == [f"B{vintage}" for vintage in order]
    assert read.products["title"].to_pylist() == ["Women's & Top"] * 3
    high = {"2014": [], "2018": ["http://h/1L.jpg"], "2023": ["http://h/1M.jpg"]}
    assert read.products["vendor_urls_high"].to_pylist() == [high[vintage] for vintage in order]
    assert list(read.vintages.values()) == ["2014, 2018, 2023"] and not read.rejects.num_rows


def test_times_and_ratings_are_read_however_they_are_written_and_the_others_counted(tmp_path):
    ways = [
        (1400000000, 4, 1400000000, 4.0), ("1400000000", "4", 1400000000, 4.0), (1400000000123, 4.5, 1400000000, 4.5),
        ("2014-05-13T16:53:20Z", "4,5", 1400000000, 4.5), ({"$numberLong": "1400000000123"}, {"$numberInt": "3"},
         1400000000, 3.0), ({"$date": "2014-05-13T16:53:20Z"}, None, 1400000000, None), ("2014-05-13", "", 1399939200,
         None), ("soon", "good", None, None), ("", [4], None, None), (None, 5, None, 5.0),
        (20140513, 5, 1399939200, 5.0),
    ]  # fmt: skip
    old = [
        {"reviewerID": "A", "asin": f"B{n}", "unixReviewTime": at, "overall": r} for n, (at, r, *_) in enumerate(ways)
    ]
    new = [{"user_id": "A", "parent_asin": f"B{n}", "timestamp": at, "rating": r} for n, (at, r, *_) in enumerate(ways)]
    for rows in (old, new, [*old, *new], [repr(row) for row in old]):
        read = ingest.read_reviews([file_of(tmp_path, *rows)])
        found = [(row["time"], row["rating"]) for row in read.reviews.to_pylist()]
        copies = len(rows) // len(ways)
        assert found == [(time, rating) for *_, time, rating in ways] * copies and not read.rejects.num_rows
        assert (read.counts["times_not_read"], read.counts["ratings_not_read"]) == (copies, 2 * copies)


def test_times_as_text_out_of_range_are_rejected(tmp_path):
    rows = [
        {**OLD[0], "unixReviewTime": "9999999999"},
        {**OLD[1], "overall": "1000"},
        {**OLD[2], "unixReviewTime": "2999-01-01"},
    ]
    read = ingest.read_reviews([file_of(tmp_path, *rows, OLD[3])])
    reasons = read.rejects["reason"].to_pylist()
    assert reasons == ["time_out_of_range", "rating_out_of_range", "time_out_of_range"]


@pytest.mark.parametrize("layout", ["lines", "array", "literals"])
def test_an_id_that_is_a_whole_float_is_its_integer_and_zeros_are_kept(tmp_path, layout):
    written = [108775015.0, 108775016, "0108775017", "0108775018.0", 1.5, 123456789012345678901234567890]
    read_as = ["108775015", "108775016", "0108775017", "0108775018", "1.5", "123456789012345678901234567890"]
    for kind, bare in (("reviews", REVIEWS["2018"]), ("products", {"title": "Top"})):
        rows = [{**bare, "asin": value} for value in written]
        lines = (
            [json.dumps(rows)]
            if layout == "array"
            else [repr(r) if layout == "literals" else json.dumps(r) for r in rows]
        )
        read = getattr(ingest, f"read_{kind}")([file_of(tmp_path, *lines)])
        assert getattr(read, kind)["asin"].to_pylist() == read_as
