"""Addresses of pictures in every form that shops write, and what is counted of the others."""

import json
import time
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.local_address import LocalPlace, archive_address, file_address, local_place
from pipeline.core.raw.addresses import clean_addresses, picture_urls, vendor_pictures
from pipeline.core.raw.ingest import read_products, read_reviews

A, B = "https://h.example/a.jpg", "https://h.example/b.jpg"
BASE = Path("/shop/tables")


def clean(*values: object, base: Path | None = BASE) -> tuple[list[str], dict[str, int]]:
    counts: Counter[str] = Counter()
    return clean_addresses(values, counts, base), dict(counts)


@pytest.mark.parametrize(
    "text",
    [
        f"['{A}', '{B}']",
        f'["{A}", "{B}"]',
        f"['{A}' '{B}']",
        f"['{A}'\n '{B}']",
        f"('{A}', '{B}')",
        f"[{A}, {B}]",
        f"{{{A},{B}}}",
        f"{A}|{B}",
        f" {A} | {B} |",
        f"{A}, {B}",
        f"{A},{B}",
        f"{A}; {B}",
        f"{A} {B}",
        f"{A}\n{B}",
        json.dumps([{"large": B, "variant": "PT01"}, {"large": A, "variant": "MAIN"}]),
        str([{"large": B, "variant": "PT01"}, {"large": A, "variant": "MAIN"}]),
        json.dumps({"large": [B, A], "variant": ["PT01", "MAIN"]}),
        json.dumps([{"url": A}, {"src": B}]),
        json.dumps([{"href": A}, {"image_url": B}]),
        json.dumps([{"link": A}, {"path": B, "bytes": None}]),
        json.dumps({"url": [A, B]}),
        json.dumps([[A], [B]]),
        json.dumps(json.dumps([A, B])),
        f"{{'hi_res': array([None, None], dtype=object), 'large': array(['{A}', '{B}'], dtype=object)}}",
        f"{A.removeprefix('https:')},{B.removeprefix('https:')}",
        f"{A}<br>{B}<br/>",
        f"{A} > {B}",
        f"{A}^{B}",
    ],
)
def test_several_addresses_in_one_text_are_all_read(text: str):
    assert clean(*picture_urls(text)) == ([A, B], {})
    assert clean(*picture_urls([text])) == ([A, B], {})


@pytest.mark.parametrize("ending", ["gif", "avif", "JPG", "heic"])
def test_marks_between_addresses_separate_them_after_any_ending_of_a_picture(ending: str):
    ours, theirs = f"https://h.example/a.{ending}", f"http://h.example/b.{ending}"
    assert clean(f"{ours},{theirs}") == clean(f"{ours};{theirs}") == ([ours, theirs], {})
    assert clean(f"{ours}?v=1,{theirs}#x, {A}") == ([f"{ours}?v=1", f"{theirs}#x", A], {})


@pytest.mark.parametrize(
    "text",
    [
        f'"{A}"',
        f"'{A}'",
        f"<{A}>",
        f"\ufeff{A}",
        f"\u200b{A}\u200b",
        f"\xa0{A}",
        f'=IMAGE("{A}")',
        f'=HYPERLINK("{A}"; "picture")',
        f"url({A})",
        f"url('{A}')",
        f"![front]({A})",
        f'<img alt="a" src="{A}" width=5>',
        f"<img src='{A}'/>",
        A.replace("/", "\\/"),
    ],
)
def test_what_is_written_around_an_address_is_removed(text: str):
    assert clean(text) == clean(*picture_urls(text)) == ([A], {})


@pytest.mark.parametrize("text", ["a.jpg,b.png", "a.jpg, b.png", "a.jpg;b.png", "a.jpg\nb.png", "['a.jpg','b.png']"])
def test_paths_between_which_there_is_a_mark_are_several(text: str):
    assert clean(text)[0] == [file_address(f"/shop/tables/{name}") for name in ("a.jpg", "b.png")]
    assert clean("'a.jpg'")[0] == [file_address("/shop/tables/a.jpg")]
    assert clean("Shirt, blue.jpg")[0] == [file_address("/shop/tables/Shirt, blue.jpg")]


