"""Input files: what a specification means, and that a damaged file is refused whole."""

import gzip
from pathlib import Path

import pytest

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


def test_the_elements_of_a_json_array_are_its_lines(tmp_path):
    path = written(tmp_path / "x.json", b'[\n {"a": 1},\n {"a": 2}\n]')
    (part,) = sources.blocks(path)
    assert part.data.splitlines() == [b'{"a": 1}', b'{"a": 2}']
    with pytest.raises(BadInput, match="JSON array"):
        list(sources.blocks(written(tmp_path / "y.json", b'[{"a": 1}, {')))
