"""Sampled pictures: files are opened only beside the tables, addresses are asked for only with leave."""

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from pipeline.core.local_address import archive_address
from pipeline.inspection import pictures
from pipeline.inspection.pictures import NOT_ASKED, look, mend_of


def jpeg(path: Path, size: tuple[int, int] = (64, 96)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "teal").save(path, "JPEG")
    return path


def outcomes(addresses: list[str], folder: Path, ask: bool = False) -> list[str]:
    return [found.outcome for found in look([("B", "", a) for a in addresses], [str(folder)], ask, frozenset())]


def test_a_local_picture_is_looked_at_and_made_small(tmp_path: Path):
    path = jpeg(tmp_path / "shop" / "images" / "a b.jpg", (640, 960))
    [found] = look([("B", "Dress", path.as_uri())], [str(tmp_path / "shop")], False, frozenset())
    assert found.outcome == "ok" and found.thumbnail.startswith("data:image/jpeg;base64,")


def test_a_file_that_is_missing_or_no_picture_says_so(tmp_path: Path):
    (tmp_path / "text.jpg").write_text("<html>")
    found = outcomes([(tmp_path / name).as_uri() for name in ("none.jpg", "text.jpg")], tmp_path)
    assert found == ["file_missing", "not_a_picture"]


def test_a_file_outside_of_the_tables_folder_is_not_opened(tmp_path: Path):
    secret = jpeg(tmp_path / "secret.jpg")
    inside = tmp_path / "shop"
    inside.mkdir()
    (inside / "link.jpg").symlink_to(secret)
    addresses = [secret.as_uri(), (inside / "link.jpg").as_uri()]
    assert outcomes(addresses, inside) == ["outside_folders"] * 2


def test_an_address_is_not_asked_for_without_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "fetch", lambda *_: pytest.fail("it was asked for"))
    assert outcomes(["http://127.0.0.1:9/a.jpg"], tmp_path) == [NOT_ASKED]


def test_with_leave_an_address_is_asked_for_through_the_guard(tmp_path: Path):
    assert outcomes(["http://127.0.0.1:9/a.jpg"], tmp_path, ask=True) == ["private_address"]


def test_what_a_person_can_do_about_a_picture_is_said_beside_the_reason(tmp_path: Path):
    address = archive_address(str(tmp_path / "pics.tar.gz"), "1.jpg")
    (tmp_path / "pics.tar.gz").write_bytes(b"\x1f\x8b" + bytes(600))
    [packed, outside] = look(
        [("1", "", address), ("2", "", "file:///elsewhere/1.jpg")], [str(tmp_path)], False, frozenset()
    )
    assert packed.outcome == "unsupported_format" and "unpack it, or pack it as .zip or .tar" in mend_of(packed)
    assert outside.outcome == "outside_folders" and "[pictures] folders" in mend_of(outside)
    assert mend_of(dataclasses.replace(packed, address="file:///x.psd")) == ""
