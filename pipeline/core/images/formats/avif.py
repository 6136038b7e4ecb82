"""Read the header of an AVIF or a HEIC: ISO boxes (ISO/IEC 14496-12 and 23008-12) around AV1 or HEVC."""

import struct
from collections.abc import Iterator

from pipeline.core.images.formats import heif
from pipeline.core.images.formats.header import Header, PictureError, check_pixels, make_header, unsupported

_BOXES = 20_000  # most boxes and properties of a file
Size = tuple[int, int]  # width and height


def avif(data: bytes, max_pixels: int) -> Header:
    """Read the primary picture of an AVIF or HEIC, or the largest track of an AVIF sequence; refuse other ISO files."""
    (length,) = struct.unpack_from(">I", data, 0)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, min(length, len(data), 4096), 4))}
    is_avif = bool(brands & {b"avif", b"avis"})
    if not is_avif and not (brands & heif.BRANDS and heif.heif_is_read()):
        is_heic = brands & (heif.BRANDS | heif.SEQUENCES)
        raise unsupported(f"HEIC ({heif.MEND})" if is_heic else f"video ({data[8:12]!r})")
    boxes = _Boxes(data)
    top = dict(boxes.of(0, len(data)))
    if data[8:12] == b"avis" and b"moov" in top:
        return make_header("AVIF", _track_size(boxes, *top[b"moov"]), 1, [])
    if b"meta" not in top:
        raise PictureError("not_a_picture", "a picture without its box of properties")
    size, crop, orientation = _still(data, boxes, *top[b"meta"], max_pixels)
    if is_avif:
        return make_header("AVIF", size, orientation, [])
    upright = make_header("HEIF", crop or size, orientation, [])  # its decoder crops and turns the picture
    return make_header("HEIF", (upright.width, upright.height), 1, [])


class _Boxes:
    """The boxes of an ISO file, counted at any depth."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = _BOXES

    def spend(self, count: int = 1) -> None:
        """Count boxes. Raises PictureError (too_costly)."""
        self.left -= count
        if self.left < 0:
            raise PictureError("too_costly", f"a picture with more than {_BOXES} boxes and properties")

    def of(self, at: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
        """List kind and content (start, end) of each box in a byte range."""
        while at + 8 <= end:
            self.spend()
            length, kind = struct.unpack_from(">I4s", self.data, at)
            start = at + 8
            if length == 1:
                (length,) = struct.unpack_from(">Q", self.data, start)
                start += 8
            stop = end if length == 0 else at + length
            if stop < start or stop > end:
                if kind == b"mdat":  # only pixels are cut off, which the decoder reports
                    return
                raise PictureError("not_a_picture", f"a picture whose box {kind!r} is cut off")
            yield kind, (start, stop)
            at = stop


def _still(data: bytes, boxes: _Boxes, start: int, end: int, max_pixels: int) -> tuple[Size, Size | None, int]:
    """Return size, size after cropping (None without), and EXIF orientation of the primary picture."""
    meta = dict(boxes.of(start + 4, end))  # a full box: version and flags come first
    if b"iprp" not in meta or b"pitm" not in meta:
        raise PictureError("not_a_picture", "a file that names no primary picture")
    at = meta[b"pitm"][0]
    primary = struct.unpack_from(">H" if data[at] == 0 else ">I", data, at + 4)[0]
    held = list(boxes.of(*meta[b"iprp"]))
    properties = [one for kind, where in held if kind == b"ipco" for one in boxes.of(*where)]
    for kind, (at, _) in properties:
        if kind == b"ispe":  # tiles, layers and thumbnails have one too
            check_pixels(struct.unpack_from(">II", data, at + 4), max_pixels)
    own, crop, turn = None, None, (0, -1)
    for number in _associated(data, boxes, [where for kind, where in held if kind == b"ipma"], primary):
        if not 0 < number <= len(properties):
            continue
        kind, (at, _) = properties[number - 1]
        if kind == b"ispe":
            own = struct.unpack_from(">II", data, at + 4)
        elif kind == b"clap":
            width, width_by, height, height_by = struct.unpack_from(">IIII", data, at)
            crop = round(width / max(1, width_by)), round(height / max(1, height_by))
        elif kind == b"irot":
            turn = data[at] & 3, turn[1]
        elif kind == b"imir":
            turn = turn[0], data[at] & 1
    if own is None:
        raise PictureError("not_a_picture", "it does not say its size")
    return own, crop, _ISO_ORIENTATION[turn]


# (counter-clockwise quarter turns, mirror) -> EXIF orientation; mirror -1: none, 0: top and bottom, 1: left and right.
_ISO_ORIENTATION = {
    (0, -1): 1, (1, -1): 8, (2, -1): 3, (3, -1): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


def _associated(data: bytes, boxes: _Boxes, tables: list[tuple[int, int]], item: int) -> list[int]:
    """List the numbers of an item's properties, from 1."""
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
                essential = 0x8000 if listed == "H" else 0x80  # a flag, not part of the number
                return [value & ~essential for value in struct.unpack_from(properties, data, at)]
            at += struct.calcsize(properties)
    return []


def _track_size(boxes: _Boxes, start: int, end: int) -> tuple[int, int]:
    """Return the size of the largest track of a sequence; its headers hold 16.16 fixed point."""
    sizes = [(0, 0)]
    for kind, track in boxes.of(start, end):
        if kind == b"trak":
            for inner, (at, _) in boxes.of(*track):
                if inner == b"tkhd":
                    skip = 88 if boxes.data[at] == 1 else 76
                    width, height = struct.unpack_from(">II", boxes.data, at + skip)
                    sizes.append((width >> 16, height >> 16))
    return max(sizes, key=lambda size: size[0] * size[1])
