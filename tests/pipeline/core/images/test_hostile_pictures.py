"""Hostile pictures: reading headers is bounded, and decoders get only the bytes of the pixels."""

import io
import random
import struct
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.images.pictures import PictureError, decode, read_header, validate
from tests.pipeline.core.fault_server import jpeg
from tests.pipeline.core.images import hostile
from tests.pipeline.core.images.hostile import SMOOTH, box, encoded

CPU_SECONDS = 1.0  # limit for a header or a small picture on a slow, loaded machine; most take a millisecond
MEGABYTES = 20


def outcome(data: bytes) -> str:
    try:
        validate(data, read_header(data))
    except PictureError as error:
        return error.reason
    return "accepted"


def within_bounds(data: bytes) -> str:
    """Return the outcome; check CPU time and Python's and NumPy's memory (`png` in C is bounded by pixels)."""
    tracemalloc.start()
    started = time.process_time()
    try:
        found = outcome(data)
        seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds < CPU_SECONDS, f"{len(data)} bytes took {seconds:.2f} s"
    assert peak < MEGABYTES * 1e6, f"{len(data)} bytes took {peak / 1e6:.0f} MB"
    return found


def sized(height: int, width: int) -> bytes:
    """Make a JPEG that announces this size."""
    return hostile.flat_jpeg(64, 0).replace(b"\x08\0\x40\0\x40", b"\x08" + struct.pack(">HH", height, width))


