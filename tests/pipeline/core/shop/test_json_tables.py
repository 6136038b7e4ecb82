"""JSON with a shop's own keys is a table as CSV is; with Amazon's keys it takes what shop.toml says of its ids."""

import json
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.raw.ingest import read_products, read_reviews
from pipeline.core.raw.shop_tables import recognised
from pipeline.core.shop.mapping import Shop
from tests.pipeline.core.shop.tables import write

ROW = {"customer_id": "u1", "article_id": "0108", "date": 1_400_000_000}


def lines(folder: Path, *rows: dict | str, name: str = "o.json") -> Path:
    texts = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    return write(folder, name, "".join(f"{text}\n" for text in texts))


def shop_of(folder: Path, reviews: list[Path], products: list[Path], toml: str) -> Shop:
    shop = recognised(reviews, products, Shop.of(write(folder, "shop.toml", toml)))
    assert shop is not None
    return shop


def test_its_keys_are_recognised_by_the_names_of_columns(tmp_path):
    path = lines(tmp_path, ROW)
    shop = recognised([path], [])
    assert shop is not None and "JSON table; columns by their names: user = customer_id" in shop.understood[0]
    for read in (read_reviews([path]), read_reviews([path], shop=shop)):
        assert read.reviews.select(["reviewer_id", "asin", "time"]).to_pylist() == [
            {"reviewer_id": "u1", "asin": "0108", "time": 1_400_000_000}
        ]
    product = lines(tmp_path, {"sku": "0108", "name": "Shirt", "images": ["https://x.example/a.jpg"]}, name="p.json")
    assert read_products([product]).products["title"].to_pylist() == ["Shirt"]


def test_amazons_keys_keep_their_meaning(tmp_path):
    path = lines(tmp_path, {"user_id": "u", "asin": "V", "parent_asin": "P", "rating": 5.0, "timestamp": 1})
    assert recognised([path], []) is None
    assert read_reviews([path]).vintages == {str(path): "2023"}


def test_a_misspelt_key_is_refused_with_the_keys_that_there_are(tmp_path):
    with pytest.raises(InputError, match=r'user = "customer": the table has no such column; it has customer_id'):
        shop_of(tmp_path, [lines(tmp_path, ROW)], [], '[interactions]\nuser = "customer"\nitem = "article_id"')


def test_a_user_alone_leaves_the_other_keys_recognised(tmp_path):
    path = lines(tmp_path, {"wer": "u", **ROW})
    shop = shop_of(tmp_path, [path], [], '[interactions]\nuser = "wer"')
    assert read_reviews([path], shop=shop).reviews["reviewer_id"].to_pylist() == ["u"]


def test_a_key_that_comes_late_in_the_file_is_found(tmp_path):
    path = lines(tmp_path, *[ROW] * 1_001, {**ROW, "sterne": "4/5"})
    read = read_reviews([path], shop=shop_of(tmp_path, [path], [], '[interactions]\nrating = "sterne"'))
    assert read.reviews["rating"].to_pylist()[-2:] == [None, 4.0]


def test_a_key_is_not_taken_for_there_because_a_value_reads_so(tmp_path):
    path = lines(tmp_path, {**ROW, "note": "sterne"})
    with pytest.raises(InputError, match="no such column"):
        shop_of(tmp_path, [path], [], '[interactions]\nrating = "sterne"')


def test_keys_that_differ_by_case_are_two_columns(tmp_path):
    path = lines(tmp_path, {**ROW, "Note": 2, "note": "b"}, {**ROW, "Note": 4.5}, "no json")
    read = read_reviews([path], shop=shop_of(tmp_path, [path], [], '[interactions]\nrating = "Note"'))
    assert read.reviews["rating"].to_pylist() == [2.0, 4.5]
    assert read.rejects["reason"].to_pylist() == ["not_json"]


def test_half_an_emoji_rejects_no_row_and_keeps_the_order(tmp_path):
    rows = [json.dumps({**ROW, "customer_id": f"u{n}", "note": "ok"}) for n in range(4)]
    path = lines(tmp_path, *(row.replace("ok", "\\ud83d") if n in (1, 3) else row for n, row in enumerate(rows)), "[1]")
    read = read_reviews([path])
    assert read.reviews["reviewer_id"].to_pylist() == ["u0", "u1", "u2", "u3"]
    assert [(row["line"], row["reason"]) for row in read.rejects.to_pylist()] == [(5, "not_an_object")]


def test_width_fills_up_the_ids_of_amazons_json_too(tmp_path):
    review = lines(tmp_path, {"reviewerID": 12, "asin": 108, "overall": 5.0, "unixReviewTime": 1})
    product = lines(tmp_path, {"asin": 108, "title": "Shirt"}, name="p.json")
    shop = shop_of(tmp_path, [review], [product], "[interactions]\nwidth = 6\nuser_width = 4\n[products]\nwidth = 6")
    read = read_reviews([review], shop=shop).reviews.to_pylist()[0]
    assert (read["reviewer_id"], read["asin"]) == ("0012", "000108")
    assert read_products([product], shop=shop).products["asin"].to_pylist() == ["000108"]


def test_a_format_of_times_holds_for_amazons_json_too(tmp_path):
    review = lines(tmp_path, {"reviewerID": "u", "asin": "a", "overall": 5.0, "unixReviewTime": "03/04/2014"})
    unread = read_reviews([review])
    assert "o.json: row 1, column unixReviewTime: '03/04/2014'" in unread.unread["times"]
    shop = shop_of(tmp_path, [review], [], '[interactions]\ntime_unit = "%d/%m/%Y"')
    assert read_reviews([review], shop=shop).reviews["time"].to_pylist() == [1_396_483_200]


def test_words_for_nothing_are_no_ids_in_json_as_in_csv(tmp_path):
    ids = ["u1", "NaN", "nan", "None", "null", "", "u2"]
    rows = [{"reviewerID": user, "asin": "a", "overall": 5.0, "unixReviewTime": n} for n, user in enumerate(ids)]
    bare = '{"reviewerID": NaN, "asin": "a", "overall": 5.0, "unixReviewTime": 9}'
    table = write(tmp_path, "o.csv", "user,item\n" + "".join(f"{user},a\n" for user in [*ids, "NaN"]))
    found = [read_reviews([path]) for path in (lines(tmp_path, *rows, bare), table)]
    assert [read.reviews["reviewer_id"].to_pylist() for read in found] == [["u1", "u2"], ["u1", "u2"]]
    assert [read.rejects["reason"].to_pylist() for read in found] == [["reviewer_missing"] * 6] * 2


def test_a_layout_that_is_not_known_is_refused_with_its_keys_and_the_lines_of_shop_toml(tmp_path):
    with pytest.raises(InputError, match=r'keys mean what \(who, what\): \[interactions\] user = "...", item = "..."'):
        read_reviews([lines(tmp_path, {"who": 1, "what": 2})])
