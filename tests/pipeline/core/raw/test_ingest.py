"""Read reviews and products of the three vintages; rejects have their place, and nothing is lost."""

import gzip
import json
import random
from pathlib import Path

import pytest

from pipeline.core import schemas
from pipeline.core.errors import InputError
from pipeline.core.raw import framing, ingest, parsing, values

DATASETS = Path(__file__).parents[4] / "../shared/datasets"

REVIEWS = {
    "2014": {"reviewerID": "A1", "asin": "B1", "reviewerName": "x", "helpful": [0, 1], "reviewText": "fine",
             "overall": 4.0, "summary": "ok", "unixReviewTime": 1400000000, "reviewTime": "05 13, 2014"},
    "2018": {"overall": 4.0, "verified": True, "reviewTime": "05 13, 2014", "reviewerID": "A1", "asin": "B1",
             "style": {"Color:": " Red"}, "reviewText": "fine", "summary": "ok", "unixReviewTime": 1400000000},
    "2023": {"rating": 4.0, "title": "ok", "text": "fine", "images": [], "asin": "B1-red", "parent_asin": "B1",
             "user_id": "A1", "timestamp": 1400000000123, "helpful_vote": 0, "verified_purchase": True},
}  # fmt: skip
PRODUCTS = {
    "2014": "{'asin': 'B1', 'title': \"Women's &amp; <b>Top</b>\", 'imUrl': 'http://h/1.jpg', 'salesRank': {'a': 1},"
    " 'categories': [['Clothing', 'Women'], ['Clothing', 'Tops']]}",
    "2018": json.dumps({"title": "Women's &amp; <b>Top</b>", "asin": "B1", "category": ["Clothing", "Women", "Tops"],
                        "imageURL": ["http://h/1.jpg"], "imageURLHighRes": ["http://h/1L.jpg"], "price": "$5"}),
    "2023": json.dumps({"main_category": "AMAZON FASHION", "title": "Women's &amp; <b>Top</b>", "parent_asin": "B1",
                        "categories": ["Clothing", "Women", "Tops"], "features": [],
                        "images": [{"thumb": "http://h/1.jpg", "large": "http://h/1M.jpg", "hi_res": None,
                                    "variant": "MAIN"}]}),
}  # fmt: skip


def file_of(tmp_path, *lines, name="x.jsonl"):
    data = b"".join((x if isinstance(x, bytes) else (x if isinstance(x, str) else json.dumps(x)).encode()) + b"\n"
                    for x in lines)  # fmt: skip
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    return path


def within_bounds(value):
    bounds = {"overall": values.RATINGS, "unixReviewTime": values.TIMES}
    numbers = ((value.get(key), *ends) for key, ends in bounds.items())
    return all(low <= number <= high for number, low, high in numbers if isinstance(number, (int, float)))


def review(**changes):
    return {**REVIEWS["2018"], **changes}


@pytest.mark.parametrize("vintage", ["2014", "2018", "2023"])
def test_reviews_of_every_vintage_are_read_alike(tmp_path, vintage):
    read = ingest.read_reviews([file_of(tmp_path, REVIEWS[vintage], name="r.json.gz")])
    (row,) = read.reviews.to_pylist()
    row.pop("review_id")
    assert row == {"reviewer_id": "A1", "asin": "B1", "rating": 4.0, "time": 1400000000, "image_urls": []}
    assert list(read.vintages.values()) == [vintage]
    assert read.reviews.schema == schemas.REVIEWS


@pytest.mark.parametrize("vintage", ["2014", "2018", "2023"])
def test_products_of_every_vintage_are_read_alike(tmp_path, vintage):
    read = ingest.read_products([file_of(tmp_path, PRODUCTS[vintage])])
    (row,) = read.products.to_pylist()
    high = {"2014": [], "2018": ["http://h/1L.jpg"], "2023": ["http://h/1M.jpg"]}[vintage]
    price = {"2014": None, "2018": 5.0, "2023": None}[vintage]
    assert row == {
        "asin": "B1", "title": "Women's & Top", "categories": ["Clothing", "Women", "Tops"],
        "vendor_urls": ["http://h/1.jpg"], "vendor_urls_high": high, "pictures_refused": None, "garment_class": None,
        "price": price, "attributes": None,
    }  # fmt: skip
    assert list(read.vintages.values()) == [vintage]


