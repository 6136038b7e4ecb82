"""Define the header of a picture, known before decoding, and the error that refuses a picture."""

from dataclasses import dataclass, field

MAX_PIXELS = 50_000_000  # above today's phones (48 megapixels); 150 MB as RGB
MIN_SIDE = 16  # smaller pictures are placeholders or tracking pixels
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height (EXIF 2.3, tag 0x0112)


class PictureError(ValueError):
    """Bytes that are refused as a picture; `reason` is one of schemas.REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(slots=True)  # not frozen: one is made for every picture
class Header:
    """A picture's format and size in pixels, with the orientation applied, known before it is decoded."""

    format: str
    width: int
    height: int
    plain_jpeg: bool  # YCbCr or grey, no APP1 (EXIF, XMP): simplejpeg decodes it exactly as Pillow, 5x faster
    orientation: int = 1  # EXIF's, 1 to 8: how the stored pixels are rotated and mirrored
    parts: list[tuple[int, int]] = field(default_factory=list)  # byte ranges for the decoder; none: all bytes

    @property
    def pixels(self) -> int:
        """Return width times height."""
        return self.width * self.height

    @property
    def stored_size(self) -> tuple[int, int]:
        """Return width and height as decoded, before the orientation is applied."""
        return (self.height, self.width) if self.orientation in TURNED else (self.width, self.height)

    def pixel_bytes(self, data: bytes) -> bytes:
        """Extract the bytes needed for the first frame's pixels, in the same format."""
        return b"".join([data[start:end] for start, end in self.parts]) if self.parts else data


def unsupported(name: str) -> PictureError:
    """Create the error for a known format that is not supported."""
    return PictureError("unsupported_format", f"{name} is not read; JPEG, PNG, WebP, GIF and AVIF are")


def check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    """Refuse a picture that is too large as soon as its size is known, before reading further."""
    if size[0] * size[1] > max_pixels:
        raise PictureError("too_many_pixels", f"{size[0]} x {size[1]}, {max_pixels} pixels are allowed")


def make_header(name: str, size: tuple[int, int], orientation: int, parts: list[tuple[int, int]]) -> Header:
    """Create a header from the stored size, which the orientation may swap."""
    width, height = size[::-1] if orientation in TURNED else size
    return Header(name, width, height, False, orientation, parts)
