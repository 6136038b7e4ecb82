"""The header of an AVIF: ISO boxes (ISO/IEC 14496-12 and 23008-12) around AV1."""

import struct
from collections.abc import Iterator

from pipeline.core.images.formats.header import Header, PictureError, allow, made, unread

_BOXES = 20_000  # boxes and properties


def avif(data: bytes, max_pixels: int) -> Header:
    """The primary picture of an AVIF file, or the track of a sequence; any other ISO file is not read."""
    (length,) = struct.unpack_from(">I", data, 0)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, min(length, len(data), 4096), 4))}
    if not brands & {b"avif", b"avis"}:
        raise unread("HEIC" if brands & {b"heic", b"heix", b"mif1", b"msf1"} else f"video ({data[8:12]!r})")
    boxes = _Boxes(data)
    top = dict(boxes.of(0, len(data)))
    if data[8:12] == b"avis" and b"moov" in top:
        return made("AVIF", _track_size(boxes, *top[b"moov"]), 1, [])
    if b"meta" not in top:
        raise PictureError("not_a_picture", "an AVIF without its box of properties")
    return _avif_still(data, boxes, *top[b"meta"], max_pixels)


class _Boxes:
    """The boxes of an ISO file; counted, however deep they lie."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = _BOXES

    def spend(self, count: int = 1) -> None:
        """Count. Raises PictureError (too_costly)."""
        self.left -= count
        if self.left < 0:
            raise PictureError("too_costly", f"an AVIF with more than {_BOXES} boxes and properties")

    def of(self, at: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
        """Kind and byte range of the contents of each box in a range."""
        while at + 8 <= end:
            self.spend()
            length, kind = struct.unpack_from(">I4s", self.data, at)
            start = at + 8
            if length == 1:
                (length,) = struct.unpack_from(">Q", self.data, start)
                start += 8
            stop = end if length == 0 else at + length
            if stop < start or stop > end:
                if kind == b"mdat":  # the pixels are cut off: the decoder says so
                    return
                raise PictureError("not_a_picture", f"an AVIF whose box {kind!r} is cut off")
            yield kind, (start, stop)
            at = stop


def _avif_still(data: bytes, boxes: _Boxes, start: int, end: int, max_pixels: int) -> Header:
    meta = dict(boxes.of(start + 4, end))  # a full box: version and flags come first
    if b"iprp" not in meta or b"pitm" not in meta:
        raise PictureError("not_a_picture", "an AVIF that names no primary picture")
    at = meta[b"pitm"][0]
    primary = struct.unpack_from(">H" if data[at] == 0 else ">I", data, at + 4)[0]
    held = list(boxes.of(*meta[b"iprp"]))
    properties = [one for kind, where in held if kind == b"ipco" for one in boxes.of(*where)]
    for kind, (at, _) in properties:
        if kind == b"ispe":  # tiles, layers and thumbnails have theirs too
            allow(struct.unpack_from(">II", data, at + 4), max_pixels)
    own, turn = None, (0, -1)
    for number in _associated(data, boxes, [where for kind, where in held if kind == b"ipma"], primary):
        if not 0 < number <= len(properties):
            continue
        kind, (at, _) = properties[number - 1]
        if kind == b"ispe":
            own = struct.unpack_from(">II", data, at + 4)
        elif kind == b"irot":
            turn = data[at] & 3, turn[1]
        elif kind == b"imir":
            turn = turn[0], data[at] & 1
    if own is None:
        raise PictureError("not_a_picture", "an AVIF that does not say its size")
    return made("AVIF", own, _ISO_ORIENTATION[turn], [])


# Quarter turns against the clock, then a mirror (-1: none, 0: top and bottom change places, 1: left
# and right), as EXIF says it.
_ISO_ORIENTATION = {
    (0, -1): 1, (1, -1): 8, (2, -1): 3, (3, -1): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


def _associated(data: bytes, boxes: _Boxes, tables: list[tuple[int, int]], item: int) -> list[int]:
    """The numbers of an item's properties, from 1."""
    for start, _ in tables:
        named = ">H" if data[start] == 0 else ">I"  # by version
        listed = "H" if data[start + 3] & 1 else "B"  # by flags
        (count,) = struct.unpack_from(">I", data, start + 4)
        at = start + 8
        for _ in range(count):
            boxes.spend()
            (number,) = struct.unpack_from(named, data, at)
            at += struct.calcsize(named)
            properties, at = f">{data[at]}{listed}", at + 1
            if number == item:
                essential = 0x8000 if listed == "H" else 0x80  # a flag, no part of the number
                return [value & ~essential for value in struct.unpack_from(properties, data, at)]
            at += struct.calcsize(properties)
    return []


def _track_size(boxes: _Boxes, start: int, end: int) -> tuple[int, int]:
    """The largest track of a sequence (its headers hold sizes in 16.16)."""
    sizes = [(0, 0)]
    for kind, track in boxes.of(start, end):
        if kind == b"trak":
            for inner, (at, _) in boxes.of(*track):
                if inner == b"tkhd":
                    skip = 88 if boxes.data[at] == 1 else 76
                    width, height = struct.unpack_from(">II", boxes.data, at + skip)
                    sizes.append((width >> 16, height >> 16))
    return max(sizes, key=lambda size: size[0] * size[1])
