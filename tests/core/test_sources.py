"""Input files: what a specification means, and that a damaged file is refused whole."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import sources
from pipeline.core.sources import BadInput


def written(path: Path, data: bytes = b'{"a": 1}\n') -> Path:
    path.write_bytes(data)
    return path


def test_a_folder_means_its_json_files_in_order_and_nothing_else(tmp_path):
    b, a = written(tmp_path / "b.jsonl"), written(tmp_path / "a.json.gz", gzip.compress(b"{}\n"))
    written(tmp_path / "notes.txt")
    assert sources.resolve(str(tmp_path)) == [a, b]


def test_paths_and_globs_are_joined_by_commas_and_each_file_comes_once(tmp_path):
    a, b = written(tmp_path / "a.json"), written(tmp_path / "b.json")
    assert sources.resolve(f"{b}, {tmp_path}/*.json") == [b, a]


def test_a_file_whose_name_holds_a_comma_is_found(tmp_path):
    path = written(tmp_path / "a,b.json")
    assert sources.resolve(str(path)) == [path]


def test_paths_globs_folders_and_urls_are_mixed_in_order_and_each_comes_once(tmp_path):
    a, b = written(tmp_path / "a.json"), written(tmp_path / "b.json")
    (tmp_path / "more").mkdir()
    c = written(tmp_path / "more" / "c.jsonl")
    url = "https://shop.example/reviews.json.gz"
    spec = f"{b}, {url},{tmp_path}/*.json,{tmp_path / 'more'},{url}"
    assert sources.named(spec) == [b, url, a, c]
    assert sources.resolve(spec, lambda asked: {url: tmp_path / "cached"}[asked]) == [b, tmp_path / "cached", a, c]


@pytest.mark.parametrize(
    ("spec", "entries"),
    [
        ("http://h/x?ids=1,2,3", ["http://h/x?ids=1,2,3"]),
        ("http://h/x?ids=1,2, http://h/y,4", ["http://h/x?ids=1,2", "http://h/y,4"]),
        ("http://h/x,HTTPS://h/y", ["http://h/x", "HTTPS://h/y"]),
        ("http://h/x?to=1,to=http://h/y", ["http://h/x?to=1,to=http://h/y"]),
        ("http://h/a%2C/b,", ["http://h/a%2C/b"]),
        ("http://h/x ,\n http://h/y\n", ["http://h/x", "http://h/y"]),
        ("http://h/" + "long" * 200, ["http://h/" + "long" * 200]),
    ],
)
def test_a_comma_inside_a_url_is_the_urls_until_another_entry_begins(spec, entries):
    assert sources.named(spec) == entries


def test_what_follows_a_urls_comma_is_a_file_where_it_looks_like_one_or_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("here.json", "also,here.json"):
        written(tmp_path / name)
    there = [Path("here.json"), tmp_path / "here.json", Path("./here.json")]
    for name in ("here.json", str(tmp_path / "here.json"), "./here.json", "her?.json"):
        url, path = sources.named(f"http://h/x,{name}")
        assert url == "http://h/x" and path in there
    assert sources.named("http://h/x,nowhere.json") == ["http://h/x,nowhere.json"]
    with pytest.raises(BadInput, match=r"/nowhere\.json: no such file"):
        sources.named("http://h/x,/nowhere.json")


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("https://h/a/x.json?sig=secret", "https://h/a/x.json?..."),
        ("https://h/x#secret", "https://h/x?..."),
        ("https://me:secret@h:8080/x", "https://h:8080/x"),
        ("https://[::1]:80/@scope/x", "https://[::1]:80/@scope/x"),
        ("ftp://me:sec/ret@h/x", "ftp://..."),
    ],
)
def test_a_url_is_printed_without_what_may_be_secret(url, printed):
    assert sources.shown(url) == printed


def test_a_url_of_another_kind_is_refused_without_its_password():
    with pytest.raises(BadInput, match=r"^s3://shop/x: only http and https URLs are read") as refused:
        sources.named("s3://me:secret@shop/x")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["missing.json", "no*.json", "empty.json", "folder", "http://h/x.json", ""])
def test_what_cannot_be_read_is_an_error_that_names_it(tmp_path, name):
    written(tmp_path / "empty.json", b"")
    (tmp_path / "folder").mkdir()
    spec = name if "://" in name or not name else str(tmp_path / name)
    with pytest.raises(BadInput, match=name.replace("*", r"\*") or "no input"):
        sources.resolve(spec)


def test_the_digest_follows_contents_not_names_or_order(tmp_path):
    a, b = written(tmp_path / "a", b"1"), written(tmp_path / "b", b"2")
    c = written(tmp_path / "c", b"1")
    assert sources.digest([a, b]) == sources.digest([b, c])
    assert sources.digest([a, b]) != sources.digest([a, a])


@pytest.mark.parametrize("block", [1, 3, 7, 1 << 20])
@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_lines_keep_their_number_and_offset_whatever_the_block_size(tmp_path, block, ending):
    lines = [b"one", b"", b" two\r", b"\xff\xfe", b"five"]
    data = b"\n".join(lines) + ending
    path = written(tmp_path / "x.gz", gzip.compress(data[:6]) + gzip.compress(data[6:]))
    found = []
    for part in sources.blocks(path, block):
        for row in range(len(part.starts) - 1):
            start, end = part.starts[row], part.starts[row + 1]
            found.append((part.first_line + row, part.offset + start, part.data[start:end]))
    assert [line.rstrip(b"\n") for _, _, line in found] == lines
    assert [number for number, _, _ in found] == [1, 2, 3, 4, 5]
    for _, offset, line in found:
        assert data[offset : offset + len(line)] == line


def test_a_truncated_gz_is_refused_with_how_far_it_was_readable(tmp_path):
    whole = gzip.compress(b'{"a": 1}\n' * 1000)
    path = written(tmp_path / "cut.json.gz", whole[:-9])
    with pytest.raises(BadInput, match=r"cut\.json\.gz: the compressed file is cut short.* bytes, and nothing"):
        list(sources.blocks(path, 4096))


def test_an_overlong_line_comes_cut_and_the_lines_around_it_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 50)
    monkeypatch.setattr(sources, "HEAD_BYTES", 20)
    path = written(tmp_path / "x.json", b"before\n" + b"x" * 500 + b"\nafter\n")
    parts = list(sources.blocks(path, 16))
    assert [p.first_line for p in parts if p.too_long] == [2]
    assert max(len(p.data) for p in parts) < 100
    last = parts[-1]
    assert (last.data, last.first_line, last.offset) == (b"after\n", 3, 508)
    assert parts[0].data == b"before\n"


def elements(path: Path, block: int = sources.BLOCK_BYTES) -> list[bytes]:
    return [line for part in sources.blocks(path, block) for line in part.data.splitlines()]


def test_the_elements_of_a_json_array_are_its_lines(tmp_path):
    path = written(tmp_path / "x.json", b'[\n {"a": 1},\n {"a": 2}\n]')
    (part,) = sources.blocks(path)
    assert (part.data.splitlines(), part.first_line, part.offset) == ([b'{"a": 1}', b'{"a": 2}'], 1, None)


def test_the_elements_of_an_array_keep_their_number_over_blocks(tmp_path):
    path = written(tmp_path / "x.json", b"[" + b",".join(b'{"a": %d}' % n for n in range(100)) + b"]\n")
    numbered = {p.first_line: json.loads(p.data.splitlines()[0])["a"] for p in sources.blocks(path, 64)}
    assert len(numbered) > 10
    assert all(line == value + 1 for line, value in numbered.items())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(st.lists(values, max_size=6), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_an_array_reads_the_same_whole_or_in_pieces(tmp_path_factory, rest, block, indent, ascii_only):
    array = [{"first": 1}, *rest]
    text = json.dumps(array, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    path = written(tmp_path_factory.mktemp("array") / "x.json.gz", gzip.compress(text))
    expected = [json.dumps(element).encode() for element in json.loads(text.decode("utf-8", "replace"))]
    assert elements(path, block) == expected


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
def test_numbers_and_doubtful_bytes_of_an_array_come_as_json_lines_would(tmp_path, block):
    data = (
        b'[{"big": 12345678901234567890123, "one": 1, "ones": 1.0, "none": NaN, "far": -Infinity},\n12,1.5,"\xff", {}]'
    )
    assert elements(written(tmp_path / "x.json", data), block) == [
        b'{"big": 12345678901234567890123, "one": 1, "ones": 1.0, "none": NaN, "far": -Infinity}',
        b"12", b"1.5", b'"\\ufffd"', b"{}",
    ]  # fmt: skip


def test_an_array_of_nothing_but_blanks_has_no_lines(tmp_path):
    assert elements(written(tmp_path / "x.json", b"\xef\xbb\xbf [" + b" \n" * 2000 + b"]\n")) == []


@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize(
    "damaged",
    [b'[{"a": 1}, {', b'[{"a": 1} {"a": 2}]', b'[{"a": 1},]', b'[{"a": 1}', b'[{"a": 1}] x', b'[{"a": 1}][{}]',
     b'[{"a": 1}, {"a": ]}, {"a": 2}]', b'[{"a": 1}, ' + b"[" * 100_000 + b"]" * 100_000 + b"]", b"["],
)  # fmt: skip
def test_a_damaged_array_is_refused_with_the_place_and_the_mend(tmp_path, damaged, block):
    if len(damaged) > 1000 and block == 1:
        block = 50_000
    at = 1 if damaged in (b"[", b'[{"a": 1}', b'[{"a": 1} {"a": 2}]') else 2
    with pytest.raises(BadInput, match=rf"x\.json: begins as a JSON array .* at element {at} .* JSON lines"):
        elements(written(tmp_path / "x.json", damaged), block)


def test_an_element_over_the_limit_is_refused_wherever_the_chunks_end(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 50)
    path = written(tmp_path / "x.json", b'[{"a": 1}, {"a": "' + b"x" * 60 + b'"}, {"a": 2}]')
    for block in (1, 16, 1 << 20):
        with pytest.raises(BadInput, match="at element 2"):
            elements(path, block)


def test_a_long_array_needs_no_more_memory_than_a_short_one(tmp_path):
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.json"
        with path.open("wb") as file:
            file.write(
                b"[" + b",".join(b'{"reviewText": "%s", "n": %d}' % (b"x" * 200, n) for n in range(count)) + b"]"
            )
        tracemalloc.start()
        assert sum(len(part.starts) - 1 for part in sources.blocks(path, 1 << 16)) == count
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    short, long = peak(1_000), peak(10_000)
    assert long < 1.2 * short < 2_000_000
