"""Every oddity of real dumps has one documented outcome, tested through the public functions."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.core.dataset import kcore, survivors
from pipeline.core.errors import InputError
from pipeline.core.generator.categories import map_products
from pipeline.core.raw import ingest
from tests.pipeline.core.dataset.test_survivors import ledger_of

MIB = 1 << 20


def review(**changes):
    whole = {"reviewerID": "A1", "asin": "B1", "overall": 4.0, "unixReviewTime": 1400000000, "reviewText": "fine"}
    return {**whole, **changes}


def write(path: Path, *lines) -> Path:
    """Write lines, each as JSON or raw bytes; gzipped if the name ends in .gz."""
    data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def products(tmp_path: Path, *lines):
    return ingest.read_products([write(tmp_path / "products.jsonl", *lines)])


def reviews(tmp_path: Path, *lines):
    return ingest.read_reviews([write(tmp_path / "reviews.jsonl", *lines)])


# Reviews without metadata, and metadata without reviews.


@pytest.fixture
def shop(tmp_path: Path):
    """A1 reviewed B1 to B6; B6 has no metadata but a photo; B9 is a shirt that nobody reviewed."""
    of_items = [{"asin": f"B{n}", "title": "Umbrella", "imageURL": [f"http://h/{n}"]} for n in range(1, 6)]
    unread = {"asin": "B9", "title": "Men's Shirt", "imageURL": ["http://h/9"]}
    of_users = [review(asin=f"B{n}", **({"image": ["http://h/photo"]} if n == 6 else {})) for n in range(1, 7)]
    read = reviews(tmp_path, *of_users).reviews
    return read, map_products(products(tmp_path, *of_items, unread).products), kcore.five_core(read)


def test_a_product_without_reviews_is_used_only_for_the_generator(shop):
    read, known, core = shop
    assert "B9" not in core.items["asin"].to_pylist()
    assert "B9" not in survivors.image_urls(core.items, known, read)["asin"].to_pylist()
    with_extra = survivors.image_urls(core.items, known, read, extra_per_class=1)
    extra = with_extra.filter(pc.equal(with_extra["asin"], "B9")).to_pylist()
    assert [(row["url"], row["item"], row["source"]) for row in extra] == [("http://h/9", None, "vendor")]


def test_an_item_without_metadata_keeps_only_its_customers_pictures(shop):
    read, known, core = shop
    assert core.items["asin"].to_pylist()[-1] == "B6" and core.interactions.num_rows == 6
    urls = survivors.image_urls(core.items, known, read)
    of_b6 = urls.filter(pc.equal(urls["asin"], "B6")).to_pylist()
    assert [(row["source"], row["url"], row["reviewer_id"]) for row in of_b6] == [("customer", "http://h/photo", "A1")]


def test_an_item_is_only_in_modes_in_which_it_has_a_picture(shop):
    read, known, core = shop
    urls = survivors.image_urls(core.items, known, read)
    ledger = ledger_of(urls["url"].to_pylist())
    found = {
        mode: survivors.surviving(core.interactions, urls, ledger, mode) for mode in ("vendor_all", "vendor_customer")
    }
    assert found["vendor_all"].counts["items_without_picture"] == 1
    assert {mode: kept.counts["items"] for mode, kept in found.items()} == {"vendor_all": 5, "vendor_customer": 6}
    assert {mode: kept.counts["users"] for mode, kept in found.items()} == {"vendor_all": 1, "vendor_customer": 1}


# Fields.


@pytest.mark.parametrize("asin", [..., None, "", "  ", [], ["B1"], {}, {"id": "B1"}])
def test_a_line_without_an_asin_is_rejected_and_its_neighbours_are_read(tmp_path: Path, asin):
    changes = {} if asin is ... else {"asin": asin}
    bare = {key: value for key, value in review().items() if key != "asin"}
    for read, kept in (
        (reviews(tmp_path, review(), {**bare, **changes}, review(asin="B2")), "reviews"),
        (products(tmp_path, {"asin": "B1"}, {"title": "Top", **changes}, {"asin": "B2"}), "products"),
    ):
        assert getattr(read, kept)["asin"].to_pylist() == ["B1", "B2"]
        assert [(row["line"], row["reason"]) for row in read.rejects.to_pylist()] == [(2, "asin_missing")]
        assert read.accepted + read.rejects.num_rows == read.lines == 3


def test_a_number_as_asin_is_read_as_text(tmp_path: Path):
    assert reviews(tmp_path, review(asin=20232233)).reviews["asin"].to_pylist() == ["20232233"]
    assert products(tmp_path, {"asin": 20232233}).products["asin"].to_pylist() == ["20232233"]


@pytest.mark.parametrize("key", ["category", "categories"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Shirts", ["Shirts"]),
        ("Clothing > Men > Shirts", ["Clothing", "Men", "Shirts"]),
        (["Clothing", "Men", "Shirts"], ["Clothing", "Men", "Shirts"]),
        ([["Clothing", "Men"], ["Clothing", "Shirts"]], ["Clothing", "Men", "Shirts"]),
        ([[["Clothing"], "Men"], "Shirts"], ["Clothing", "Men", "Shirts"]),
        (["Tops &amp; Tees", "<b>Men</b>"], ["Tops & Tees", "Men"]),
        (["Men", None, 7, "", " "], ["Men"]),
        ([], []),
        (None, []),
        ("", []),
        ({"main": "Men"}, []),
    ],
)
def test_categories_are_one_flat_list_however_they_are_written(tmp_path: Path, key: str, value, expected):
    read = products(tmp_path, {"asin": "B1", "title": "Top", key: value})
    assert read.products["categories"].to_pylist() == [expected]
    assert read.rejects.num_rows == 0


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Women&#39;s <b>Silk</b> Top", "Women's Silk Top"),
        ("Tops &amp;amp; Tees", "Tops & Tees"),
        ("Caf&eacute; shirt&nbsp;&mdash; blue", "Café shirt — blue"),
        ('<span class="a-size" title="x">Shirt</span><br/>blue', "Shirt blue"),
        ("<!-- ad --> Shirt <!-- b -->", "Shirt"),
        ("&lt;b&gt;Shirt&lt;/b&gt;", "Shirt"),
        ("Size < 10 and > 8, I <3 it", "Size < 10 and > 8, I <3 it"),
        (" Shirt \n\t blue ", "Shirt blue"),
        ("AT&T shirt", "AT&T shirt"),
        ("", ""),
        (None, ""),
        (["Shirt"], ""),
        (7, ""),
    ],
)
def test_a_title_is_text_without_tags_and_entities(tmp_path: Path, title, expected):
    assert products(tmp_path, {"asin": "B1", "title": title}).products["title"].to_pylist() == [expected]


URLS = [
    ("", [], "urls_empty"),
    ("   ", [], "urls_empty"),
    ("/images/1.jpg", ["file:///images/1.jpg"], None),
    ("//h/1.jpg", ["https://h/1.jpg"], None),
    ("no picture", [], "urls_not_an_address"),
    ("ftp://h/1.jpg", [], "urls_other_scheme"),
    ("data:image/png;base64,AAAA", [], "urls_data"),
    ("DATA:image/png;base64,AAAA", [], "urls_data"),
    ("http://h/good", ["http://h/good"], "urls_repeated"),
    (" http://h/good ", ["http://h/good"], "urls_repeated"),
    (None, [], "urls_not_text"),
    (7, [], "urls_not_text"),
    (["http://h/nested"], ["http://h/nested"], None),
    (" HTTPS://h/2 ", ["HTTPS://h/2"], None),
    ("http://h/with blank.jpg", ["http://h/with blank.jpg"], None),
    ("http://h/caf\u00e9.jpg", ["http://h/caf\u00e9.jpg"], None),
]


@pytest.mark.parametrize(("url", "kept", "counted"), URLS)
def test_a_url_that_cannot_be_fetched_is_dropped_and_counted_and_its_neighbours_stay(
    tmp_path: Path, url, kept: list[str], counted: str | None
):
    wanted = list(dict.fromkeys(["http://h/good", *kept, "http://h/last"]))
    several = ["http://h/good", url, "http://h/last"]
    of_reviews = reviews(tmp_path, review(image=several))
    assert of_reviews.reviews["image_urls"].to_pylist() == [wanted]
    low = products(tmp_path, {"asin": "B1", "imageURL": several})
    high = products(tmp_path, {"asin": "B1", "imageURLHighRes": several})
    assert low.products["vendor_urls"].to_pylist() == high.products["vendor_urls_high"].to_pylist() == [wanted]
    for read in (of_reviews, low, high):
        said = {name: count for name, count in read.counts.items() if name.startswith("urls_") and count}
        assert said == ({counted: 1} if counted else {})
        assert read.rejects.num_rows == 0  # a bad URL does not reject the line


def test_a_single_url_is_a_list_of_one_and_none_is_an_empty_list(tmp_path: Path):
    read = reviews(tmp_path, review(image="http://h/1"), review(image=None), review(image=[]), review())
    assert read.reviews["image_urls"].to_pylist() == [["http://h/1"], [], [], []]


# Lines and files.

CHILD = """
import json, resource, sys
from pathlib import Path
from pipeline.core.raw import ingest

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
ingest.read_reviews([Path(sys.argv[1])])
before = peak()
read = ingest.read_reviews([Path(sys.argv[2])])
print(json.dumps({"grown": peak() - before, "lines": read.lines, "asins": read.reviews["asin"].to_pylist(),
                  "rejects": read.rejects.to_pylist()}))
