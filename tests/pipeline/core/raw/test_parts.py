"""A file is parsed only when its content changes, and the tables do not depend on what was reused."""

import gzip
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.erasure import Erasures
from pipeline.core.errors import InputError
from pipeline.core.raw import ingest, parts
from pipeline.core.raw.ingest import ReadContext
from tests.pipeline.core.raw.test_ingest import review

TABLES = ("reviews.parquet", "reviews-rejects.parquet")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the names of the files that are parsed."""
    names: list[str] = []
    real = parts._Lines.parsed

    def recorded(lines: parts._Lines):
        names.append(lines.path.name)
        return real(lines)

    monkeypatch.setattr(parts._Lines, "parsed", recorded)
    return names


def file(folder: Path, name: str, *asins: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress("".join(json.dumps(review(asin=asin)) + "\n" for asin in asins).encode(), mtime=0))
    return path


def tables(paths: list[Path], out: Path, **options) -> tuple[ingest.ReviewsRead, list[bytes]]:
    out.mkdir(exist_ok=True)
    found = ingest.read_reviews(paths, read_context=ReadContext(out, **options))
    return found, [(out / name).read_bytes() for name in TABLES]


def test_only_the_new_file_is_read_and_the_tables_equal_a_full_reading(tmp_path: Path, read: list[str]):
    kept = tmp_path / "parts"
    old = [file(tmp_path, "a.json.gz", "B1", "B1", "B2"), file(tmp_path, "c.json.gz", "B2", "B3")]
    tables(old, tmp_path / "first", parts=kept)
    assert read == ["a.json.gz", "c.json.gz"]
    read.clear()
    # It sorts between the two, and repeats in both directions are found.
    now = [old[0], file(tmp_path, "b.json.gz", "B3", "B1", "B4", "not an asin\ud800"), old[1]]
    found, dropped = tables(now, tmp_path / "second", parts=kept)
    assert read == ["b.json.gz"]
    assert (found.files, found.files_known) == (3, 2)
    assert dropped == tables(now, tmp_path / "afresh")[1]
    assert found.counts["repeated_across_files"] == 3


def test_a_file_of_the_same_size_and_time_with_other_content_is_read_again(tmp_path: Path, read: list[str]):
    kept, path = tmp_path / "parts", tmp_path / "a.jsonl"
    path.write_text(json.dumps(review(asin="B1")) + "\n")
    before = path.stat()
    tables([path], tmp_path / "out", parts=kept)
    path.write_text(json.dumps(review(asin="B2")) + "\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    found, _ = tables([path], tmp_path / "out", parts=kept)
    assert read == ["a.jsonl"] * 2
    assert found.reviews["asin"].to_pylist() == ["B2"]


def test_unneeded_parts_and_leftovers_of_a_kill_are_deleted(tmp_path: Path):
    kept = tmp_path / "parts"
    paths = [file(tmp_path, "a.json.gz", "B1"), file(tmp_path, "b.json.gz", "B2")]
    tables(paths, tmp_path / "out", parts=kept)
    (kept / "reviews" / "0123.tmp").mkdir()
    both = {path.name for path in (kept / "reviews").iterdir()}
    tables(paths[:1], tmp_path / "out", parts=kept)
    (left,) = (path.name for path in (kept / "reviews").iterdir())
    assert left in both


def test_a_reading_that_fails_leaves_no_part_of_its_file_and_those_before_it_are_kept(tmp_path: Path, read: list[str]):
    kept = tmp_path / "parts"
    good, cut = file(tmp_path, "a.json.gz", "B1"), file(tmp_path, "b.json.gz", *(f"B{n}" for n in range(500)))
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-20])
    with pytest.raises(InputError, match="cut short"):
        tables([good, cut], tmp_path / "out", parts=kept)
    assert not (tmp_path / "out" / TABLES[0]).exists()
    assert len(list((kept / "reviews").iterdir())) == 1
    cut.write_bytes(whole)
    found, _ = tables([good, cut], tmp_path / "out", parts=kept)
    assert read == ["a.json.gz", "b.json.gz", "b.json.gz"]
    assert found.reviews_file.num_rows == 500


def test_no_part_contains_erased_names_and_every_line_is_accounted_for(tmp_path: Path):
    kept = tmp_path / "parts"
    paths = [file(tmp_path, "a.json.gz", "B1", "SECRET", "SECRET"), file(tmp_path, "b.json.gz", "SECRET", "B2")]
    tables(paths, tmp_path / "out", parts=kept)
    assert any(b"SECRET" in path.read_bytes() for path in kept.rglob("rows.arrow"))
    erased = Erasures.none().with_more("asin", "SECRET", [])
    found, _ = tables(paths, tmp_path / "out", parts=kept, erased=erased)
    assert found.reviews["asin"].to_pylist() == ["B1", "B2"]
    assert not any(b"SECRET" in path.read_bytes() for path in kept.rglob("*") if path.is_file())
    assert (found.erased, found.accepted, found.lines) == (3, 5, 5)


def test_products_are_merged_as_by_a_dictionary_for_any_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    draw = random.Random(3)
    lines = [
        {
            "asin": f"B{draw.randrange(300)}",
            "title": f"title {n}",
            "imageURL": [f"http://h/{draw.randrange(9)}" for _ in range(draw.randrange(3))],
        }
        for n in range(900)
    ]
    paths = []
    for number, cut in enumerate((lines[:400], lines[400:401], lines[401:])):
        paths.append(tmp_path / f"{number}.jsonl")
        paths[-1].write_text("".join(json.dumps(line) + "\n" for line in cut))
    wanted: dict[str, dict] = {}
    for line in lines:
        first = wanted.setdefault(line["asin"], {**line, "imageURL": []})
        first["imageURL"] = list(dict.fromkeys([*first["imageURL"], *line["imageURL"]]))
    for at_once in (ingest.PRODUCTS_AT_ONCE, 7):
        monkeypatch.setattr(ingest, "PRODUCTS_AT_ONCE", at_once)
        found = ingest.read_products(paths)
        rows = found.products.select(["asin", "title", "vendor_urls"]).to_pylist()
        assert rows == [
            {"asin": line["asin"], "title": line["title"], "vendor_urls": line["imageURL"]} for line in wanted.values()
        ]
        assert found.counts["repeated_asin"] == 900 - len(wanted)
        assert found.accepted == found.lines == 900
