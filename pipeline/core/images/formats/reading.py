"""Recognise a picture's format and read its header, without decoding and in time linear in the bytes.

`Header.parts` leaves out everything that the pixels do not need (EXIF, profiles, comments, texts, frames after the
first), because decoders parse these without bounds.
"""

import re
import struct

from pipeline.core.images.formats.avif import avif
from pipeline.core.images.formats.gif import gif
from pipeline.core.images.formats.header import MAX_PIXELS, MIN_SIDE, Header, PictureError, check_pixels, unsupported
from pipeline.core.images.formats.jpeg import jpeg, plain_jpeg
from pipeline.core.images.formats.png import png
from pipeline.core.images.formats.webp import webp

_UNSUPPORTED = (  # known formats that are refused: (offset, first bytes, name)
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"\0\0\2\0", "CUR"),
    (0, b"icns", "ICNS"),
    (0, b"qoif", "QOI"),
    (0, b"DDS ", "DDS"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"\x8aMNG\r\n\x1a\n", "MNG"),
    (0, b"\x8bJNG\r\n\x1a\n", "JNG"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM video"),
    (0, b"\0\0\1\xba", "MPEG video"),
    (0, b"\0\0\1\xb3", "MPEG video"),
    (0, b"FLV\1", "Flash video"),
    (8, b"AVI LIST", "AVI video"),
    (0, b"%PDF-", "PDF"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (0, b"FUJIFILMCCD-RAW", "camera raw"),
    (0, b"BPG\xfb", "BPG"),
)
_NETPBM = re.compile(rb"P[1-7][ \t\r\n]+[#0-9W]")
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,2000}?-->\s*)?(?:<!DOCTYPE svg|<svg\b)", re.S)


def read_header(data: bytes, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> Header:
    """Read format, size and orientation without decoding, in time linear in the bytes.

    Raises:
        PictureError: not_a_picture, unsupported_format, too_small, too_many_pixels or too_costly.
    """
    header = plain_jpeg(data)
    if header is None:
        try:
            header = _read(data, max_pixels)
        except (struct.error, IndexError) as error:
            raise PictureError("not_a_picture", "it ends within its header") from error
    check_pixels((header.width, header.height), max_pixels)
    if not header.pixels:
        raise PictureError("not_a_picture", f"{header.width} x {header.height} pixels")
    if min(header.width, header.height) < min_side:
        raise PictureError("too_small", f"{header.width} x {header.height}, at least {min_side} a side")
    return header


def _read(data: bytes, max_pixels: int) -> Header:
    if data[:3] == b"\xff\xd8\xff":
        return jpeg(data, max_pixels)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return png(data, max_pixels)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return gif(data, max_pixels)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return webp(data, max_pixels)
    if data[4:8] == b"ftyp":
        return avif(data, max_pixels)
    for at, start, name in _UNSUPPORTED:
        if data.startswith(start, at):
            raise unsupported(name)
    if data[:2] == b"BM" and data[6:10] == bytes(4):
        raise unsupported("BMP")
    if _NETPBM.match(data):
        raise unsupported("Netpbm")
    if _SVG.match(data, 0, 4096):
        raise unsupported("SVG")
    raise PictureError("not_a_picture", f"begins with {data[:12]!r}, as no picture does" if data else "no bytes")
