"""The scope of an erasure with signed URLs: a picture is the same whatever its URL's signature."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.erasure import Erasures
from pipeline.erase.erase import ErasureScope, find_scope


def signed(picture: str, mac: str) -> str:
    return f"https://cdn.example/{picture}.jpg?X-Amz-Signature={mac}"


def tables(folder: Path) -> Path:
    pictures = [[signed("own", "1"), signed("shared", "1")], [signed("shared", "2")]]
    products = {"asin": ["A", "B"], "vendor_urls": pictures, "vendor_urls_high": pictures}
    pq.write_table(pa.table(products), folder / "products.parquet")
    pq.write_table(pa.table({"item": pa.array([0, 1], pa.int32()), "asin": ["A", "B"]}), folder / "items.parquet")
    wanted = {"item": pa.array([0, 1], pa.int32()), "url": [signed("own", "3"), signed("shared", "2")]}
    pq.write_table(pa.table(wanted), folder / "image_urls.parquet")
    return folder


def test_a_picture_that_another_product_shows_under_another_signature_stays(tmp_path: Path) -> None:
    found = find_scope(tables(tmp_path), "asin", "A")
    assert (found.urls, found.shown) == ({signed("own", "1")}, {0})


def test_a_picture_is_erased_under_every_signature(tmp_path: Path) -> None:
    found = find_scope(tables(tmp_path), "url", signed("own", "9"))
    assert (found.urls, found.shown) == ({signed("own", "3")}, {0})
    erased = Erasures.none().with_more("url", found.name, found.urls)
    assert erased.holds("url", signed("own", "7")) and not erased.holds("url", signed("shared", "9"))


def test_a_list_of_an_earlier_version_still_applies() -> None:
    url, salt = signed("own", "1"), "00" * 16
    before = Erasures(salt)._digest("url", url)
    assert Erasures(salt, ({"digest": before},), frozenset({before})).holds("url", url)


def test_a_picture_in_a_file_is_searched_for_by_its_path_too() -> None:
    scope = ErasureScope("reviewer", "A1", frozenset({"file:///shop/ann%201.jpg", "archive:///shop/a.zip!/ann.jpg"}))
    assert {"/shop/ann 1.jpg", "/shop/a.zip/ann.jpg", "file:///shop/ann%201.jpg"} < set(scope.names)