@pytest.mark.parametrize(
    "text",
    [
        "https://h.example/x?family=a|b",
        "https://h.example/width=80,https://other.example/b.jpg",
        "https://h.example/fetch/w_200,h_300/https://other.example/b.jpg",
        "https://h.example/a[1].jpg",
        "https://h.example/with blank.jpg",
        "HTTPS://h.example/a.jpg",
        "https://h.example/video.mp4.jpg",
    ],
)
def test_one_address_stays_as_it_was_written(text: str):
    assert clean(*picture_urls(text)) == ([text], {})


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("images/1.jpg", "/shop/tables/images/1.jpg"),
        ("./images/1.JPG", "/shop/tables/images/1.JPG"),
        ("images/010/0108775015", "/shop/tables/images/010/0108775015"),
        ("/data/a b.jpg", "/data/a b.jpg"),
        ("images/50%.jpg", "/shop/tables/images/50%.jpg"),
        ("images/a%20b.jpg", "/shop/tables/images/a%20b.jpg"),
        ("images/a#b?c=d&signature=1.jpg", "/shop/tables/images/a#b?c=d&signature=1.jpg"),
        ("images/caf\u00e9 \u670d.jpg", "/shop/tables/images/caf\u00e9 \u670d.jpg"),
        ("../pictures/1.jpg", "/shop/pictures/1.jpg"),
        ("file:///data/a%20b.jpg", "/data/a b.jpg"),
        ("file:///data/a b.jpg", "/data/a b.jpg"),
        ("file:///data/50%.jpg", "/data/50%.jpg"),
        ("FILE://localhost/data/1.jpg", "/data/1.jpg"),
        ("file:/data/1.jpg", "/data/1.jpg"),
    ],
)
def test_a_path_becomes_an_address_against_the_folder_of_its_table(text: str, path: str):
    (address,), counts = clean(text)
    assert local_place(address) == LocalPlace(path) and not counts
    assert address.isascii() and "?" not in address and "#" not in address
    assert clean(text, base=None) == ([], {"urls_local_refused": 1})


@pytest.mark.parametrize(
    ("text", "archive", "member"),
    [
        ("pictures.zip/images/1.jpg", "/shop/tables/pictures.zip", "images/1.jpg"),
        ("images.tar!/1.jpg", "/shop/tables/images.tar", "1.jpg"),
        ("/data/Images.ZIP!/a b/1.jpg", "/data/Images.ZIP", "a b/1.jpg"),
        ("file:///data/a.tar.gz/1.jpg", "/data/a.tar.gz", "1.jpg"),
        ("archive:///data/a.zip!/1.jpg", "/data/a.zip", "1.jpg"),
    ],
)
def test_a_path_into_an_archive_names_its_member(text: str, archive: str, member: str):
    assert clean(text) == ([archive_address(archive, member)], {})
    assert local_place(archive_address(archive, member)) == LocalPlace(archive, member)
    assert clean(text, base=None) == ([], {"urls_local_refused": 1})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "empty"),
        (7, "not_text"),
        (None, "not_text"),
        (["x"], "not_text"),
        ("https://h/" + "x" * 8000, "too_long"),
        ("images/" + "\u670d" * 2000 + ".jpg", "too_long"),
        ("data:image/png;base64,AA", "data"),
        ("N/A", "no_value"),
        ("nan", "no_value"),
        ("C:\\shop\\x.jpg", "windows_path"),
        ("c:/shop/x.jpg", "windows_path"),
        ("\\\\server\\share\\x.jpg", "windows_path"),
        ("images\\x.jpg", "windows_path"),
        ("file:///C:/shop/x.jpg", "windows_path"),
        ("file://host/x.jpg", "file_host"),
        ("ftp://h/x.jpg", "other_scheme"),
        ("gs://bucket/x.jpg", "other_scheme"),
        ("javascript:alert(1)", "other_scheme"),
        ("www.h.example/x.jpg", "without_scheme"),
        ("cdn.shop.com/x.jpg", "without_scheme"),
        ("see the catalogue", "not_an_address"),
        ("https://", "not_an_address"),
        ({"hiRes": A}, "unknown_keys"),
        (b"\xff\xd8\xff\xe0", "embedded"),
        ("b'\\xff\\xd8\\xff'", "embedded"),
        ("/9j/4AAQSkZJRg==", "embedded"),
        ("http:/h.example/a.jpg", "misspelt"),
        ("https//h.example/a.jpg", "misspelt"),
        ("https:h.example/a.jpg", "misspelt"),
        ("https%3A%2F%2Fh.example%2Fa.jpg", "misspelt"),
        (f"url={A}", "in_text"),
        (f"see {A}", "in_text"),
        (f"<a href='{A}'>Shirt</a>", "in_text"),
        (f"['{A}', 'https://h.exam", "list_unread"),
        ("['images/a.jpg', 'images/b", "list_unread"),
        (f"{{'large': <object {A}>}}", "list_unread"),
        ("///x.jpg", "not_an_address"),
        ("images/a\x00b.jpg", "not_an_address"),
        ("https://h/clip.MP4?x=1", "video"),
        ("//h/clip.webm", "video"),
        ("images/clip.mov", "video"),
    ],
)
def test_what_is_no_address_is_counted_by_its_reason(value: object, reason: str):
    assert clean(A, value, B) == ([A, B], {f"urls_{reason}": 1})


