"""Read lines with their numbers and offsets in any blocks; refuse damaged files."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.raw import framing


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("block", [1, 3, 7, 1 << 20])
@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_lines_keep_their_number_and_offset_for_any_block_size(tmp_path, block, ending):
    lines = [b"one", b"", b" two\r", b"\xff\xfe", b"five"]
    data = b"\n".join(lines) + ending
    path = written(tmp_path / "x.gz", gzip.compress(data[:6]) + gzip.compress(data[6:]))
    found = []
    for part in framing.blocks(path, block):
        for row in range(len(part.starts) - 1):
            start, end = part.starts[row], part.starts[row + 1]
            found.append((part.first_line + row, part.offset + start, part.data[start:end].tobytes()))
        part.release()
    assert [line.rstrip(b"\n") for _, _, line in found] == lines
    assert [number for number, _, _ in found] == [1, 2, 3, 4, 5]
    for _, offset, line in found:
        assert data[offset : offset + len(line)] == line


@given(st.binary(max_size=300), st.integers(1, 40), st.integers(0, 5))
def test_reusing_memory_changes_no_line(tmp_path_factory, data, block, held):
    path = written(tmp_path_factory.mktemp("lines") / "x", b"{" + data)
    found, waiting = b"", []
    for part in framing.blocks(path, block):
        waiting.append(part)
        if len(waiting) > held:
            found += waiting[0].data.tobytes()
            waiting.pop(0).release()
    assert found + b"".join(part.data.tobytes() for part in waiting) == b"{" + data


def test_released_memory_is_reused_and_kept_memory_is_not(tmp_path):
    path = written(tmp_path / "x", b"12345678\n" * 1000)

    def places(*, release: bool) -> set[int]:
        kept = []
        for part in framing.blocks(path, 90):
            kept.append(part)
            if release:
                part.release()
        return {
            part.data.__array_interface__["data"][0] - part.data.__array_interface__["data"][0] % 90 for part in kept
        }

    assert len(places(release=True)) < 10 < 100 <= len(places(release=False))


def test_a_truncated_gz_is_refused_with_the_readable_length(tmp_path):
    whole = gzip.compress(b'{"a": 1}\n' * 1000)
    path = written(tmp_path / "cut.json.gz", whole[:-9])
    with pytest.raises(InputError, match=r"cut\.json\.gz: the compressed file is cut short.* bytes, and nothing"):
        list(framing.blocks(path, 4096))


def test_an_overlong_line_comes_cut_and_the_lines_around_it_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(framing, "MAX_LINE_BYTES", 50)
    monkeypatch.setattr(framing, "HEAD_BYTES", 20)
    path = written(tmp_path / "x.json", b"before\n" + b"x" * 500 + b"\nafter\n")
    parts = list(framing.blocks(path, 16))
    assert [p.first_line for p in parts if p.too_long] == [2]
    assert max(len(p.data) for p in parts) < 100
    last = parts[-1]
    assert (last.data.tobytes(), last.first_line, last.offset) == (b"after\n", 3, 508)
    assert parts[0].data.tobytes() == b"before\n"


def elements(path: Path, block: int = framing.BLOCK_BYTES) -> list[bytes]:
    return [line for part in framing.blocks(path, block) for line in part.data.tobytes().splitlines()]


def test_the_elements_of_a_json_array_are_its_lines(tmp_path):
    path = written(tmp_path / "x.json", b'[\n {"a": 1},\n {"a": 2}\n]')
    (part,) = framing.blocks(path)
    assert (part.data.tobytes().splitlines(), part.first_line, part.offset) == ([b'{"a": 1}', b'{"a": 2}'], 1, None)


def test_the_elements_of_an_array_keep_their_number_across_blocks(tmp_path):
    path = written(tmp_path / "x.json", b"[" + b",".join(b'{"a": %d}' % n for n in range(100)) + b"]\n")
    numbered = {p.first_line: json.loads(p.data.tobytes().splitlines()[0])["a"] for p in framing.blocks(path, 64)}
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
def test_odd_numbers_and_bytes_in_an_array_are_read_as_in_json_lines(tmp_path, block):
    data = (
        b'[{"big": 12345678901234567890123, "one": 1, "ones": 1.0, "none": NaN, "far": -Infinity},\n12,1.5,"\xff", {}]'
    )
    assert elements(written(tmp_path / "x.json", data), block) == [
        b'{"big": 12345678901234567890123, "one": 1, "ones": 1.0, "none": NaN, "far": -Infinity}',
        b"12", b"1.5", b'"\\ufffd"', b"{}",
    ]  # fmt: skip


def test_an_array_of_only_blanks_has_no_lines(tmp_path):
    assert elements(written(tmp_path / "x.json", b"\xef\xbb\xbf [" + b" \n" * 2000 + b"]\n")) == []


@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize(
    "damaged",
    [b'[{"a": 1}, {', b'[{"a": 1} {"a": 2}]', b'[{"a": 1},,]', b'[{"a": 1}', b'[{"a": 1}] x', b'[{"a": 1}][{}]',
     b'[{"a": 1}, {"a": ]}, {"a": 2}]', b'[{"a": 1}, ' + b"[" * 100_000 + b"]" * 99_999, b"["],
)  # fmt: skip
def test_a_damaged_array_is_refused_with_the_place_and_the_remedy(tmp_path, damaged, block):
    if len(damaged) > 1000 and block == 1:
        block = 50_000
    at = 1 if damaged in (b"[", b'[{"a": 1}', b'[{"a": 1} {"a": 2}]') else 2
    with pytest.raises(InputError, match=rf"x\.json: begins as a JSON array .* at element {at} .* JSON lines"):
        elements(written(tmp_path / "x.json", damaged), block)


def test_an_element_over_the_limit_is_refused_for_any_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(framing, "MAX_LINE_BYTES", 50)
    path = written(tmp_path / "x.json", b'[{"a": 1}, {"a": "' + b"x" * 60 + b'"}, {"a": 2}]')
    for block in (1, 16, 1 << 20):
        with pytest.raises(InputError, match="at element 2"):
            elements(path, block)


def test_a_long_array_needs_no_more_memory_than_a_short_one(tmp_path):
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.json"
        with path.open("wb") as file:
            file.write(
                b"[" + b",".join(b'{"reviewText": "%s", "n": %d}' % (b"x" * 200, n) for n in range(count)) + b"]"
            )
        tracemalloc.start()
        assert sum(len(part.starts) - 1 for part in framing.blocks(path, 1 << 16)) == count
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    short, long = peak(1_000), peak(20_000)
    assert long < short + 500_000, "4 MB of text more; only whether the next chunk is there already may differ"


@pytest.mark.parametrize("block", [50_000, 1 << 20])
@pytest.mark.parametrize("odd", [b"[" * 100_000 + b"]" * 100_000, b"1" * 100_000], ids=["deep", "of many digits"])
def test_an_element_that_python_cannot_parse_becomes_a_line_and_stops_no_file(tmp_path, odd, block):
    data = b'[{"a": 1}, {"b": \n' + odd + b'}, {"c": "\\n"}]'
    assert elements(written(tmp_path / "x.json", data), block) == [
        b'{"a": 1}',
        b'{"b":  ' + odd + b"}",
        b'{"c": "\\n"}',
    ]
