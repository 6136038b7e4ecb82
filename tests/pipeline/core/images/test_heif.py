"""HEIC pictures are read with the extra `heic`, by the same limits as others, and refused by name without it."""

import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.images import pending
from pipeline.core.images.formats import heif
from pipeline.core.images.pictures import PictureError, decode, read_header
from tests.pipeline.core.images.hostile import SMOOTH, box, encoded
from tests.pipeline.core.images.test_local_files import Shop

HEIC = box(b"ftyp", b"heic\0\0\0\0mif1heic")
needs_the_extra = pytest.mark.skipif(not heif.heif_is_read(), reason="the extra heic (pillow-heif) is not installed")


def heic(pixels: np.ndarray = SMOOTH, **options: object) -> bytes:
    heif.register()
    return encoded(pixels, "HEIF", **{"quality": 95, "chroma": 444, **options})


def reason(data: bytes) -> str:
    with pytest.raises(PictureError) as error:
        decode(data)
    return error.value.reason


def test_without_the_extra_heic_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heif, "heif_is_read", lambda: False)
    for brand in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        with pytest.raises(PictureError, match=r"unsupported_format: HEIC .*pip install -e \.\[heic\]"):
            read_header(HEIC.replace(b"heic", brand).replace(b"mif1", brand))
    with pytest.raises(PictureError, match="unsupported_format: video"):
        read_header(box(b"ftyp", b"isom\0\0\2\0isomiso2"))


@needs_the_extra
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_crop_are_applied_as_in_a_jpeg(orientation: int):
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    data = heic(exif=exif)
    assert b"clap" in data  # HEVC has blocks of 64 pixels, from which the picture is cropped
    header, pixels = read_header(data), decode(data)
    as_jpeg = decode(encoded(SMOOTH, "JPEG", exif=exif, quality=95))
    assert (header.format, header.height, header.width) == ("HEIF", *pixels.shape[:2])
    assert pixels.shape == as_jpeg.shape and np.abs(pixels.astype(int) - as_jpeg).mean() < 6


@needs_the_extra
def test_the_size_is_bounded_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch):
    data = heic()
    at = data.index(b"ispe") + 8
    monkeypatch.setattr(heif, "register", lambda: pytest.fail("it was decoded"))
    huge = data[:at] + struct.pack(">II", 60_000, 60_000) + data[at + 8 :]
    assert reason(huge) == "too_many_pixels"


@needs_the_extra
def test_damaged_and_cut_files_are_refused():
    data = heic()
    clap = data.index(b"clap") + 4
    other_size = data[:clap] + struct.pack(">I", 90) + data[clap + 4 :]  # more than the 64 of the stored picture
    for bad in (data[:-50], data[: len(data) // 2], data[:200], HEIC, other_size):
        assert reason(bad) == "not_a_picture"


@needs_the_extra
def test_a_heic_in_a_file_is_kept_by_the_fetch(tmp_path: Path):
    shop = Shop(tmp_path)
    address = shop.put("1.heic", heic())
    assert shop.reasons(address) == ["ok"]
    row = shop.rows[address]
    assert (row["format"], row["width"], row["height"]) == ("HEIF", 30, 40)


def test_a_heic_that_was_refused_is_asked_for_again_once_the_extra_is_there(tmp_path: Path, monkeypatch):
    shop, unread = Shop(tmp_path), b"8BPS\0\1" + bytes(20)
    addresses = [shop.put("1.HEIC", unread), shop.put("2.psd", unread)]
    assert shop.reasons(*addresses) == ["unsupported_format"] * 2
    for installed, known in ((False, 2), (True, 1)):
        monkeypatch.setattr(pending, "heif_is_read", lambda installed=installed: installed)
        assert shop.fetch(*addresses).known == known