def test_addresses_without_a_scheme_are_asked_for_securely_and_repeats_are_counted():
    assert clean("//h.example/a.jpg", A) == ([A], {"urls_repeated": 1})


def test_a_product_with_lists_as_text_has_no_other_pictures():
    assert vendor_pictures({"imageURL": "[]", "imageURLHighRes": "[]", "images": [{"large": A}]}) == ([A], [A])


def test_hostile_texts_take_little_time():
    texts = [
        "[" * 100_000,
        "[" + "'a" * 200_000,
        "['" + "\\" * 300_000 + "']",
        "|" * 500_000,
        " " * 500_000 + "|",
        ("," + " " * 50) * 10_000 + "http://",
        "x.zip/" * 1_000,
        "%" * 8_000,
        "file:" + "%2" * 3_000,
        "https:" + ",//a.jpg" * 120_000,
        "https:" + ",//" * 300_000,
        "<img" + " src=" * 1_500 + "<>",
        "<img" + " src='" * 1_500 + ">",
        "(" * 100_000 + ")",
        "[" + "1" * 10_000 + "]",
        json.dumps(json.dumps(json.dumps([json.dumps([A])]))),
    ]
    started = time.monotonic()
    for text in texts:
        clean(*picture_urls(text))
    assert time.monotonic() - started < 5


