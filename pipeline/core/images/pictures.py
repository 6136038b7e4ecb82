"""Validate and decode the bytes of pictures to RGB pixels, without network or files.

Conversion to RGB takes the first frame of an animation, applies the EXIF orientation, repeats greyscale in three
channels (the high eight of 16 bits), looks palettes up, converts CMYK by Pillow's plain conversion, and puts alpha on
white, as shops do. Colour profiles are ignored.
"""

import io

import numpy as np
import simplejpeg
from PIL import AvifImagePlugin, Image

from pipeline.core.images.formats import heif
from pipeline.core.images.formats.header import MAX_PIXELS, MIN_SIDE, Header, PictureError
from pipeline.core.images.formats.jpeg import jpeg
from pipeline.core.images.formats.reading import read_header

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "MIN_SIDE",
    "Header",
    "PictureError",
    "centre_crop",
    "decode",
    "read_header",
    "resize",
    "validate",
]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIF")  # only these decoders may get strangers' bytes
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # ty: ignore[invalid-assignment]  # several pictures are decoded at once already
_JPEG_END = b"\xff\xd9"  # the marker at the end of the picture (ITU-T T.81, B.1.1.3)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def validate(data: bytes, header: Header) -> None:
    """Decode to check that the bytes are complete. Raises PictureError (not_a_picture, too_costly).

    A JPEG that only lacks the marker at its end is complete.
    """
    if header.plain_jpeg:
        try:
            # Decoding at an eighth of the size costs a third less, and still reads every coded bit.
            simplejpeg.decode_jpeg(data, "GRAY", fastdct=True, min_height=1, min_width=1, min_factor=8)
            return
        except ValueError:
            # Pillow decides, because simplejpeg also refuses harmless bytes after a marker.
            header = jpeg(data, header.pixels)
    _load(data, header)


def decode(data: bytes, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> np.ndarray:
    """Decode a picture to RGB uint8 [H, W, 3]. Raises PictureError as `read_header` and `validate` do.

    Time and memory are linear in the header's pixels. For a picture that a stranger just sent, use
    `decoder.decode_posted`, which also sets system limits.
    """
    header = read_header(data, max_pixels, min_side)
    if header.plain_jpeg:
        try:
            return simplejpeg.decode_jpeg(data, colorspace="RGB")
        except ValueError:
            header = jpeg(data, header.pixels)
    picture = _load(data, header)
    turn = _UPRIGHT.get(header.orientation)
    return np.array(_to_rgb(picture if turn is None else picture.transpose(turn)))


def resize(pixels: np.ndarray, size: int, resample: Image.Resampling) -> np.ndarray:
    """Squash uint8 [H, W, 3] to uint8 [size, size, 3] without cropping."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), resample))


def centre_crop(pixels: np.ndarray, size: int) -> np.ndarray:
    """Crop the largest centred square of uint8 [H, W, 3], and resize it (bicubic) to uint8 [size, size, 3]."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(np.ascontiguousarray(pixels[top : top + side, left : left + side]), size, Image.Resampling.BICUBIC)


def _load(data: bytes, header: Header) -> Image.Image:
    """Decode the first frame as stored, from only the bytes of its pixels."""
    content = header.pixel_bytes(data)
    try:
        if header.format == "JPEG" and _JPEG_END not in data[header.parts[-1][0] :]:
            content = _ended(content)
        if header.format == "HEIF":
            heif.register()
        picture = Image.open(io.BytesIO(content), formats=(header.format,))
        _expect_size(picture, header)
        picture.load()
        _expect_size(picture, header)  # libheif may give another one when it has decoded
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError("too_many_pixels", str(error)) from error
    except MemoryError as error:
        raise PictureError("too_costly", "it does not fit in the memory that a picture may take") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ... on hostile bytes
        raise PictureError("not_a_picture", f"{type(error).__name__}: {error}") from error
    return picture


def _expect_size(picture: Image.Image, header: Header) -> None:
    if picture.size != header.stored_size:
        raise PictureError("not_a_picture", f"it says {header.stored_size} and {picture.size} of its size")


def _ended(content: bytes) -> bytes:
    """Append the marker that a JPEG lacks at its end, if libjpeg then gives the whole picture.

    Pillow would also decode one that lacks pixels, and fill it up with grey; simplejpeg refuses it.
    """
    content += _JPEG_END
    try:
        simplejpeg.decode_jpeg(content, "GRAY", fastdct=True, min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        raise PictureError("not_a_picture", f"a JPEG that is cut off ({error})") from error
    return content


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit greyscale: convert() would clip it at 255
        high = np.clip(np.asarray(picture).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return Image.fromarray(high).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")
