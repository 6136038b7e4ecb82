"""Read the header of a GIF (89a): its canvas, and the blocks before its first frame."""

import struct

from pipeline.core.images.formats.header import Header, PictureError, check_pixels, make_header

_BLOCKS = 50_000  # most blocks before the first frame


def gif(data: bytes, max_pixels: int) -> Header:
    """Read the first frame; a frame that exceeds the canvas enlarges it, as in Pillow."""
    width, height = struct.unpack_from("<HH", data, 6)
    check_pixels((width, height), max_pixels)
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    parts, blocks = [(0, at)], 0
    while True:
        kind = data[at]
        if kind == 0x2C:  # an image
            left, top, wide, high = struct.unpack_from("<HHHH", data, at + 1)
            return make_header("GIF", (max(width, left + wide), max(height, top + high)), 1, [*parts, (at, len(data))])
        if kind == 0x3B:
            raise PictureError("not_a_picture", "a GIF without a picture")
        start = at
        if kind == 0x21:  # an extension: a label, then sub-blocks up to an empty one
            label, at = data[at + 1], at + 2
            while data[at]:
                at += 1 + data[at]
                blocks += 1
                if blocks > _BLOCKS:
                    raise PictureError("too_costly", f"a GIF with more than {_BLOCKS} blocks before its first frame")
            if label == 0xF9 and at - start < 300:  # transparency
                parts.append((start, at + 1))
        at += 1
        blocks += 1
        if blocks > _BLOCKS:
            raise PictureError("too_costly", f"a GIF with more than {_BLOCKS} blocks before its first frame")