"""


@pytest.fixture(scope="module")
def long_line(tmp_path_factory: pytest.TempPathFactory):
    """Read a line of 50 MiB between two good ones, in a process that has read 30 MiB of ordinary lines.

    So what grows is what the long line takes beyond the buffers that any file takes.
    """
    folder = tmp_path_factory.mktemp("long")
    first, last = json.dumps(review()) + "\n", json.dumps(review(asin="B2")) + "\n"
    path = folder / "long.jsonl"
    with path.open("w") as file:
        file.write(first + json.dumps(review(asin="B-long"))[:-1] + ', "reviewText": "')
        for _ in range(50):
            file.write("x" * MIB)
        file.write('"}\n' + last)
    usual = write(folder / "usual.jsonl", *[review(asin=f"B{n}", reviewText="y" * 400) for n in range(60_000)])
    ran = subprocess.run([sys.executable, "-c", CHILD, str(usual), str(path)], capture_output=True, text=True,
                         cwd=Path(__file__).parents[4], check=False)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1]), path, len(first)


def test_a_line_of_50_mib_is_rejected_at_its_place_and_its_neighbours_are_read(long_line):
    found, path, offset = long_line
    assert found["asins"] == ["B1", "B2"] and found["lines"] == 3
    (reject,) = found["rejects"]
    assert (reject["file"], reject["line"], reject["offset"], reject["reason"]) == (str(path), 2, offset, "too_long")
    with path.open() as file:
        file.seek(offset)
        assert reject["text"] == file.read(500)


def test_a_line_of_50_mib_is_not_held_in_memory(long_line):
    found, _, _ = long_line
    assert found["grown"] < 25 * MIB, f"{found['grown'] / MIB:.0f} MiB"


LINES = [
    review(),
    review(),
    review(asin="B2", image=["http://h/1"]),
    {"reviewerID": "A2"},
    review(reviewText="caf\u00e9 \u2028 x"),
    review(asin="B3", overall=None),
]


def stored(path: Path, text: bytes) -> Path:
    if path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(text)
    else:
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def seen(path: Path, *, ids: bool = True):
    """Return everything read from a file except its name."""
    read = ingest.read_reviews([path])
    rejects = [(row["line"], row["reason"]) for row in read.rejects.to_pylist()]
    rows = read.reviews if ids else read.reviews.drop_columns("review_id")
    return rows.to_pylist(), rejects, read.lines, read.accepted


@pytest.mark.parametrize("name", ["r.json", "r.ndjson", "r.json.gz", "r.jsonl.gz", "r.jsonl.zst", "r.json.zst"])
def test_compressed_files_give_the_rows_of_plain_ones(tmp_path: Path, name: str):
    text = "\n".join(map(json.dumps, LINES)).encode() + b"\n"
    plain = seen(stored(tmp_path / "plain.jsonl", text))
    assert plain[1:] == ([(4, "asin_missing")], 6, 5)
    assert seen(stored(tmp_path / name, text)) == plain


@pytest.mark.parametrize("name", ["r.json.gz", "r.json.zst"])
def test_a_compressed_file_of_several_parts_one_after_the_other_is_read_to_its_end(tmp_path: Path, name: str):
    parts = [json.dumps(review(asin=f"B{n}")).encode() + b"\n" for n in range(3)]
    whole = b"".join(stored(tmp_path / name, part).read_bytes() for part in parts)
    (tmp_path / name).write_bytes(whole)
    assert ingest.read_reviews([tmp_path / name]).reviews["asin"].to_pylist() == ["B0", "B1", "B2"]


@pytest.mark.parametrize("name", ["array.json", "array.json.gz", "array.json.zst"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_gives_the_rows_of_lines_and_counts_its_elements(tmp_path: Path, name: str, indent: int | None):
    plain = seen(stored(tmp_path / "plain.jsonl", "\n".join(map(json.dumps, LINES)).encode() + b"\n"))
    array = stored(tmp_path / name, json.dumps(LINES, indent=indent).encode())
    assert seen(array) == plain
    assert ingest.read_reviews([array]).rejects["offset"].to_pylist() == [None]


def test_a_review_in_an_array_and_in_lines_is_one_review(tmp_path: Path):
    lines = stored(tmp_path / "a.jsonl", "\n".join(map(json.dumps, LINES)).encode() + b"\n")
    read = ingest.read_reviews([lines, stored(tmp_path / "b.json", json.dumps(LINES, indent=1).encode())])
    assert (read.reviews.num_rows, read.counts["repeated_across_files"], read.accepted) == (5, 5, 10)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("a byte-order mark", lambda text: b"\xef\xbb\xbf" + text),
        ("carriage returns", lambda text: text.replace(b"\n", b"\r\n")),
        ("a last line without its newline", lambda text: text.removesuffix(b"\n")),
        ("all three", lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n").removesuffix(b"\r\n")),
        ("blank lines at the end", lambda text: text + b"\n \r\n\t\n"),
    ],
)
def test_how_lines_begin_and_end_changes_no_row_and_no_id(tmp_path: Path, kind: str, change):
    text = "\n".join(map(json.dumps, LINES)).encode() + b"\n"
    plain = seen(stored(tmp_path / "plain.jsonl", text))
    assert seen(stored(tmp_path / "odd.jsonl", change(text))) == plain, kind
    assert seen(stored(tmp_path / "odd.json.gz", change(text))) == plain, kind


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_rejects_offset_is_where_its_line_begins_in_the_file(tmp_path: Path, mark: bytes, end: bytes):
    data = mark + end.join([json.dumps(review()).encode(), b"", b"{broken", json.dumps(review()).encode(), b"{cut"])
    read = ingest.read_reviews([stored(tmp_path / "r.jsonl", data)])
    found = [(row["line"], data[row["offset"] :].split(end)[0]) for row in read.rejects.to_pylist()]
    assert found == [(3, b"{broken"), (5, b"{cut")]


def test_a_given_vintage_overrides_the_recognised_one(tmp_path: Path):
    # An export that adds its own user_id to the fields of 2018.
    path = write(tmp_path / "odd.jsonl", {**review(), "user_id": "internal-7"})
    looked = ingest.read_reviews([path])
    assert list(looked.vintages.values()) == ["2023"] and looked.reviews["reviewer_id"].to_pylist() == ["internal-7"]
    named = ingest.read_reviews([path], vintage="2018")
    assert list(named.vintages.values()) == ["2018"]
    assert named.reviews.drop_columns("review_id").to_pylist() == [
        {"reviewer_id": "A1", "asin": "B1", "rating": 4.0, "time": 1400000000, "image_urls": []}
    ]


def test_a_given_vintage_reads_a_file_of_unknown_layout_and_rejects_other_lines(tmp_path: Path):
    stranger = {"customer": 1, "sku": 2}
    path = write(tmp_path / "odd.jsonl", *[stranger] * 150, review())  # beyond the examined lines
    with pytest.raises(InputError, match="not a known shape of reviews"):
        ingest.read_reviews([path])
    read = ingest.read_reviews([path], vintage="2018")
    assert read.reviews["asin"].to_pylist() == ["B1"]
    assert set(read.rejects["reason"].to_pylist()) == {"reviewer_missing"} and read.rejects.num_rows == 150
    with pytest.raises(ValueError, match="2014, 2018, 2023"):
        ingest.read_reviews([path], vintage="2019")


def test_a_given_vintage_applies_to_products_too(tmp_path: Path):
    # parent_asin makes it look like 2023, where the parent is the product.
    path = write(tmp_path / "odd.jsonl", {"asin": "B1", "parent_asin": "P1", "title": "Top"})
    assert ingest.read_products([path]).products["asin"].to_pylist() == ["P1"]
    assert ingest.read_products([path], vintage="2018").products["asin"].to_pylist() == ["B1"]
