"""A `*` in the pattern of pictures matches files and members of archives, and new ones are noticed."""

import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.local_address import archive_address
from pipeline.core.shop.mapping import PictureFiles
from pipeline.core.shop.picture_files import PicturePattern
from tests.pipeline.core.shop.tables import write


def packed(path: Path, *members: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for member in members:
                archive.writestr(member, "x")
    else:
        with tarfile.open(path, "w") as archive:
            for member in members:
                archive.addfile(tarfile.TarInfo(member))
    return path


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_star_matches_members_of_an_archive(tmp_path, kind):
    members = ("7_b.jpg", "7_a.jpg", "70_a.jpg", "._7_c.jpg", "in/7_d.jpg", "../7_e.jpg", "__MACOSX/._7_a.jpg", "7_f/")
    archive = packed(tmp_path / f"pics.{kind}", *members, "caf\u00e9_1.jpg")

    def found(pattern: str, item: str) -> list[str]:
        counts, refused = Counter[str](), list[str]()
        urls = PicturePattern(PictureFiles(pattern), tmp_path, ["id"]).urls({"id": item}, counts, refused)
        assert bool(urls) != (refused == ["no_file"])
        return urls

    of = [archive_address(str(archive), f"7_{letter}.jpg") for letter in "ab"]
    assert found(f"pics.{kind}/{{id}}_*.jpg", "7") == of
    assert found(f"pics.{kind}/in/{{id}}_?.jpg", "7") == [archive_address(str(archive), "in/7_d.jpg")]
    assert found(f"pics.{kind}/{{id}}_*.jpg", "caf\u00e9") == [archive_address(str(archive), "caf\u00e9_1.jpg")]
    assert found(f"pics.{kind}/{{id}}_*.jpg", "9") == found(f"other.{kind}/{{id}}_*.jpg", "7") == []
    of_each = packed(tmp_path / "by" / f"7.{kind}", "1.jpg", "2.jpg")
    assert found(f"by/{{id}}.{kind}/*.jpg", "7") == [archive_address(str(of_each), f"{n}.jpg") for n in (1, 2)]
    elsewhere = packed(tmp_path / "elsewhere" / f"more.{kind}", "7.jpg")
    files = PictureFiles(f"more.{kind}/{{id}}*", (str(elsewhere.parent),))
    assert PicturePattern(files, tmp_path, ["id"]).urls({"id": "7"}, Counter(), []) == [
        archive_address(str(elsewhere), "7.jpg")
    ]


def test_an_archive_that_cannot_be_read_is_the_reason_of_its_products(tmp_path):
    write(tmp_path, "pics.zip", "no archive")
    counts, refused = Counter[str](), list[str]()
    pattern = PicturePattern(PictureFiles("pics.zip/{id}_*.jpg"), tmp_path, ["id"])
    assert pattern.urls({"id": "7"}, counts, refused) == []
    assert counts == {"pictures_archive_unread": 1} and refused == ["archive_unread"]


@pytest.mark.parametrize("pattern", ["p/{id:.1}/{id}_*.jpg", "p.zip/{id}_*.jpg", "{id:.1}.zip/{id}_*.jpg"])
def test_the_state_of_a_pattern_changes_with_what_it_may_match_alone(tmp_path, pattern):
    made = PicturePattern(PictureFiles(pattern), tmp_path, ["id"])
    states = [made.state()]
    if ".zip" in pattern:
        packed(tmp_path / pattern.split("/")[0].replace("{id:.1}", "7"), "7_a.jpg")
    else:
        write(tmp_path, "p/7/7_a.jpg", "x")
    states += [made.state(), made.state()]
    write(tmp_path, "p/7/7.txt", "x")
    write(tmp_path, "p/7/._7_b.jpg", "x")
    write(tmp_path, "p/7/deeper/7_b.jpg", "x")
    write(tmp_path, "var/x.jpg", "x")
    states.append(made.state())
    assert states[0] != states[1] == states[2] == states[3]
    assert PicturePattern(PictureFiles("p/{id}.jpg"), tmp_path, ["id"]).state() == ""


def test_a_pattern_in_an_object_store_names_each_picture_whole(tmp_path):
    pattern = PicturePattern(PictureFiles("s3://shop/p/{id:.1}/{id}.jpg"), tmp_path, ["id"])
    assert pattern.urls({"id": "7 #1"}, Counter(), []) == ["s3://shop/p/7/7 #1.jpg"]
    with pytest.raises(InputError, match="name each picture whole"):
        PicturePattern(PictureFiles("s3://shop/p/{id}_*.jpg"), tmp_path, ["id"])


def test_a_pattern_may_be_an_address_into_which_values_are_encoded(tmp_path):
    pattern = PicturePattern(PictureFiles("https://cdn.example/{id:.1}/{id}.jpg?w={size}"), tmp_path, ["id", "size"])
    counts, refused = Counter[str](), list[str]()
    assert pattern.urls({"id": "a b", "size": "1&x"}, counts, refused) == ["https://cdn.example/a/a%20b.jpg?w=1%26x"]
    assert pattern.urls({"id": "a", "size": None}, counts, refused) == []
    assert (dict(counts), refused, pattern.state()) == ({"pictures_without_value": 1}, [], "")


@pytest.mark.parametrize("pattern", ["https://cdn.example/{id}_*.jpg", "ftp://cdn.example/{id}.jpg"])
def test_a_pattern_that_cannot_be_an_address_is_refused_by_name(tmp_path, pattern):
    with pytest.raises(
        InputError, match=r"shop\.toml: \[pictures\] pattern = .*(name each picture whole|begins with http)"
    ):
        PicturePattern(PictureFiles(pattern), tmp_path, ["id"])
