"""Read the header of a JPEG (ITU-T T.81, annex B), and count its scans, because each is a pass over all pixels."""

import re
import struct
from collections.abc import Iterator

from pipeline.core.images.formats.exif import tiff_orientation, xmp_orientation
from pipeline.core.images.formats.header import Header, PictureError, check_pixels, make_header

_SCANS = 100  # most scans; encoders write 1 to 20, libjpeg-turbo's own programs warn of files with more
_SCANNED_PIXELS = 1_000_000_000  # pixels x scans: 20 scans of the largest picture, about 1.5 s where they are empty
_SEGMENTS = 4096  # most segments; a camera's file has about ten, one with a profile and much XMP a few hundred
_PLAIN_SEGMENTS = 100

_BASELINE = (0xC0, 0xC1, 0xC2)  # start of frame: sequential or progressive, Huffman
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # every start of frame (ITU-T T.81, table B.1)
_PIXEL_SEGMENTS = _FRAMES | {0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xEE}  # tables, restart interval, JFIF, Adobe
_WITH_LENGTH = frozenset(range(0xC0, 0xD0)) | {*range(0xDA, 0xDE), *range(0xE0, 0xF0), 0xFE}
# It matches one 0xFF, though several may precede a marker: a pattern for all of them would take quadratic time.
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_SCAN_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")


def plain_jpeg(data: bytes) -> Header | None:
    """Read the header of a JPEG that simplejpeg and Pillow decode alike, else return None (then use `jpeg`).

    Such a JPEG is 8-bit and Huffman-coded, grey or YCbCr according to JFIF, and has no APP1 segment before its pixels
    (EXIF 2.3, 4.7.2; XMP can rotate a picture too). It is the fast path for nine pictures of ten.
    """
    if data[:3] != b"\xff\xd8\xff":
        return None
    at, jfif, width, height, components = 2, False, 0, 0, 0
    for _ in range(_PLAIN_SEGMENTS):
        if at + 10 > len(data) or data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xDA:  # start of scan
            if not width or not (components == 1 or (components == 3 and jfif)):
                return None
            if data.count(b"\xff\xda", at) > 1:
                _count_scans(data, at, width * height)
            return Header("JPEG", width, height, True)
        if marker in _BASELINE and data[at + 4] == 8 and not width:
            height, width, components = (
                (data[at + 5] << 8) + data[at + 6],
                (data[at + 7] << 8) + data[at + 8],
                data[at + 9],
            )
        elif marker == 0xE0:
            jfif = jfif or data[at + 4 : at + 9] == b"JFIF\0"
        elif marker in (0xE1, 0xEE):  # APP1; Adobe's APP14, which may mean RGB or CMYK
            break
        at += 2 + (data[at + 2] << 8) + data[at + 3]
    return None


def jpeg(data: bytes, max_pixels: int) -> Header:
    """Read the header of any JPEG; a second picture after the first (MPO, by phones) is ignored."""
    size, exif, xmp = None, b"", 0
    parts = [(0, 2)]
    for marker, at, end in _segments(data):
        if marker == 0xDA:
            if size is None:
                break
            _count_scans(data, at - 2, size[0] * size[1])
            return make_header("JPEG", size, tiff_orientation(exif) or xmp or 1, [*parts, (at - 2, len(data))])
        if marker in _FRAMES:
            if size is not None:
                raise PictureError("not_a_picture", "a JPEG with two frame headers")
            height, width = struct.unpack_from(">HH", data, at + 3)
            size = width, height
            check_pixels(size, max_pixels)
        if marker in _PIXEL_SEGMENTS:
            parts.append((at - 2, end))
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", at + 2):
            exif = exif or data[at + 8 : end]
        elif marker == 0xE1:
            xmp = xmp or xmp_orientation(data, at, end)
    raise PictureError("not_a_picture", "a JPEG without pixels, or with a segment that is cut off")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """List marker, start (after the marker) and end of each segment up to the first scan.

    Raises PictureError (too_costly) if there are too many.
    """
    at = 2
    for _ in range(_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return
        marker, at = found[1][0], found.end()
        if marker == 0xD9:
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # these have no length
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2 or at + length > len(data):
            return
        yield marker, at, at + length
        at += length
    raise PictureError("too_costly", f"a JPEG with more than {_SEGMENTS} segments before its pixels")


def _count_scans(data: bytes, at: int, pixels: int) -> None:
    """Count scans and segments from the first scan to the picture's end. Raises PictureError (too_costly)."""
    scans = segments = 0
    while (found := _SCAN_MARKER.search(data, at)) is not None and segments <= _SEGMENTS:
        marker, at = found[1][0], found.end()
        if marker == 0xD9:
            return
        segments += 1
        if marker == 0xDA:
            scans += 1
            if scans > _SCANS or scans * pixels > _SCANNED_PIXELS:
                raise PictureError("too_costly", f"a JPEG of {pixels} pixels in {scans} scans or more")
        if marker in _WITH_LENGTH:  # libjpeg refuses others, or skips to the next marker
            at += (data[at] << 8) + data[at + 1] if at + 2 <= len(data) else 2
    if segments > _SEGMENTS:
        raise PictureError("too_costly", f"a JPEG with more than {_SEGMENTS} segments among its scans")