def test_ingest_resolves_paths_against_the_file_and_refuses_those_of_a_fetched_feed(tmp_path: Path):
    product = {"asin": "B1", "title": "x", "imageURL": ["images/1.jpg", A], "imageURLHighRes": "['/pictures/1.jpg']"}
    review = {"reviewerID": "U1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1_400_000_000, "image": ["me.jpg"]}
    for table, row in (("products.jsonl", product), ("reviews.jsonl", review)):
        (tmp_path / table).write_text(json.dumps(row) + "\n")

    def found() -> tuple[list[str], list[str], list[str], int]:
        products = read_products([tmp_path / "products.jsonl"])
        reviews = read_reviews([tmp_path / "reviews.jsonl"])
        row = products.products.to_pylist()[0]
        refused = products.counts.get("urls_local_refused", 0) + reviews.counts.get("urls_local_refused", 0)
        return row["vendor_urls"], row["vendor_urls_high"], reviews.reviews["image_urls"].to_pylist()[0], refused

    folder = quote(str(tmp_path))
    local = [f"file://{folder}/images/1.jpg", A], ["file:///pictures/1.jpg"], [f"file://{folder}/me.jpg"], 0
    assert found() == local
    (tmp_path / "origin.meta").write_text("{}")  # as beside every fetched file
    assert found() == ([A], [], [], 3)


def test_addresses_are_written_and_read_back():
    for path in ("/a/b.jpg", "/a b/%41#?.jpg", "/caf\u00e9/!/x.jpg", "/a.zip", "/x.zip/", "/bytes\udcff.jpg"):
        assert local_place(file_address(path)) == LocalPlace(path)
    assert local_place("file:///a%00b") is None
    assert local_place("archive:///a.zip") is None
    assert local_place("http://h/a") is None


REFUSED = {
    "B1": ("data:image/png;base64,AAAA", "data"),
    "B2": ("ftp://h.example/a.jpg", "other_scheme"),
    "B3": ("https://h.example/a.mp4", "video"),
    "B4": ("C:\\shop\\a.jpg", "windows_path"),
    "B5": ("h.example.com/a.jpg", "without_scheme"),
    "B6": ("https://h.example/" + "a" * 8_000, "too_long"),
    "B7": ("n/a", None),
    "B8": ("", None),
    "B9": (A, None),
}


@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_product_keeps_the_kind_of_the_first_address_that_cannot_be_used(tmp_path: Path, form: str):
    path = tmp_path / f"products.{form}"
    if form == "json":
        rows = [json.dumps({"asin": asin, "imageURL": [text]}) for asin, (text, _) in REFUSED.items()]
    else:
        rows = ["item_id,title,image_url", *(f'{asin},Shirt,"{text}"' for asin, (text, _) in REFUSED.items())]
    path.write_text("\n".join(rows) + "\n")
    products = read_products([path]).products
    found = dict(zip(products["asin"].to_pylist(), products["pictures_refused"].to_pylist(), strict=True))
    assert found == {asin: kind for asin, (_, kind) in REFUSED.items()}


def test_an_object_without_a_known_size_is_an_address_that_cannot_be_used_and_one_with_empty_sizes_is_none(tmp_path):
    path = tmp_path / "products.json"
    images = {"B1": [{"hiRes": A}], "B2": [{"thumb": None, "large": None}], "B3": [None], "B4": [{}]}
    path.write_text("".join(json.dumps({"parent_asin": b, "images": i}) + "\n" for b, i in images.items()))
    assert read_products([path]).products["pictures_refused"].to_pylist() == ["unknown_keys", None, None, None]


def test_a_product_of_several_lines_keeps_what_any_of_them_had_refused(tmp_path: Path):
    path = tmp_path / "products.json"
    lines = [("B1", []), ("B2", [A]), ("B1", ["data:x"]), ("B1", ["ftp://h/a.jpg"]), ("B2", [B])]
    path.write_text("".join(json.dumps({"asin": asin, "imageURL": urls}) + "\n" for asin, urls in lines))
    rows = read_products([path]).products.select(["asin", "vendor_urls", "pictures_refused"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("B1", [], "data"), ("B2", [A, B], None)]


def test_a_table_counts_and_reads_objects_and_keeps_small_and_large_pictures_apart_as_json_does(tmp_path: Path):
    sizes = {"thumb": A, "large": B, "variant": "MAIN"}
    values = [json.dumps([{"href": A}]), '{"hiRes": "x"}', json.dumps([sizes]), "b'\\xff\\xd8'", f'"{B}"']
    frame = pa.table({"item_id": [f"B{n}" for n in range(len(values))], "image": values})
    pq.write_table(frame, tmp_path / "products.parquet")
    read = read_products([tmp_path / "products.parquet"])
    rows = read.products.select(["vendor_urls", "vendor_urls_high", "pictures_refused"]).to_pylist()
    expected = [([A], [A], None), ([], [], "unknown_keys"), ([A], [B], None), ([], [], "embedded"), ([B], [B], None)]
    assert [tuple(row.values()) for row in rows] == expected
    assert {k: v for k, v in read.counts.items() if k.startswith("urls_")} == {
        "urls_unknown_keys": 1,
        "urls_embedded": 1,
    }


@pytest.mark.parametrize("as_struct", [True, False])
def test_pictures_inside_a_table_are_counted_under_their_own_kind(tmp_path: Path, as_struct: bool):
    jpeg = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(200))
    values = [{"bytes": jpeg, "path": "1.jpg"}, {"bytes": None, "path": "2.jpg"}] if as_struct else [jpeg, b"2.jpg"]
    pq.write_table(pa.table({"item_id": ["1", "2"], "image": values}), tmp_path / "products.parquet")
    read = read_products([tmp_path / "products.parquet"])
    assert read.products["pictures_refused"].to_pylist() == ["embedded", None]
    assert read.products["vendor_urls"].to_pylist() == [[], [file_address(str(tmp_path / "2.jpg"))]]
    assert read.counts["urls_embedded"] == 1
