"""Read the header of a WebP (RFC 9649): lossy, lossless or extended, which may be an animation."""

import struct
from collections.abc import Iterator

from pipeline.core.images.formats.exif import exif_orientation, xmp_orientation
from pipeline.core.images.formats.header import Header, PictureError, check_pixels, make_header

_CHUNKS = 20_000


def webp(data: bytes, max_pixels: int) -> Header:
    """Read the canvas size and orientation; libwebp refuses a picture whose size differs from its canvas."""
    kind = data[12:16]
    exif, xmp = b"", 0
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        size = width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", data, 24)
        size = 1 + low_width + (high_width << 16), 1 + low_height + (high_height << 16)
        check_pixels(size, max_pixels)
        for name, start, end in _riff_chunks(data):
            if name == b"EXIF":
                exif = exif or data[start:end]
            elif name == b"XMP ":
                xmp = xmp or xmp_orientation(data, start, end)
    else:
        raise PictureError("not_a_picture", "a WebP that begins with none of its kinds of picture")
    return make_header("WEBP", size, exif_orientation(exif) or xmp or 1, [])


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    for _ in range(_CHUNKS):
        if at + 8 > len(data):
            return
        name, length = struct.unpack_from("<4sI", data, at)
        yield name, at + 8, at + 8 + length
        at += 8 + length + (length & 1)
    raise PictureError("too_costly", f"a WebP with more than {_CHUNKS} chunks")
