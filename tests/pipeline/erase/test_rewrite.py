"""A raw file loses the erased objects and URLs and nothing else, in every format that a copy may have."""

import gzip
import io
import json
import resource
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.raw import ingest
from pipeline.core.raw.copies import CopyFolder, Rewritten, ServerVersion, rewrite_copies
from pipeline.erase import rewrite as rewriting
from pipeline.erase import traces
from pipeline.erase.rewrite import Removal, UnreadableFileError, rewrite

ANN, BO = "A1ANN", "A2BO"


def review(who: object, n: int = 0, **more: object) -> dict:
    return {
        "overall": 5.0,
        "reviewerID": who,
        "asin": "B1",
        "reviewerName": f"Name of {who}",
        "unixReviewTime": n,
        **more,
    }


ROWS = [review(who, n, reviewText='a "quote", a \\ and {[') for n, who in enumerate((ANN, BO, ANN, ANN, BO, "A3", ANN))]
KEPT = [row for row in ROWS if row["reviewerID"] != ANN]


def lines(rows: list, end: str = "\n", write: Callable[[object], str] = json.dumps) -> bytes:
    return "".join(write(row) + end for row in rows).encode()


def without(tmp_path: Path, data: bytes, wanted: Removal) -> tuple[bytes, int]:
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(data)
    gone = rewrite(path, out, wanted)
    return out.read_bytes(), gone


FORMS: dict[str, Callable[[list], bytes]] = {
    "lines": lines,
    "lines that end in CRLF": lambda rows: lines(rows, "\r\n"),
    "lines after a mark": lambda rows: b"\xef\xbb\xbf" + lines(rows),
    "lines with blank ones": lambda rows: lines(rows, "\n\n"),
    "lines, the last without its end": lambda rows: lines(rows)[:-1],
    "literals": lambda rows: lines(rows, write=repr),
    "an array on one line": lambda rows: json.dumps(rows).encode(),
    "an array, narrow": lambda rows: json.dumps(rows, separators=(",", ":")).encode(),
    "an indented array": lambda rows: json.dumps(rows, indent=1).encode(),
    "an array of lines": lambda rows: b"[\n" + b",\n".join(json.dumps(row).encode() for row in rows) + b"\n]\n",
    "objects one after the other": lambda rows: lines(rows, ""),
    "indented objects": lambda rows: lines(rows, write=lambda row: json.dumps(row, indent=2)),
}


@pytest.mark.parametrize("packed", ["plain", "gzip", "gzip of two members", "zstd"])
@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_a_persons_objects_are_removed_and_the_others_keep_their_format_and_compression(
    tmp_path: Path, form, packed: str
):
    data, expected = form(ROWS), KEPT
    packs = {
        "plain": bytes, "gzip": gzip.compress, "zstd": lambda text: pa.compress(text, "zstd", asbytes=True),
        "gzip of two members": lambda text: gzip.compress(text[:500]) + gzip.compress(text[500:]),
    }  # fmt: skip
    found, gone = without(tmp_path, packs[packed](data), Removal("reviewer", ANN))
    if packed.startswith("gzip"):
        found = gzip.decompress(found)
    if packed == "zstd":
        found = pa.CompressedInputStream(pa.BufferReader(found), "zstd").read()
    assert gone == 4 and b"ANN" not in found
    assert _values(found) == expected
    for row in KEPT:
        assert any(text.encode() in found for text in _texts(row))


def _texts(row: dict) -> list[str]:
    """Write an object in each of the formats."""
    return [
        json.dumps(row),
        json.dumps(row, separators=(",", ":")),
        repr(row),
        json.dumps(row, indent=2),
        json.dumps([row], indent=1)[2:-2],
    ]


