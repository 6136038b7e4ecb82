"""Read a picture's orientation from EXIF or XMP. Pillow's EXIF parser is not used, because its time is unbounded."""

import re
import struct

_TAGS = 1000  # read from an EXIF directory; a camera's first has about 15
_XMP_ORIENTATION = re.compile(rb"""tiff:Orientation(?:=["']|>)([1-8])""")


def tiff_orientation(exif: bytes) -> int:
    """Read the orientation (tag 0x0112) from the first directory of a TIFF structure; 0 if missing or broken."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return 0
    (first,) = struct.unpack_from(order + "I", exif, 4)
    if first + 2 > len(exif):
        return 0
    (count,) = struct.unpack_from(order + "H", exif, first)
    for at in range(first + 2, min(first + 2 + 12 * min(count, _TAGS), len(exif) - 11), 12):
        tag, kind, values = struct.unpack_from(order + "HHI", exif, at)
        if tag == 0x0112 and values == 1 and kind in (3, 4):  # a SHORT; some write a LONG
            (value,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), exif, at + 8)
            return value if 1 <= value <= 8 else 0
    return 0


def exif_orientation(exif: bytes) -> int:
    """Read the orientation like `tiff_orientation`, with or without JPEG's six leading bytes."""
    return tiff_orientation(exif.removeprefix(b"Exif\0\0"))


def xmp_orientation(data: bytes, start: int, end: int) -> int:
    """Read the orientation from XMP as Pillow does if EXIF has none; 0 for none."""
    found = _XMP_ORIENTATION.search(data, start, end)
    return int(found[1]) if found else 0
