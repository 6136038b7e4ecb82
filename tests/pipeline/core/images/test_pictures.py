"""Every kind of picture is converted to RGB as documented, and hostile bytes are refused with a reason."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.images.pictures import PictureError, centre_crop, decode, read_header, resize, validate
from tests.pipeline.core.fault_server import TINY_GIF, bomb_png, jpeg

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(RNG.integers(0, 256, (4, 3, 3), dtype=np.uint8)).resize((30, 40)))


def encoded(picture: Image.Image, format_name: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format_name, **options)  # type: ignore[arg-type]
    return file.getvalue()


def test_a_jpeg_is_decoded_exactly_as_pillow_does() -> None:
    data = jpeg(1)
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"optimize": True, "subsampling": 0},
        {"comment": b"a word"},
        {"icc_profile": bytes(70_000)},  # two segments before the frame
        {"exif": b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
        {"keep_rgb": True},
    ],
)
def test_every_kind_of_jpeg_is_described_and_decoded_as_pillow_does(mode: str, options: dict) -> None:
    picture = Image.fromarray(SMOOTH).convert(mode)
    data = encoded(picture, "JPEG", **options)
    header = read_header(data)
    validate(data, header)
    assert (header.format, header.width, header.height) == ("JPEG", 30, 40)
    by_pillow = mode == "CMYK" or "exif" in options or (mode == "RGB" and "keep_rgb" in options)
    assert header.plain_jpeg != by_pillow
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"exif": b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}]
)
def test_a_jpeg_that_lacks_its_last_bytes_is_kept_only_if_no_pixel_is_lost(options: dict) -> None:
    whole = encoded(Image.fromarray(NOISE), "JPEG", **options)
    for lost in (1, 2):  # of the marker at the end
        cut = whole[:-lost]
        validate(cut, read_header(cut))
        assert np.array_equal(decode(cut), decode(whole))
    for lost in (3, 4, 10, 100):
        cut = whole[:-lost]
        with pytest.raises(PictureError, match="not_a_picture"):
            validate(cut, read_header(cut))
        with pytest.raises(PictureError, match="not_a_picture"):
            decode(cut)


@pytest.mark.parametrize(("format_name", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_a_lossless_picture_comes_back_as_it_was(format_name: str, options: dict) -> None:
    data = encoded(Image.fromarray(NOISE), format_name, **options)
    header = read_header(data)
    assert (header.format, header.width, header.height) == (format_name, 30, 40)
    validate(data, header)
    assert np.array_equal(decode(data), NOISE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(SMOOTH), "JPEG", exif=exif, quality=95)
    upright = {  # EXIF 2.3: where the stored first row and first column are seen
        1: SMOOTH, 2: SMOOTH[:, ::-1], 3: SMOOTH[::-1, ::-1], 4: SMOOTH[::-1], 5: SMOOTH.swapaxes(0, 1),
        6: np.rot90(SMOOTH, -1), 7: SMOOTH[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(SMOOTH),
    }[orientation]  # fmt: skip
    pixels = decode(data)
    header = read_header(data)
    assert pixels.shape == upright.shape == (header.height, header.width, 3)
    assert np.abs(pixels.astype(int) - upright).mean() < 6  # JPEG's own loss


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_has_no_orientation() -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert decode(data).shape == (40, 30, 3)


def test_greyscale_is_repeated_in_the_three_channels() -> None:
    grey = Image.fromarray(NOISE[..., 0])
    assert np.array_equal(decode(encoded(grey, "PNG")), np.repeat(NOISE[..., :1], 3, axis=2))
    pixels = decode(encoded(grey, "JPEG"))
    assert (pixels == pixels[..., :1]).all()


def test_sixteen_bit_greyscale_keeps_its_high_byte() -> None:
    deep = NOISE[..., 0].astype(np.uint16) * 256 + 17
    assert np.array_equal(decode(encoded(Image.fromarray(deep), "PNG"))[..., 0], NOISE[..., 0])


def test_cmyk_is_converted_to_rgb() -> None:
    red = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    assert np.abs(decode(encoded(red, "JPEG", quality=95)).astype(int) - (255, 0, 0)).max() < 10


def test_a_palette_is_looked_up() -> None:
    picture = Image.fromarray(NOISE).quantize(16)
    for format_name in ("PNG", "GIF"):
        assert np.array_equal(decode(encoded(picture, format_name)), np.asarray(picture.convert("RGB")))


def test_alpha_is_laid_on_white() -> None:
    clear = np.zeros((20, 20, 4), np.uint8)
    clear[:10] = (200, 0, 0, 255)
    clear[15:] = (0, 0, 0, 128)
    pixels = decode(encoded(Image.fromarray(clear), "PNG"))
    assert (pixels[:10] == (200, 0, 0)).all()
    assert (pixels[10:15] == 255).all()
    assert (np.abs(pixels[15:].astype(int) - 127) <= 1).all()


def test_a_transparent_palette_colour_is_white() -> None:
    picture = Image.new("P", (20, 20), 0)
    picture.putpalette([10, 20, 30, 200, 0, 0])
    picture.paste(1, (0, 0, 20, 10))
    pixels = decode(encoded(picture, "GIF", transparency=0))
    assert (pixels[:10] == (200, 0, 0)).all()
    assert (pixels[10:] == 255).all()


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for format_name in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], format_name, save_all=True, append_images=frames[1:], lossless=True)
        assert np.abs(decode(data).astype(int) - (255, 0, 0)).max() <= 2


def refused(data: bytes, **limits: int) -> str:
    with pytest.raises(PictureError) as caught:
        header = read_header(data, **limits)
        validate(data, header)
    return caught.value.reason


def bomb_webp() -> bytes:
    return b"RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00" + bytes(4) + b"\xfe\x3f\x00" * 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_a_picture"),
        (b"<!doctype html>", "not_a_picture"),
        (jpeg(1)[:-200], "not_a_picture"),
        (encoded(Image.fromarray(NOISE), "PNG")[:-500], "not_a_picture"),
        (encoded(Image.fromarray(NOISE), "BMP"), "unsupported_format"),  # not a supported format
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n", "not_a_picture"),
        (TINY_GIF, "too_small"),
        (jpeg(1, 15, 100), "too_small"),
        (bomb_png(), "too_many_pixels"),
        (bomb_png(8_000), "too_many_pixels"),  # under Pillow's own limit
        (bomb_webp(), "too_many_pixels"),
    ],
)
def test_what_is_not_a_usable_picture_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    assert refused(data) == reason


def test_the_caller_sets_the_limits() -> None:
    data = jpeg(1, 16, 16)
    assert read_header(data, max_pixels=256, min_side=16).width == 16
    assert refused(data, max_pixels=255) == "too_many_pixels"
    assert refused(data, min_side=17) == "too_small"


def test_bytes_after_the_end_of_a_jpeg_are_ignored() -> None:
    data = jpeg(1)
    assert np.array_equal(decode(data + b"\r\n"), decode(data))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 3), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_bytes_decode_or_are_refused_but_never_raise_anything_else(kind: int, damage: list) -> None:
    sources = [jpeg(1), *(encoded(Image.fromarray(SMOOTH), name) for name in ("PNG", "GIF", "WEBP"))]
    data = bytearray(sources[kind])
    for position, value in damage:
        data[position % len(data)] = value
    try:
        pixels = decode(bytes(data), max_pixels=1_000_000)
    except PictureError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3


def test_resizing_squashes_without_a_crop() -> None:
    halves = np.zeros((40, 20, 3), np.uint8)
    halves[20:] = 255
    squashed = resize(halves, 20, Image.Resampling.NEAREST)
    assert (squashed[:10] == 0).all()
    assert (squashed[10:] == 255).all()


@pytest.mark.parametrize("shape", [(60, 20), (20, 60), (20, 20), (21, 20)])
def test_the_centre_crop_is_the_middle_square(shape: tuple[int, int]) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    top, left = (shape[0] - 20) // 2, (shape[1] - 20) // 2
    pixels[top : top + 20, left : left + 20] = 200
    assert (centre_crop(pixels, 20) == 200).all()
    assert centre_crop(pixels, 64).shape == (64, 64, 3)