def _values(text: bytes) -> list:
    """Parse the objects of a text without the code under test."""
    text = text.removeprefix(b"\xef\xbb\xbf").strip()
    if text[:1] == b"[":
        return json.loads(text)
    if text[:2] == b"{'":
        return [eval(line) for line in text.splitlines() if line.strip()]
    found, decoder, rest = [], json.JSONDecoder(), text.decode()
    while rest := rest.strip():
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:]
    return found


@pytest.mark.parametrize(
    "form", ["lines", "literals", "an array on one line", "an indented array", "an array of lines"]
)
@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[:2], ROWS[1:2], [ROWS[1], ROWS[0]]])
def test_the_next_ingest_reads_exactly_the_others(tmp_path: Path, form: str, rows: list):
    data, _ = without(tmp_path, FORMS[form](rows), Removal("reviewer", ANN))
    (tmp_path / "again.json").write_bytes(data)
    others = [row["reviewerID"] for row in rows if row["reviewerID"] != ANN]
    if not others:
        assert traces.find(tmp_path, [ANN]) == [Path("in")]
        return
    read = ingest.read_reviews([tmp_path / "again.json"], vintage="2018")
    assert read.reviews["reviewer_id"].to_pylist() == others and read.rejects.num_rows == 0


@pytest.mark.parametrize(
    ("theirs", "name"),
    [
        ('{"reviewerID": "\\u00411ANN", "x": 1}', ANN),
        ('{"reviewerID": " A1ANN "}', ANN),
        ('{"reviewerID":\t"A1ANN" , "a":{}}', ANN),
        ('{"reviewerID": "A9", "reviewerID": "A1ANN"}', ANN),
        ('{"reviewerID": "A1ANN", "reviewerID": "A9"}', ANN),
        ('{"reviewerID": "A1ANN", "broken": ', ANN),
        ('"A1ANN",', ANN),
        ('{"reviewerID": "A1ANN", "x": ' + "[" * 5000 + "]" * 5000 + "}", ANN),
        ('{"reviewerID": "A1ANN", "x": ' + "1" * 5000 + "}", ANN),
        ("{'reviewerID': u'A1ANN', 'x': None}", ANN),
        ("{'reviewerID': '\\x411ANN'}", ANN),
        ('{"reviewerID": 12}', "12"),
        ('{"reviewerID": "12"}', "12"),
        ('{"reviewerID": 1.50}', "1.5"),
        ('{"user_id": "\\/a"}', "/a"),
        ('{"reviewerID": "é"}', "é"),
        ('{"reviewerID": "\\u00e9"}', "é"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_name_is_recognised_in_every_spelling(tmp_path: Path, theirs: str, name: str, first: bool):
    others = [json.dumps(review(BO)), '{"reviewerID": 1234, "overall": 12, "asin": "12"}', "{'reviewerID': 'A1ANNA'}"]
    data = "\n".join([theirs, *others] if first else [others[0], theirs, *others[1:]]) + "\n"
    found, gone = without(tmp_path, data.encode(), Removal("reviewer", name))
    assert found.decode() == "\n".join(others) + "\n" and gone == 1


@pytest.mark.parametrize("end", ["\n\ufeff\0\0", ",\n", "\ufeff", "\r", "\n\x1e", ""])
def test_what_lies_between_joined_objects_hides_none_of_them(tmp_path: Path, end: str):
    found, gone = without(tmp_path, lines(ROWS, end), Removal("reviewer", ANN))
    (tmp_path / "left.json").write_bytes(found)
    read = ingest.read_reviews([tmp_path / "left.json"])
    assert read.reviews["time"].to_pylist() == [row["unixReviewTime"] for row in KEPT]
    assert gone == len(ROWS) - len(KEPT) and not read.rejects.num_rows


@pytest.mark.parametrize("indent", [None, 2])
def test_a_persons_objects_are_removed_from_an_envelope(tmp_path: Path, indent):
    data = json.dumps({"n": 7, "data": {"reviews": ROWS, "next": None}}, indent=indent).encode()
    found, gone = without(tmp_path, data, Removal("reviewer", ANN))
    assert json.loads(found) == {"n": 7, "data": {"reviews": KEPT, "next": None}} and gone == 1


def test_a_product_is_removed_where_its_id_is_a_whole_float(tmp_path: Path):
    rows = [review(BO, asin=value) for value in (12.0, "12.0", 12, 12.5, "112.0")]
    found, gone = without(tmp_path, lines(rows), Removal("asin", "12"))
    assert [json.loads(line)["asin"] for line in found.splitlines()] == [12.5, "112.0"] and gone == 3


def test_an_object_that_only_mentions_the_name_keeps_every_byte(tmp_path: Path):
    data = lines([review(BO, reviewText="as A1ANN said", summary=ANN), review("A1ANNE"), {"asin": "B1", "title": ANN}])
    assert without(tmp_path, data, Removal("reviewer", ANN)) == (data, 0)


def test_a_product_is_removed_with_its_reviews_and_from_other_products_lists(tmp_path: Path):
    rows = [
        {"asin": "B1", "title": "x"}, review(BO), {"user_id": BO, "parent_asin": "B1", "asin": "B1-red"},
        {"asin": "B2", "also_buy": ["B1", "B3"], "related": {"also_bought": ["B1"]}, "title": "B1"}, {"asin": "B11"},
    ]  # fmt: skip
    found, gone = without(tmp_path, lines(rows), Removal("asin", "B1"))
    assert _values(found) == [
        {"asin": "B2", "also_buy": ["B3"], "related": {"also_bought": []}, "title": "B1"}, {"asin": "B11"},
    ]  # fmt: skip
    assert gone == 4


@pytest.mark.parametrize(
    ("pictures", "left"),
    [
        (["http://h/1", "http://h/2"], ["http://h/2"]),
        ("http://h/1", None),
        ([{"small_image_url": "http://h/s", "large_image_url": "http://h/1"}, {"large_image_url": "http://h/2"}],
         [{"large_image_url": "http://h/2"}]),
        ({"thumb": ["http://h/1", "http://h/2"], "large": ["http://h/L1", "http://h/L2"]},
         {"thumb": ["http://h/2"], "large": ["http://h/L2"]}),
        (["http://h/10", "http://h/1/"], ["http://h/10", "http://h/1/"]),
    ],
)  # fmt: skip
def test_a_picture_is_removed_in_all_sizes_and_the_review_stays(tmp_path: Path, pictures, left):
    found, gone = without(tmp_path, lines([review(BO, image=pictures), review(ANN)]), Removal("url", "http://h/1"))
    assert _values(found) == [review(BO, image=left), review(ANN)] and gone == (pictures != left)


@pytest.mark.parametrize("data", [b'[{"a": 1}, {"reviewerID": "A1ANN"', b'[{"a": "', gzip.compress(lines(ROWS))[:-20],
                                  "{}".encode("utf-16")])  # fmt: skip
def test_a_file_that_cannot_be_parsed_to_its_end_raises(tmp_path: Path, data: bytes):
    with pytest.raises(UnreadableFileError):
        without(tmp_path, data, Removal("reviewer", ANN))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.builds(
    lambda who, rest: {**rest, "reviewerID": who},
    st.sampled_from([ANN, BO, "A1", 12, 1234, "12", f" {ANN}\t"]),
    st.dictionaries(st.text(max_size=4).filter(lambda key: key not in ("reviewerID", "user_id")), VALUES, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(OBJECTS, max_size=6), form=st.sampled_from(list(FORMS)), name=st.sampled_from([ANN, "12"]),
       block=st.sampled_from([7, 64, 1 << 22]))  # fmt: skip
def test_erasing_from_a_file_equals_filtering_the_list_of_its_objects(rows, form: str, name: str, block: int):
    data, out = io.BytesIO(FORMS[form](rows)), io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewriting, "BLOCK_BYTES", block)
        gone = rewriting._without(data.read, out.write, Removal("reviewer", name))
    kept = [row for row in rows if str(row["reviewerID"]).strip() != name]
    assert _values(out.getvalue()) == kept and gone == len(rows) - len(kept)
    assert gone or out.getvalue() == data.getvalue()


def test_a_long_array_is_never_held_whole(tmp_path: Path):
    element = json.dumps([review(BO, reviewText="x" * 1000)] * 100).encode()[1:-1]
    path = tmp_path / "in"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"[" + json.dumps(review(ANN)).encode())
        for _ in range(1000):
            file.write(b"," + element)
        file.write(b"]")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert rewrite(path, tmp_path / "out", Removal("reviewer", ANN)) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 80 << 10  # kB; the text has 115 MB


def test_damaged_lines_take_bounded_time_however_many_they_are(tmp_path: Path):
    import time

    def seconds(count: int) -> float:
        data = b'{"reviewerID": {"a": [\n' * count
        begun = time.process_time()
        assert without(tmp_path, data, Removal("reviewer", ANN)) == (data, 0)
        return time.process_time() - begun

    assert seconds(40_000) < 60  # 8 s where this was written; at a quarter as many lines it is the same


def copy_of(cache: Path, url: str, data: bytes) -> CopyFolder:
    folder = CopyFolder(cache, url, url)
    folder.path.mkdir(parents=True)
    folder.start_download(ServerVersion(etag='"1"'))
    folder.part.write_bytes(data)
    folder.finish_download(ServerVersion(etag='"1"'))
    return folder


def test_a_rewritten_copy_keeps_its_version_and_times(tmp_path: Path):
    folder = copy_of(tmp_path, "http://h/reviews.json", gzip.compress(lines(ROWS)))  # gzip, despite the name
    before = folder.current()
    folder.start_download(ServerVersion(etag='"2"'))
    folder.part.write_bytes(lines(ROWS[:1]))  # an unfinished download
    done = rewrite_copies(tmp_path, lambda path, out: rewrite(path, out, Removal("reviewer", ANN)))
    copy = folder.current()
    assert done == Rewritten(4, (), ()) and before is not None and copy is not None
    assert (copy.version, copy.fetched_at, copy.checked_at) == (before.version, before.fetched_at, before.checked_at)
    assert _values(gzip.decompress(copy.path.read_bytes())) == KEPT
    assert sorted(path.name for path in folder.path.iterdir()) == sorted([copy.path.name, "lock", "origin.meta"])


@pytest.mark.parametrize("start", [b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"PK\x03\x04", b"SQLite format 3\x00"])
def test_no_line_is_cut_out_of_a_binary_table(tmp_path: Path, start: bytes):
    with pytest.raises(UnreadableFileError, match="it is a binary table"):
        without(tmp_path, start + b"\n" + lines(ROWS), Removal("reviewer", ANN))


def test_a_copy_that_cannot_be_parsed_is_removed_and_one_that_cannot_be_written_is_reported(tmp_path: Path):
    damaged = copy_of(tmp_path, "http://h/a.json", b"[{")
    full = copy_of(tmp_path, "http://h/b.json", lines(ROWS))
    whole = copy_of(tmp_path, "http://h/c.json", lines(ROWS))
    held = {folder.path: folder.current() for folder in (damaged, full, whole)}

    def write(path: Path, out: Path) -> int | None:
        if path.parent == full.path:
            raise OSError(28, "No space left on device")
        return None if path.parent == damaged.path else rewrite(path, out, Removal("reviewer", ANN))

    done = rewrite_copies(tmp_path, write)
    assert done.gone == 4 and done.failed == ((full.path, "No space left on device"),)
    assert [path.parent for path in done.again] == [damaged.path]
    assert damaged.current() is None and [path.name for path in damaged.path.iterdir()] == ["lock"]
    assert full.current() == held[full.path]
