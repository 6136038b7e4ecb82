"""The JSON lines have the 2018 format, and each wart occurs as often as the catalogue counts."""

import gzip
import json
import re
from collections import Counter

import pytest

from pipeline.sample.catalogue import SampleCatalogue
from pipeline.sample.plan import CataloguePlan
from pipeline.sample.styles import CLASSES


def _read(path) -> tuple[list[dict], list[bytes]]:
    records, broken = [], []
    for line in gzip.decompress(path.read_bytes()).split(b"\n")[:-1]:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            broken.append(line)
    return records, broken


@pytest.fixture(scope="module")
def reviews(catalogue: SampleCatalogue) -> tuple[list[dict], list[bytes]]:
    return _read(catalogue.reviews)


@pytest.fixture(scope="module")
def products(catalogue: SampleCatalogue) -> tuple[list[dict], list[bytes]]:
    return _read(catalogue.products)


def test_complete_reviews_have_the_fields_and_spellings_of_2018(reviews) -> None:
    whole = [record for record in reviews[0] if {"reviewerID", "asin", "overall"} <= record.keys()]
    for record in whole:
        assert re.fullmatch(r"A[0-9A-Z]{13}", record["reviewerID"])
        assert re.fullmatch(r"B0[0-9A-Z]{8}", record["asin"])
        assert record["overall"] in (1.0, 2.0, 3.0, 4.0, 5.0)
        assert isinstance(record["verified"], bool)
        month, day, year = re.fullmatch(r"(\d\d) (\d{1,2}), (\d{4})", record["reviewTime"]).groups()
        assert (int(month), int(day), 2013 <= int(year) <= 2018) == (int(month), int(day), True)
        assert record["unixReviewTime"] % 86_400 == 0
        assert {"reviewerName", "reviewText", "summary"} <= record.keys()
        assert record.get("image") != [], "a review without photos has no image key"
        assert all(value.startswith(" ") for value in record.get("style", {"": " "}).values())
        assert isinstance(record.get("vote", ""), str)


def test_review_warts_occur_as_often_as_counted(reviews, catalogue: SampleCatalogue) -> None:
    records, broken = reviews
    counts = catalogue.counts
    assert min(counts[name] for name in ("duplicate_review", "repeat_purchase", "no_reviewer", "cut_line")) >= 1
    assert sum("reviewerID" not in record for record in records) == counts["no_reviewer"]
    assert sum("asin" not in record for record in records) == counts["no_asin"]
    assert sum("overall" not in record for record in records) == counts["no_rating"]
    assert sum(line == b"" for line in broken) == counts["empty_line"]
    assert sum(line.startswith(b"<p>") for line in broken) == counts["not_json"]
    assert sum(line.startswith(b"{") for line in broken) == counts["cut_line"]
    lines = Counter(json.dumps(record) for record in records)
    assert sum(times - 1 for times in lines.values()) == counts["duplicate_review"]
    assert len(records) + len(broken) == counts["review_lines"]


def test_only_the_users_have_five_distinct_items_and_some_casual_users_have_five_reviews(
    reviews, plan: CataloguePlan
) -> None:
    items: dict[str, set[str]] = {}
    written: Counter[str] = Counter()
    for record in reviews[0]:
        if "reviewerID" in record and "asin" in record:
            items.setdefault(record["reviewerID"], set()).add(record["asin"])
            written[record["reviewerID"]] += 1
    five = {reviewer for reviewer, bought in items.items() if len(bought) >= 5}
    assert five == set(plan.reviewer_ids[:50])
    assert {reviewer for reviewer, times in written.items() if times >= 5} > five


def test_every_planted_purchase_is_reviewed(reviews, plan: CataloguePlan) -> None:
    pairs = {(record.get("reviewerID"), record.get("asin")) for record in reviews[0]}
    for reviewer, bought in zip(plan.reviewer_ids, plan.shoppers.purchases, strict=True):
        assert all((reviewer, plan.products[item].asin) in pairs for item in bought)


def test_the_configured_share_of_reviews_has_its_own_photos(reviews, plan: CataloguePlan) -> None:
    share = sum(bool(review.photos) for review in plan.reviews) / len(plan.reviews)
    assert abs(share - plan.settings.photo_share) < 0.06
    urls = [url for record in reviews[0] for url in record.get("image", [])]
    assert all(url.startswith("http://127.0.0.1:8877/images/I/71") and url.endswith("L._SY88.jpg") for url in urls)


def test_product_warts_occur_as_often_as_counted(products, catalogue: SampleCatalogue) -> None:
    records, broken = products
    counts = catalogue.counts
    named = {record["asin"]: record for record in records if "asin" in record}
    assert counts["products"] - len(named) == counts["no_metadata"]
    assert sum("asin" not in record for record in records) == 1
    assert len(broken) == 1
    assert len(records) - 1 - len(named) == counts["repeated_metadata"]
    lists = [record.get("imageURL", []) for record in named.values()]
    assert sum(not urls for urls in lists) == counts["no_pictures"]
    assert sum("" in urls for urls in lists) == counts["empty_url"]
    assert sum(len(set(urls)) < len(urls) for urls in lists) == counts["repeated_url"]
    assert sum(any(url.startswith("/") for url in urls) for urls in lists) == counts["relative_url"]
    assert sum("<span" in record["title"] or "&#39;" in record["title"] for record in named.values()) >= 1
    assert (
        sum("imageURLHighRes" not in record for record in named.values() if record.get("imageURL"))
        == (counts["no_high_resolution"])
    )


def test_a_product_without_category_names_gender_and_type_in_its_title(products, plan: CataloguePlan) -> None:
    classes = {product.asin: product.style for product in plan.products}
    bare = [record for record in products[0] if record["category"] == [] and "asin" in record]
    assert len(bare) >= 5
    for record in bare:
        style = classes[record["asin"]]
        if style.garment_class in CLASSES:
            assert ("Women" if style.gender == "women" else "Men") in record["title"].split("&#39;")[0]


def test_category_paths_go_below_the_right_department(products, plan: CataloguePlan) -> None:
    styles = {product.asin: product.style for product in plan.products}
    for record in products[0]:
        if record["category"] and "asin" in record:
            root, department, *path = record["category"]
            assert root == "Clothing, Shoes & Jewelry"
            assert path
            if styles[record["asin"]].gender:
                assert department == styles[record["asin"]].gender.title()


def test_every_listed_picture_was_written_unless_its_url_is_a_wart(products, catalogue: SampleCatalogue) -> None:
    written = {path.name for path in catalogue.pictures.iterdir()}
    for record in products[0]:
        for url in (*record.get("imageURL", []), *record.get("imageURLHighRes", [])):
            if url.startswith("http"):
                assert url.rpartition("/")[2] in written