def test_an_unknown_layout_is_shown_with_the_three_known_layouts(tmp_path):
    path = file_of(tmp_path, {"who": 1, "what": 2, "pad": "x" * 400})
    with pytest.raises(InputError) as error:
        ingest.read_reviews([path])
    text = str(error.value)
    assert '{"who": 1, "what": 2' in text and "x" * 300 not in text
    assert all(vintage in text for vintage in ("2014", "2018", "2023"))
    assert ingest.read_reviews([path], vintage="2018").rejects.num_rows == 1  # a given vintage reads it anyway
    with pytest.raises(InputError, match="not a known shape of products"):
        ingest.read_products([file_of(tmp_path, REVIEWS["2018"])])


def test_rejects_name_line_offset_and_reason_and_every_line_is_accounted_for(tmp_path):
    lines = [review(), "{broken", "", "[1, 2]", review(reviewerID=" "), review(asin=None), review(asin={"a": 1}), "3"]
    path = file_of(tmp_path, *lines)
    read = ingest.read_reviews([path])
    reasons = [(r["line"], r["reason"]) for r in read.rejects.to_pylist()]
    assert reasons == [
        (2, "not_json"), (4, "not_an_object"), (5, "reviewer_missing"), (6, "asin_missing"), (7, "asin_missing"),
        (8, "not_an_object"),
    ]  # fmt: skip
    data = path.read_bytes()
    for row in read.rejects.to_pylist():
        assert data[row["offset"] :].decode().startswith(row["text"])
        assert row["reason"] in parsing.REJECT_REASONS
    assert read.accepted + read.rejects.num_rows == read.lines == 7  # the blank line does not count


def test_missing_or_unusable_rating_and_time_are_null(tmp_path):
    bare = {"reviewerID": "A", "asin": "B"}
    odd = review(overall="many", unixReviewTime="yesterday")
    nan = '{"reviewerID": "A", "asin": "B", "overall": NaN}'
    read = ingest.read_reviews([file_of(tmp_path, bare, odd, nan, review(overall="3"))])
    assert read.reviews["rating"].to_pylist() == [None, None, None, 3.0]
    assert read.reviews["time"].to_pylist() == [None, None, None, 1400000000]


def test_bytes_that_are_not_utf8_and_lone_surrogates_do_not_lose_the_review(tmp_path):
    bad_bytes = json.dumps(review(reviewText="caf#")).encode().replace(b"#", b"\xe9")
    surrogate = json.dumps(review(reviewText="\ud83d!"))
    read = ingest.read_reviews([file_of(tmp_path, review(), bad_bytes, surrogate)])
    assert (read.reviews.num_rows, read.rejects.num_rows) == (3, 0)
    assert read.counts["lines_not_utf8"] == 1


def test_an_overlong_line_is_rejected_and_its_neighbours_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(framing, "MAX_LINE_BYTES", 2000)
    monkeypatch.setattr(parsing, "MAX_LINE_BYTES", 2000)
    read = ingest.read_reviews([file_of(tmp_path, review(), review(reviewText="x" * 5000), review(asin="B2"))])
    assert read.reviews["asin"].to_pylist() == ["B1", "B2"]
    (reject,) = read.rejects.to_pylist()
    assert (reject["line"], reject["reason"], len(reject["text"])) == (2, "too_long", 500)
    assert read.lines == 3


def test_unusable_urls_are_dropped_and_counted(tmp_path):
    urls = ["http://h/a", "", "rel", "data:image/png;base64,AA", "http://h/a", 7, " https://h/b "]
    read = ingest.read_reviews([file_of(tmp_path, review(image=urls), review(image="http://h/c"))])
    assert read.reviews["image_urls"].to_pylist() == [["http://h/a", "https://h/b"], ["http://h/c"]]
    wanted = {"urls_empty": 1, "urls_not_an_address": 1, "urls_data": 1, "urls_repeated": 1, "urls_not_text": 1}
    assert {k: read.counts[k] for k in wanted} == wanted


def test_customer_photos_of_2023_give_one_url_a_picture(tmp_path):
    photos = [{"small_image_url": f"http://h/{n}s", "large_image_url": f"http://h/{n}l"} for n in (1, 2)]
    read = ingest.read_reviews([file_of(tmp_path, {**REVIEWS["2023"], "images": photos})])
    assert read.reviews["image_urls"].to_pylist() == [["http://h/1s", "http://h/2s"]]


