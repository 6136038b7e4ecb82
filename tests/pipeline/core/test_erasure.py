"""Erased names stay out of every table, and the list of erasures contains no name."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core import schemas
from pipeline.core.erasure import LIST, Erasures
from pipeline.core.images.forget import forget
from pipeline.core.images.ledger import PictureStore
from pipeline.core.local_address import file_address
from pipeline.core.raw.ingest import ReadContext, read_reviews
from pipeline.core.raw.named_pictures import named_pictures
from pipeline.core.shop.mapping import InteractionColumns, Shop
from tests.pipeline.core.images.test_ledger import bad, good, sha_of

ANN, BO, COAT, HAT = "A1ANN", "A2BO", "B00COAT", "B00HAT"


def erased(home: Path, kind: str, name: str, urls: tuple[str, ...] = ()) -> Erasures:
    Erasures.of(home).with_more(kind, name, urls).write(home)
    return Erasures.of(home)


def reviews() -> pa.Table:
    rows = [(ANN, COAT, ["http://x/1", "http://x/2"]), (BO, COAT, ["http://x/2"]), (BO, HAT, [])]
    return pa.Table.from_pylist(
        [
            {"reviewer_id": who, "asin": what, "image_urls": urls, "review_id": f"{n}", "rating": 5.0, "time": n}
            for n, (who, what, urls) in enumerate(rows)
        ],
        schema=schemas.REVIEWS,
    )


def test_the_list_recognises_names_that_it_does_not_contain(tmp_path: Path):
    found = erased(tmp_path, "reviewer", ANN, ("http://x/1",))
    text = (tmp_path / LIST).read_text()
    assert ANN not in text and "http" not in text
    assert found.holds("reviewer", ANN) and found.holds("url", "http://x/1")
    assert not found.holds("reviewer", BO) and not found.holds("asin", ANN)


def test_the_same_name_has_another_digest_in_another_home(tmp_path: Path):
    one, two = (erased(tmp_path / name, "reviewer", ANN) for name in ("one", "two") if not (tmp_path / name).mkdir())
    assert one.entries[0]["digest"] != two.entries[0]["digest"]


def test_erasing_twice_changes_nothing(tmp_path: Path):
    once = erased(tmp_path, "reviewer", ANN, ("http://x/1",))
    assert erased(tmp_path, "reviewer", ANN, ("http://x/1",)).entries == once.entries
    assert once.version and Erasures.of(tmp_path / "elsewhere").version == ""


@pytest.mark.parametrize(
    ("kind", "name", "rows"), [("reviewer", ANN, [1, 2]), ("asin", COAT, [2]), ("url", "x", [0, 1, 2])]
)
def test_erased_reviews_are_removed(tmp_path: Path, kind: str, name: str, rows: list[int]):
    kept = erased(tmp_path, kind, name).from_reviews(reviews())
    assert kept.equals(reviews().take(rows))


def test_an_erased_url_is_removed_from_every_list_and_the_review_stays(tmp_path: Path):
    kept = erased(tmp_path, "url", "http://x/2").from_reviews(reviews())
    assert kept["image_urls"].to_pylist() == [["http://x/1"], [], []]
    assert kept.schema.equals(schemas.REVIEWS)


def test_an_erased_product_loses_its_row_and_an_erased_picture_its_url(tmp_path: Path):
    row = {"title": "", "categories": [], "garment_class": None}
    products = pa.Table.from_pylist(
        [
            {**row, "asin": COAT, "vendor_urls": ["http://v/1"], "vendor_urls_high": ["http://v/h"]},
            {**row, "asin": HAT, "vendor_urls": ["http://v/2", "http://v/3"], "vendor_urls_high": []},
        ],
        schema=schemas.PRODUCTS,
    )
    erased(tmp_path, "asin", COAT)
    kept = erased(tmp_path, "url", "http://v/3").from_products(products)
    assert kept["asin"].to_pylist() == [HAT] and kept["vendor_urls"].to_pylist() == [["http://v/2"]]


def test_a_reject_with_an_erased_name_keeps_its_row_and_loses_its_text(tmp_path: Path):
    texts = [f'{{"reviewerID": "{ANN}", ', f'{{"reviewerID": "{ANN}X", ', '"http://x/1",']
    rows = [{"file": "f", "line": n, "offset": None, "reason": "not_json", "text": t} for n, t in enumerate(texts)]
    table = pa.Table.from_pylist(rows, schema=schemas.REJECTS)
    kept = erased(tmp_path, "reviewer", ANN, ("http://x/1",)).from_rejects(table, named_pictures)
    assert kept["text"].to_pylist() == ["", texts[1], ""] and kept["line"].to_pylist() == [0, 1, 2]


@pytest.mark.parametrize(
    "text",
    [
        '{"asin": "B00HAT", "image": ["photos/ann 1.jpg"]',
        '{"image": "photos\\/ann 1.jpg", ',
        ",B00HAT,5.0,,photos/ann 1.jpg",
        ",B00HAT,5.0,,other.jpg|./photos/ann 1.jpg",
        ",B00HAT,['{folder}/photos/ann 1.jpg', 'b.jpg']",
        ",B00HAT;file://{folder}/photos/ann%201.jpg",
        ",B00HAT,photos.zip/ann 1.jpg",
    ],
)
def test_a_reject_that_names_a_local_picture_of_an_erased_person_loses_its_text(tmp_path: Path, text: str):
    urls = file_address(f"{tmp_path}/photos/ann 1.jpg"), file_address(f"{tmp_path}/photos.zip/ann 1.jpg")
    row = {"file": str(tmp_path / "reviews.csv"), "line": 1, "offset": None, "reason": "reviewer_missing"}
    texts = [text.replace("{folder}", str(tmp_path)), ",B00HAT,5.0,,photos/bo.jpg", "photos/ann 1.jpg.old"]
    table = pa.Table.from_pylist([{**row, "text": each} for each in texts], schema=schemas.REJECTS)
    kept = erased(tmp_path, "reviewer", ANN, urls).from_rejects(table, named_pictures)
    assert kept["text"].to_pylist() == ["", *texts[1:]]


def test_ingest_keeps_no_local_picture_of_an_erased_person_in_its_rejects(tmp_path: Path):
    path = tmp_path / "reviews.csv"
    rows = [f"{ANN},{COAT},photos/ann.jpg", f",{COAT},photos/ann.jpg", f",{COAT},photos/bo.jpg"]
    path.write_text("\n".join(["user_id,item_id,image", *rows]) + "\n")
    shop = Shop(interactions=InteractionColumns(user="user_id", item="item_id", pictures="image"))
    list_of_erasures = erased(tmp_path, "reviewer", ANN, (file_address(f"{tmp_path}/photos/ann.jpg"),))
    read = read_reviews([path], read_context=ReadContext(erased=list_of_erasures), shop=shop)
    assert read.rejects["text"].to_pylist() == ["", f",{COAT},photos/bo.jpg"] and read.erased == 1


def test_an_erased_name_becomes_a_tombstone_and_keeps_its_number(tmp_path: Path):
    users = pa.table([pa.array([0, 1], pa.int32()), [ANN, BO]], schema=schemas.USERS)
    kept = erased(tmp_path, "reviewer", ANN).from_names(users, "reviewer")
    assert kept["reviewer_id"].to_pylist() == ["(erased 0)", BO] and kept.schema.equals(schemas.USERS)


def test_the_store_removes_a_url_and_the_picture_that_only_it_has(tmp_path: Path):
    store = PictureStore(tmp_path)
    for url, data in (
        ("http://x/1", b"the first picture"),
        ("http://x/2", b"two"),
        ("http://y/2", b"two"),
        ("http://x/3", b"three"),
    ):
        store.add(*good(url, data))
        store.flush()
    store.add(bad("http://x/4", "http_404"))
    store.flush()
    gone = {"http://x/1", "http://x/2", "http://x/4"}
    removed = forget(tmp_path, lambda urls: pa.array([url in gone for url in urls.to_pylist()]).to_numpy(False))
    assert removed == {sha_of(b"the first picture")}
    again = PictureStore(tmp_path)
    assert again.ledger(["url"])["url"].to_pylist() == ["http://x/3", "http://y/2"]
    assert dict(again.read([sha_of(b"two"), sha_of(b"three")])).keys() == {sha_of(b"two"), sha_of(b"three")}
    assert sha_of(b"the first picture") not in again
    assert not any(b"the first picture" in path.read_bytes() for path in tmp_path.glob("pictures-*.parquet"))
    assert forget(tmp_path, lambda urls: pa.array([False] * len(urls)).to_numpy(False)) == set()
