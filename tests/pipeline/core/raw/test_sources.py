"""Resolve input specifications, hide secrets in URLs, and digest files."""

import gzip
import re
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.raw import database_urls, sources


def written(path: Path, data: bytes = b'{"a": 1}\n') -> Path:
    path.write_bytes(data)
    return path


def test_a_folder_means_its_json_files_in_order_and_nothing_else(tmp_path):
    b, a = written(tmp_path / "b.jsonl"), written(tmp_path / "a.json.gz", gzip.compress(b"{}\n"))
    written(tmp_path / "notes.txt")
    assert sources.resolve(str(tmp_path)) == [a, b]


def test_hidden_files_and_macos_companions_are_skipped_and_named(tmp_path):
    a, companion = written(tmp_path / "a.json"), written(tmp_path / "._a.json", b"\x00\x05\x16\x07" + bytes(60))
    other = written(tmp_path / ".b.json")
    written(tmp_path / ".env")
    for spec in (str(tmp_path), f"{tmp_path}/*.json"):
        assert sources.resolve(spec) == [a]
    with pytest.raises(InputError, match="matches no file"):
        sources.resolve(f"{a},{tmp_path}/.*.json,{tmp_path}")
    said = sources.hidden_files(str(tmp_path), f"{tmp_path}/*.json", "")
    assert [line.partition(": ")[0] for line in said] == [str(companion), str(other)]
    assert "AppleDouble" in said[0] and "rename it" in said[1]
    assert (sources.resolve(str(other)), sources.hidden_files(str(other))) == ([other], said[:1])
    a.unlink()
    with pytest.raises(InputError, match=r"holds no .* but hidden ones, whose names begin with a dot or ~\$"):
        sources.resolve(str(tmp_path))


def test_the_lock_file_of_excel_is_skipped_and_named(tmp_path):
    a, lock = written(tmp_path / "a.csv"), written(tmp_path / "~$a.csv", b"\x05owner\x00")
    assert sources.resolve(str(tmp_path)) == sources.resolve(f"{tmp_path}/*.csv") == [a]
    (said,) = sources.hidden_files(str(tmp_path))
    assert said.startswith(f"{lock}: passed over: Excel")
    (tmp_path / "day=1").mkdir()
    part, _ = written(tmp_path / "day=1" / "b.csv"), written(tmp_path / "day=1" / "~$b.csv")
    a.unlink()
    lock.unlink()
    assert sources.resolve(str(tmp_path)) == [part]


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
    assert sources.resolve(spec, lambda asked: {url: [tmp_path / "cached"]}[asked]) == [b, tmp_path / "cached", a, c]


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
def test_a_comma_inside_a_url_belongs_to_it_until_another_entry_begins(spec, entries):
    assert sources.named(spec) == entries


def test_the_text_after_a_urls_comma_is_a_file_if_it_looks_like_one_or_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("here.json", "also,here.json"):
        written(tmp_path / name)
    there = [Path("here.json"), tmp_path / "here.json", Path("./here.json")]
    for name in ("here.json", str(tmp_path / "here.json"), "./here.json", "her?.json"):
        url, path = sources.named(f"http://h/x,{name}")
        assert url == "http://h/x" and path in there
    assert sources.named("http://h/x,nowhere.json") == ["http://h/x,nowhere.json"]
    with pytest.raises(InputError, match=r"/nowhere\.json: no such file"):
        sources.named("http://h/x,/nowhere.json")


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("https://h/a/x.json?sig=secret", "https://h/a/x.json?..."),
        ("https://h/x#secret", "https://h/x?..."),
        ("https://me:secret@h:8080/x", "https://h:8080/x"),
        ("https://[::1]:80/@scope/x", "https://[::1]:80/@scope/x"),
        ("ftp://me:sec/ret@h/x", "ftp://..."),
        ("s3://shop/a b?c#d:e.csv", "s3://shop/a b?c#d:e.csv"),
        ("s3://me:secret@shop/x", "s3://shop/x"),
        ("s3://me:sec/ret@shop/x", "s3://..."),
    ],
)
def test_a_url_is_printed_without_what_may_be_secret(url, printed):
    assert sources.shown(url) == printed


def test_a_url_of_another_kind_is_refused_without_its_password():
    with pytest.raises(InputError, match=r"^ftp://shop/x: only http, https, s3, sqlite and postgresql URLs") as refused:
        sources.named("ftp://me:secret@shop/x")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["missing.json", "no*.json", "empty.json", "folder", "http://h/x.json", ""])
def test_what_cannot_be_read_is_an_error_that_names_it(tmp_path, name):
    written(tmp_path / "empty.json", b"")
    (tmp_path / "folder").mkdir()
    spec = name if "://" in name or not name else str(tmp_path / name)
    with pytest.raises(InputError, match=name.replace("*", r"\*") or "no input"):
        sources.resolve(spec)


def test_every_kind_of_address_that_is_accepted_is_described_and_no_other():
    described = {found for place in sources.PLACES for found in re.findall(r"(\w+)://", place[1])}
    assert described == {"http", "https", "s3", "sqlite", "postgresql"}
    for scheme in described - {"sqlite"}:
        assert sources.named(f"{scheme}://host/x") == [f"{scheme}://host/x"]
    with pytest.raises(InputError) as refused:
        sources.named("gs://bucket/x")
    assert all(scheme in str(refused.value) for scheme in described)
    assert all(f"`{ending}`" in str(sources.PLACES) for ending in database_urls.ENDINGS)


def test_the_digest_follows_contents_not_names_or_order(tmp_path):
    a, b = written(tmp_path / "a", b"1"), written(tmp_path / "b", b"2")
    c = written(tmp_path / "c", b"1")
    assert sources.digest([a, b]) == sources.digest([b, c])
    assert sources.digest([a, b]) != sources.digest([a, a])