def test_a_repeat_inside_a_file_stays_and_the_same_review_in_two_files_counts_once(tmp_path):
    a = file_of(tmp_path, review(), review(), review(asin="B2"), name="a.jsonl")
    b = file_of(tmp_path, json.dumps(review()) + " \r", review(asin="B3"), name="b.json.gz")
    read = ingest.read_reviews([a, b])
    assert read.reviews["asin"].to_pylist() == ["B1", "B1", "B2", "B3"]
    assert len(set(read.reviews["review_id"].to_pylist())) == 4
    assert read.counts["repeated_across_files"] == 1
    assert read.accepted == read.lines == 5
    assert ingest.read_reviews([a]).reviews["review_id"][0].as_py() == parsing.line_hash(a.read_text().split("\n")[0])


def test_lines_under_one_asin_are_one_product_with_all_urls(tmp_path):
    lines = [
        {"asin": "B1", "title": "first", "imageURL": ["http://h/1"]},
        {"asin": "B2"},
        {"asin": "B1", "title": "second", "imageURL": ["http://h/2", "http://h/1"], "category": "A > B"},
    ]
    read = ingest.read_products([file_of(tmp_path, *lines)])
    first, second = read.products.to_pylist()
    assert (first["title"], first["vendor_urls"]) == ("first", ["http://h/1", "http://h/2"])
    assert (second["title"], second["categories"], second["vendor_urls"]) == ("", [], [])
    assert read.counts["repeated_asin"] == 1
    assert read.accepted + read.rejects.num_rows == read.lines == 3


def test_a_truncated_file_gives_an_error_and_nothing_else(tmp_path):
    path = file_of(tmp_path, *[review(asin=f"B{n}") for n in range(500)], name="cut.json.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cut short"):
        ingest.read_reviews([path])


def test_twenty_thousand_random_and_mutated_lines_lose_no_good_line(tmp_path):
    rng = random.Random(7)
    good = json.dumps(review(reviewText='a "quoted" \\ line \u00e9', image=["http://h/1.jpg"])).encode()
    lines = []
    for _ in range(20_000):
        line = bytearray(good)
        for _ in range(rng.choice((0, 0, 1, 1, 2, 8))):
            at = rng.randrange(len(line))
            rng.choice((line.pop, lambda i, line=line: line.insert(i, rng.randrange(256)), lambda i, line=line:
                        line.__setitem__(slice(i, i + 1), bytes([rng.randrange(256)]))))(at)  # fmt: skip
        lines.append(bytes(line).replace(b"\n", b" "))
    lines += [rng.randbytes(rng.randrange(1, 60)).replace(b"\n", b"{") for _ in range(2_000)]
    lines += ["".join(rng.choices('{}[]",:\\ue0 1', k=rng.randrange(1, 40))).encode() for _ in range(2_000)]
    rng.shuffle(lines)
    path = file_of(tmp_path, *lines)
    read = ingest.read_reviews([path], vintage="2018")
    counted = [line for line in lines if line.strip(b" \t\r\n\f\v\0\x1e")]
    assert read.accepted + read.rejects.num_rows == read.lines == len(counted)
    rejected = set(read.rejects["line"].to_pylist())
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        ids = (value.get("reviewerID"), value.get("asin")) if isinstance(value, dict) else (None, None)
        if all(isinstance(i, str) and i.strip() for i in ids) and within_bounds(value):
            assert number not in rejected, line


@pytest.mark.skipif(not DATASETS.is_dir(), reason="the evaluation data sets are not beside this checkout")
def test_the_genuine_files_pass_with_the_counts_of_their_readme():
    fashion = ingest.read_reviews([DATASETS / "amazon_fashion_5/AMAZON_FASHION_5.json.gz"])
    assert (fashion.lines, fashion.reviews.num_rows, fashion.rejects.num_rows) == (3176, 3176, 0)
    pictured = sum(bool(urls) for urls in fashion.reviews["image_urls"].to_pylist())
    assert pictured == 106
    hm = ingest.read_products([DATASETS / "hm/products.jsonl.gz"]).products
    assert sum(map(len, hm["vendor_urls"].to_pylist())) == sum(map(len, hm["vendor_urls_high"].to_pylist())) == 16385
    assert hm.num_rows == 7347


def test_a_file_of_which_every_line_is_long_is_read(tmp_path):
    path = tmp_path / "products.jsonl"
    path.write_text("".join(json.dumps({"asin": asin, "description": "x" * (1 << 20)}) + "\n" for asin in "12"))
    assert ingest.read_products([path]).products["asin"].to_pylist() == ["1", "2"]
