"""From bytes to pixels: which bytes are a picture we take, and how every kind of picture becomes RGB.

No network and no files: where the bytes came from is `transfer.py`'s business, where they go is `ledger.py`'s.

How a picture becomes RGB: the first frame of an animation; EXIF orientation applied; greyscale repeated in the three
channels (16 bits: the high eight); palette looked up; CMYK by Pillow's plain conversion; alpha laid on white, as
shops show it. Colour profiles are ignored.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")  # the only decoders that strangers' bytes may reach
MAX_PIXELS = 50_000_000  # above today's phones (48 megapixels); 150 MB as RGB
MIN_SIDE = 16  # under this it is a placeholder or a tracking pixel
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that swap width and height (EXIF 2.3, tag 0x0112)
_ORIENTATION = 0x0112
_BASELINE = (0xC0, 0xC1, 0xC2)  # start of frame: sequential or progressive, Huffman
_SEGMENTS = 100  # a camera's JPEG has about ten before its pixels; a profile in many pieces a few more


class PictureError(ValueError):
    """Bytes that are refused as a picture; `reason` is one of schemas.REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(slots=True)  # not frozen: one is made for every picture
class Header:
    """What a picture says about itself before it is decoded: format and size in pixels, orientation applied."""

    format: str
    width: int
    height: int
    plain_jpeg: bool  # YCbCr or grey, no APP1 (EXIF, XMP): simplejpeg decodes it exactly as Pillow, 5x faster


def read_header(data: bytes, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> Header:
    """Format and size, without decoding. Raises PictureError: not_a_picture, too_small, too_many_pixels."""
    header = _plain_jpeg_header(data) or _pillow_header(data, max_pixels)
    if header.width * header.height > max_pixels:
        raise PictureError("too_many_pixels", f"{header.width} x {header.height}, {max_pixels} pixels are allowed")
    if min(header.width, header.height) < min_side:
        raise PictureError("too_small", f"{header.width} x {header.height}, at least {min_side} a side")
    return header


def validate(data: bytes, header: Header) -> None:
    """Decode to prove that the bytes are whole. Raises PictureError (not_a_picture)."""
    if header.plain_jpeg:
        try:
            # An eighth of the size costs a third less, and every coded bit is still read.
            simplejpeg.decode_jpeg(data, colorspace="GRAY", min_factor=8)
            return
        except ValueError:
            pass  # Pillow decides: simplejpeg also refuses harmless bytes after a marker
    _load(data)


def decode(data: bytes, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> np.ndarray:
    """The picture as uint8 [H, W, 3], RGB. Raises PictureError as `read_header` and `validate` do."""
    header = read_header(data, max_pixels, min_side)
    if header.plain_jpeg:
        try:
            return simplejpeg.decode_jpeg(data, colorspace="RGB")
        except ValueError:
            pass
    return np.array(_to_rgb(_load(data)))


def resize(pixels: np.ndarray, size: int, resample: Image.Resampling) -> np.ndarray:
    """uint8 [H, W, 3] squashed to uint8 [size, size, 3], without a crop."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), resample))


def centre_crop(pixels: np.ndarray, size: int) -> np.ndarray:
    """The largest centred square of uint8 [H, W, 3], resized (bicubic) to uint8 [size, size, 3]."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(np.ascontiguousarray(pixels[top : top + side, left : left + side]), size, Image.Resampling.BICUBIC)


def _plain_jpeg_header(data: bytes) -> Header | None:
    """The header of a JPEG whose pixels simplejpeg and Pillow see alike, else None (then Pillow decides).

    That is an 8-bit Huffman-coded one, grey or by JFIF's word YCbCr, without an APP1 segment before its pixels (EXIF
    2.3, 4.7.2; XMP can turn a picture too). Read by hand (ITU-T T.81, B.2): a call for it would take longer.
    """
    if data[:3] != b"\xff\xd8\xff":
        return None
    at, jfif, width, height, components = 2, False, 0, 0, 0
    for _ in range(_SEGMENTS):
        if at + 10 > len(data) or data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xDA:  # start of scan
            plain = width and (components == 1 or (components == 3 and jfif))
            return Header("JPEG", width, height, plain_jpeg=True) if plain else None
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


def _pillow_header(data: bytes, max_pixels: int) -> Header:
    canvas = _webp_canvas(data)
    if canvas is not None and canvas[0] * canvas[1] > max_pixels:
        return Header("WEBP", *canvas, plain_jpeg=False)  # Pillow would allocate it before it looks
    with _open(data) as picture:
        width, height = picture.size
        # A phone's JPEG may hold a second picture (MPO); its first is an ordinary JPEG.
        format_name = "JPEG" if picture.format == "MPO" else str(picture.format)
        try:
            turned = picture.getexif().get(_ORIENTATION) in _TRANSPOSED
        except Exception:  # EXIF is a stranger's; a broken block turns nothing
            turned = False
    return Header(format_name, height, width, False) if turned else Header(format_name, width, height, False)


def _webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Canvas size of an extended WebP file (RFC 9649, section 2.7), the one kind that can announce a large one."""
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8X":
        return None
    low_width, high_width, low_height, high_height = struct.unpack("<HBHB", data[24:30])
    return 1 + low_width + (high_width << 16), 1 + low_height + (high_height << 16)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError("too_many_pixels", str(error)) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ... on hostile bytes
        raise PictureError("not_a_picture", f"{type(error).__name__}: {error}") from error


def _load(data: bytes) -> Image.Image:
    """The first frame, decoded and turned upright."""
    picture = _open(data)
    try:
        picture.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError("too_many_pixels", str(error)) from error
    except Exception as error:
        raise PictureError("not_a_picture", f"{type(error).__name__}: {error}") from error
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # as in the header: a broken EXIF block turns nothing
        return picture


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit greyscale: convert() would clip it at 255
        high = np.clip(np.asarray(picture).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return Image.fromarray(high).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")
