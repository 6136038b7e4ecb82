"""Read the header of a PNG (W3C, third edition): its size, then the chunks that its pixels need."""

import struct
import zlib

from pipeline.core.images.formats.exif import exif_orientation, xmp_orientation
from pipeline.core.images.formats.header import Header, PictureError, check_pixels, make_header

_CHUNKS = 20_000  # 10 MB in pieces of 512 bytes
_PROFILE_BYTES = 1_000_000  # most bytes of an inflated "Raw profile type exif"


def png(data: bytes, max_pixels: int) -> Header:
    """Read the default picture, which is the first frame of an animation that includes it, as in Pillow."""
    if data[12:16] != b"IHDR":
        raise PictureError("not_a_picture", "a PNG that does not begin with its header")
    size = struct.unpack_from(">II", data, 16)
    check_pixels(size, max_pixels)
    parts, exif, xmp, pixels, at = [(0, 8)], b"", 0, False, 8
    for _ in range(_CHUNKS):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        body, end = at + 8, at + 12 + length
        if kind == b"IEND":
            break
        if end > len(data) and kind != b"IDAT":
            raise PictureError("not_a_picture", f"a PNG whose chunk {kind!r} is cut off")
        if at == 8 or kind in (b"PLTE", b"tRNS", b"IDAT"):
            pixels = pixels or kind == b"IDAT"
            parts.append((at, min(end, len(data))))
        elif kind == b"eXIf":
            exif = exif or data[body : end - 4]
        elif kind in (b"tEXt", b"zTXt") and data.startswith(b"Raw profile type exif\0", body):
            exif = exif or _raw_profile(data[body + 22 : end - 4], kind == b"zTXt")
        elif kind == b"iTXt" and data.startswith(b"XML:com.adobe.xmp\0", body) and not xmp:
            xmp = xmp_orientation(data, body, end)
        at = end
    else:
        raise PictureError("too_costly", f"a PNG with more than {_CHUNKS} chunks")
    if not pixels:
        raise PictureError("not_a_picture", "a PNG without pixels")
    return make_header("PNG", size, exif_orientation(exif) or xmp or 1, parts)


def _raw_profile(text: bytes, packed: bool) -> bytes:
    """Read EXIF as ImageMagick wrote it before PNG had a chunk for it: hexadecimal digits after three lines."""
    try:
        if packed:  # one byte names the method
            text = zlib.decompressobj().decompress(text[1:], _PROFILE_BYTES)
        return bytes.fromhex(b"".join(text[:_PROFILE_BYTES].split(b"\n")[3:]).decode("ascii"))
    except (zlib.error, ValueError):  # broken EXIF has no orientation
        return b""