COMMENT_WITH_AN_END = hostile.segment(0xFE, b"\xff\xd9")
HIDDEN_SCANS = b"\xff\x02" + struct.pack(">H", 60_000)  # no segment, but a parser that trusts its length skips scans
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a JPEG of 300 scans": (lambda: hostile.flat_jpeg(64, 300), "too_costly"),
    "a large JPEG of 30 scans": (lambda: hostile.flat_jpeg(6000, 30), "too_costly"),
    "scans behind a comment that looks like the end": (
        lambda: hostile.flat_jpeg(64, 300, COMMENT_WITH_AN_END),
        "too_costly",
    ),
    "scans behind a length that is none": (lambda: hostile.flat_jpeg(64, 300, HIDDEN_SCANS, restart=1), "too_costly"),
    "scans of a JPEG that says EXIF": (
        lambda: hostile.flat_jpeg(64, 300, first=hostile.segment(0xE1, b"Exif\0\0" + hostile.exif_of_many_tags(9))),
        "too_costly",
    ),
    "a JPEG of empty segments": (lambda: b"\xff\xd8" + hostile.segment(0xFE, b"") * 60_000, "too_costly"),
    "empty segments among scans": (
        lambda: hostile.flat_jpeg(64, 2, hostile.segment(0xFE, b"") * 60_000),
        "too_costly",
    ),
    "a JPEG of fill bytes": (lambda: b"\xff\xd8" + b"\xff" * 3_000_000, "not_a_picture"),
    "fill bytes in a scan": (lambda: hostile.flat_jpeg(64, 1, b"\xff" * 3_000_000 + b"\0"), "accepted"),
    "a JPEG without height": (lambda: sized(0, 64), "not_a_picture"),
    "a JPEG of one line": (lambda: sized(1, 65_535), "too_small"),
    "a JPEG whose EXIF repeats itself": (
        lambda: encoded(SMOOTH, "JPEG", exif=b"Exif\0\0" + hostile.exif_of_many_tags()),
        "accepted",
    ),
    "a WebP whose EXIF repeats itself": (
        lambda: encoded(SMOOTH, "WEBP", exif=hostile.exif_of_many_tags(60_000)),
        "accepted",
    ),
    "an EXIF directory that follows itself": (
        lambda: encoded(SMOOTH, "JPEG", exif=b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 8, 8)),
        "accepted",
    ),
    "a PNG of 64,000 pixels a side": (lambda: hostile.png(announced=64_000), "too_many_pixels"),
    "a PNG cut off behind its pixels": (lambda: hostile.png()[:-6], "accepted"),
    "a PNG with a text of 30 MB": (
        lambda: hostile.png(before=hostile.chunk(b"zTXt", b"a\0\0" + hostile.inflating(30))),
        "accepted",
    ),
    "a PNG with a profile of 30 MB": (
        lambda: hostile.png(before=hostile.chunk(b"iCCP", b"a\0\0" + hostile.inflating(30))),
        "accepted",
    ),
    "a PNG with EXIF of 30 MB": (
        lambda: hostile.png(after=hostile.chunk(b"zTXt", b"Raw profile type exif\0\0" + hostile.inflating(30))),
        "accepted",
    ),
    "a PNG in 1,000 pieces": (lambda: hostile.png(pieces=1000), "accepted"),
    "a PNG in 60,000 pieces": (lambda: hostile.png(pieces=60_000), "too_costly"),
    "a PNG of two headers": (
        lambda: hostile.png(before=hostile.chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0))),
        "accepted",  # by its first picture
    ),
    "an animated PNG of 2,000 frames": (
        lambda: hostile.png(
            before=hostile.chunk(b"acTL", struct.pack(">II", 2000, 0)),
            after=b"".join(
                hostile.chunk(b"fcTL", struct.pack(">IIIIIHHBB", 2 * n + 1, 9000, 9000, 0, 0, 1, 1, 2, 1))
                + hostile.chunk(b"fdAT", struct.pack(">I", 2 * n + 2))
                for n in range(2000)
            ),
        ),
        "accepted",  # its first frame
    ),
    "a GIF whose canvas is huge": (lambda: hostile.gif((65_535, 65_535), (1, 1)), "too_many_pixels"),
    "a GIF whose frame is beyond its canvas": (lambda: hostile.gif((16, 16), (65_535, 65_535)), "too_many_pixels"),
    "a GIF of comments": (lambda: hostile.gif((16, 16), (16, 16), b"!\xfe" + b"\1a" * 100_000 + b"\0"), "too_costly"),
    "a GIF of junk": (lambda: hostile.gif((16, 16), (16, 16), b"\1" * 200_000), "too_costly"),
    "a GIF without a frame": (lambda: hostile.gif((16, 16), (16, 16))[:19] + b";", "not_a_picture"),
    "a WebP animation whose canvas is huge": (lambda: hostile.webp_canvas(16_384, 16_384), "too_many_pixels"),
    "a WebP of empty chunks": (lambda: hostile.webp_canvas(64, 64, b"ABCD\0\0\0\0" * 60_000), "too_costly"),
    "an AVIF that says that it is huge": (lambda: hostile.lying_avif(64, 60_000), "too_many_pixels"),
    "an AVIF of empty boxes": (lambda: box(b"ftyp", b"avif\0\0\0\0avif") + box(b"free") * 60_000, "too_costly"),
    "an AVIF of empty properties": (
        lambda: box(b"ftyp", b"avif\0\0\0\0avif")
        + box(b"meta", bytes(4), box(b"pitm", bytes(6)), box(b"iprp", box(b"ipco", box(b"free") * 60_000))),
        "too_costly",
    ),
    "an AVIF sequence of huge frames": (
        lambda: box(b"ftyp", b"avis\0\0\0\0avis")
        + box(b"moov", box(b"trak", box(b"tkhd", bytes(76), struct.pack(">II", 60_000 << 16, 60_000 << 16)))),
        "too_many_pixels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_picture_is_validated_quickly_and_in_little_memory(name: str) -> None:
    made, expected = HOSTILE[name]
    assert within_bounds(made()) == expected


def test_the_scans_of_an_ordinary_progressive_jpeg_are_allowed() -> None:
    data = encoded(SMOOTH, "JPEG", progressive=True)
    assert data.count(b"\xff\xda") == 10
    assert outcome(data) == "accepted"
    assert outcome(hostile.flat_jpeg(1000, 90)) == "accepted"  # many scans of a small picture


def test_bytes_after_a_jpegs_end_are_no_scans() -> None:
    video = random.Random(0).randbytes(2_000_000)  # like a phone's motion photo
    assert video.count(b"\xff\xda") > 10
    data = hostile.flat_jpeg(6000, 0)
    assert outcome(data + video) == "accepted"


UNREAD = {
    "MP4": box(b"ftyp", b"isom\0\0\2\0isomiso2"),
    "JPEG XL": b"\xff\x0a\xfa\x7f",
    "JPEG XL in boxes": b"\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG 2000": encoded(SMOOTH, "JPEG2000"),
    "BMP": encoded(SMOOTH, "BMP"),
    "TIFF": encoded(SMOOTH, "TIFF"),
    "ICO": encoded(SMOOTH, "ICO"),
    "Netpbm": encoded(SMOOTH, "PPM"),
    "Photoshop": b"8BPS\0\1" + bytes(20),
    "SVG": b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "WebM": b"\x1aE\xdf\xa3" + bytes(20),
}


@pytest.mark.parametrize("name", UNREAD)
def test_an_unsupported_format_is_distinguished_from_a_web_page(name: str) -> None:
    assert outcome(UNREAD[name]) == "unsupported_format"
    page = b"<!doctype html><html><body><svg></svg>"
    assert outcome(page) == "not_a_picture"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_the_orientation_is_applied_alike_in_every_format(format_name: str, orientation: int) -> None:
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    options = {"AVIF": {"subsampling": "4:4:4", "quality": 90}, "WEBP": {"lossless": True}}.get(format_name, {})
    pixels = decode(encoded(SMOOTH, format_name, exif=exif, **options))
    as_jpeg = decode(encoded(SMOOTH, "JPEG", exif=exif, quality=95))
    assert pixels.shape == as_jpeg.shape == ((40, 30, 3) if orientation < 5 else (30, 40, 3))
    assert np.abs(pixels.astype(int) - as_jpeg).mean() < 6  # loss by the formats


def test_a_still_or_moving_avif_is_read_by_its_boxes() -> None:
    frames = [Image.fromarray(SMOOTH), Image.fromarray(SMOOTH[::-1])]
    for data in (encoded(frames[0], "AVIF"), encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:])):
        header = read_header(data)
        assert (header.format, header.width, header.height) == ("AVIF", 30, 40)
        assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_a_picture_whose_size_differs_from_its_header_is_refused() -> None:
    assert outcome(hostile.lying_avif(300, 64)) != "crashed"  # libavif scales it or refuses it
    still = encoded(SMOOTH, "WEBP")
    extended = hostile.webp_canvas(64, 64, still[12:])
    assert outcome(extended) == "not_a_picture"


SOURCES = [
    jpeg(1),
    encoded(SMOOTH, "JPEG", progressive=True),
    encoded(SMOOTH, "JPEG", exif=b"Exif\0\0" + hostile.exif_of_many_tags(20)),
    encoded(SMOOTH, "PNG"),
    encoded(Image.fromarray(SMOOTH).quantize(16), "GIF"),
    encoded(SMOOTH, "WEBP"),
    encoded(SMOOTH, "WEBP", lossless=True, exif=hostile.exif_of_many_tags(20)),
    encoded(SMOOTH, "AVIF"),
]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SOURCES),
    st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=8),
    st.integers(0, 5000),
)
def test_damaged_and_cut_pictures_are_accepted_or_refused_within_limits(source: bytes, damage: list, cut: int) -> None:
    data = bytearray(source)
    for position, piece in damage:
        at = position % len(data)
        data[at : at + len(piece)] = piece
    data = bytes(data[: len(data) - cut] if cut < len(data) else data)
    started = time.process_time()
    try:
        header = read_header(data, max_pixels=1_000_000)
        assert header.pixels <= 1_000_000
        validate(data, header)
    except PictureError:
        pass
    assert time.process_time() - started < CPU_SECONDS
