"""What is known of a picture before it is decoded, and how one is refused. Each format's reading is a module beside."""

from dataclasses import dataclass, field

MAX_PIXELS = 50_000_000  # above today's phones (48 megapixels); 150 MB as RGB
MIN_SIDE = 16  # under this it is a placeholder or a tracking pixel
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height (EXIF 2.3, tag 0x0112)


class PictureError(ValueError):
    """Bytes that are refused as a picture; `reason` is one of schemas.REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(slots=True)  # not frozen: one is made for every picture
class Header:
    """What a picture says about itself before it is decoded: format and size in pixels, orientation applied."""

    format: str
    width: int
    height: int
    plain_jpeg: bool  # YCbCr or grey, no APP1 (EXIF, XMP): simplejpeg decodes it exactly as Pillow, 5x faster
    orientation: int = 1  # EXIF's, 1 to 8: how the stored pixels are turned
    parts: list[tuple[int, int]] = field(default_factory=list)  # byte ranges for the decoder; none: the whole

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height as a decoder gives them, before the orientation."""
        return (self.height, self.width) if self.orientation in TURNED else (self.width, self.height)

    def essence(self, data: bytes) -> bytes:
        """The bytes of the first frame's pixels alone, in the same format."""
        return b"".join([data[start:end] for start, end in self.parts]) if self.parts else data


def unread(name: str) -> PictureError:
    """Say that a format is known and not opened."""
    return PictureError("unsupported_format", f"{name} is not read; JPEG, PNG, WebP, GIF and AVIF are")


def allow(size: tuple[int, int], max_pixels: int) -> None:
    """Refuse what is too large as soon as its size is known, before the rest of it is looked at."""
    if size[0] * size[1] > max_pixels:
        raise PictureError("too_many_pixels", f"{size[0]} x {size[1]}, {max_pixels} pixels are allowed")


def made(name: str, size: tuple[int, int], orientation: int, parts: list[tuple[int, int]]) -> Header:
    """Make a header of a picture as it is stored, which the orientation turns."""
    width, height = size[::-1] if orientation in TURNED else size
    return Header(name, width, height, False, orientation, parts)
