"""Make pictures of a few kilobytes that are expensive to decode."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

SMOOTH = np.asarray(Image.fromarray(np.random.default_rng(3).integers(0, 256, (4, 3, 3), np.uint8)).resize((30, 40)))


def encoded(picture: Image.Image | np.ndarray, format_name: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(file, format_name, **options)  # type: ignore[arg-type]
    return file.getvalue()


# ---- JPEG


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


JFIF = segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0")


def flat_jpeg(side: int, scans: int, between: bytes = b"", first: bytes = JFIF, restart: int = 0) -> bytes:
    """Make a progressive grey JPEG, side x side: one scan of values, then empty scans, each after `between`."""
    blocks = ((side + 7) // 8) ** 2
    values = bytes((blocks + 7) // 8)  # one bit, 0, a block
    refinement = segment(0xDA, bytes([1, 1, 0, 0, 0, 0x10])) + values
    return (
        b"\xff\xd8"
        + first
        + segment(0xDB, b"\0" + b"\x01" * 64)
        + segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0]))
        + segment(0xC4, bytes([0x00, 1, *[0] * 15, 0]))
        + (segment(0xDD, struct.pack(">H", restart)) if restart else b"")
        + segment(0xDA, bytes([1, 1, 0, 0, 0, 0x01]))
        + values
        + (between + refinement) * scans
        + b"\xff\xd9"
    )


def exif_of_many_tags(tags: int = 5000) -> bytes:
    """Make an EXIF directory in which every tag's value is the whole block: 300 MB if read naively."""
    size = 8 + 2 + 12 * tags
    entries = b"".join(struct.pack("<HHII", 0x1000 + n, 7, size - 8, 8) for n in range(tags))
    return b"II*\0" + struct.pack("<IH", 8, tags) + entries


# ---- PNG


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(side: int = 32, before: bytes = b"", after: bytes = b"", pieces: int = 1, announced: int = 0) -> bytes:
    """Make a grey PNG, side x side; `announced` replaces the side in its header."""
    pixels = zlib.compress(bytes((1 + side) * side))
    step = max(1, -(-len(pixels) // pieces))
    cut = [pixels[at : at + step] for at in range(0, len(pixels), step)]
    cut += [b""] * (pieces - len(cut))
    head = struct.pack(">IIBBBBB", announced or side, announced or side, 8, 0, 0, 0, 0)
    body = b"".join(chunk(b"IDAT", piece) for piece in cut)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + body + after + chunk(b"IEND", b"")


def inflating(megabytes: int) -> bytes:
    return zlib.compress(bytes(megabytes * 1_000_000), 9)


# ---- GIF, WebP, AVIF


def gif(canvas: tuple[int, int], frame: tuple[int, int], before: bytes = b"") -> bytes:
    return (
        b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + before
        + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x44\x01\0;"
    )  # fmt: skip


def webp_canvas(width: int, height: int, chunks: bytes = b"") -> bytes:
    size = struct.pack("<HBHB", width - 1 & 0xFFFF, width - 1 >> 16, height - 1 & 0xFFFF, height - 1 >> 16)
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size + chunks
    return b"RIFF" + struct.pack("<I", len(body)) + body


def box(kind: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I", 8 + len(body)) + kind + body


def lying_avif(side: int, says: int) -> bytes:
    """Make an AVIF whose AV1 picture is side x side and whose boxes give another size."""
    data = encoded(Image.new("RGB", (side, side), (90, 10, 10)), "AVIF", speed=10)
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", says, says) + data[at + 8 :]
