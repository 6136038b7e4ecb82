"""Photograph a garment: studio poses, crops and colourways, and customers' photos taken at home.

Studio pictures are JPEGs of the same drawing 224 px and 50 px high, customers' photos are 88 px high.
"""

import io
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pipeline.sample.canvas import Garment, on_white
from pipeline.sample.others import draw
from pipeline.sample.styles import Style, shade_of

HIGH, LOW, CUSTOMER = 224, 50, 88  # heights in px
VIEWS = ("front", "pose", "close", "colourway")
_HALF = [value * 2 // 5 for value in range(256)]  # opacity of the shadow on the floor


def studio(style: Style, garment: Garment, view: str, rng: np.random.Generator) -> Image.Image:
    """Take a vendor picture, 224 px high, on white: square from the front, otherwise square or 2:3."""
    if view == "close":
        side = rng.uniform(0.52, 0.62)
        left, top = rng.uniform(0.16, 0.84 - side), rng.uniform(0.12, 0.9 - side)
        return on_white(*garment.lit(HIGH, (left, top, left + side, top + side)))
    if view == "colourway":  # another shade of the same hue, so that the item's attributes stay the same
        garment = draw(replace(style, rgb=shade_of(style.hue, rng)), rng)
    if view != "pose":
        return on_white(*garment.whole)
    cloth, mask = garment.whole
    cosine, sine = _turn(rng.uniform(4, 11) * rng.choice([-1, 1]))
    width = round(HIGH * 2 / 3) if style.kind == "pants" else HIGH
    squeeze = rng.uniform(1.12, 1.3)  # turned away from the camera, so narrower
    centre = HIGH / 2
    matrix = (
        squeeze * cosine,
        squeeze * -sine,
        centre - squeeze * (cosine * width / 2 - sine * centre),
        sine,
        cosine,
        centre - sine * width / 2 - cosine * centre,
    )
    if style.kind == "shoes" and rng.random() < 0.5:  # the other shoe of the pair
        matrix = (-matrix[0], -matrix[1], HIGH - matrix[2], *matrix[3:])
    size = (width, HIGH)
    return on_white(
        cloth.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR),
        mask.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR),
    )


def low_resolution(picture: Image.Image) -> Image.Image:
    """Shrink a picture to 50 px high."""
    width = round(picture.width * LOW / picture.height)
    return picture.resize((width, LOW), Image.Resampling.LANCZOS, reducing_gap=2.0)


def at_home(garment: Garment, rng: np.random.Generator) -> Image.Image:
    """Take a customer's photo, 88 px high: crooked, cropped, on a random background, in bad light."""
    cloth, mask = garment.small
    size = ((CUSTOMER, CUSTOMER), (66, CUSTOMER), (59, CUSTOMER))[rng.integers(3)]  # square, 3:4, 2:3
    cosine, sine = _turn(rng.uniform(-32, 32))
    # Garment pixels for each photo pixel: from the whole garment with room around it to a close-up.
    scale = cloth.width / CUSTOMER * rng.uniform(0.72, 1.15)
    across, down = cloth.width / 2 + rng.uniform(-9, 9, 2)
    matrix = (
        *(scale * cosine, -scale * sine, across - scale * (cosine * size[0] - sine * size[1]) / 2),
        *(scale * sine, scale * cosine, down - scale * (sine * size[0] + cosine * size[1]) / 2),
    )
    cloth = cloth.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    mask = mask.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    picture = _background(rng, size)
    picture.paste((24, 20, 18), (2, 3), mask.filter(ImageFilter.BoxBlur(2)).point(_HALF))
    picture.paste(cloth, mask=mask)
    gain = rng.uniform(0.62, 1.12) * (1 + rng.normal(0, 0.07, 3))  # dim, and lamps are not white
    lift = rng.uniform(0, 26)
    levels = np.clip(np.arange(256)[None, :] * gain[:, None] + lift, 0, 255).astype(int)
    picture = picture.point(levels.ravel().tolist())
    return picture.filter(ImageFilter.BoxBlur(rng.uniform(0.2, 0.9)))


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """Encode the picture as JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _turn(degrees: float) -> tuple[float, float]:
    radians = np.deg2rad(degrees)
    return float(np.cos(radians)), float(np.sin(radians))


def _background(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Draw floorboards, a bedspread, a rug or a cluttered shelf, in muted colours so that the garment stands out."""
    ground = tuple(int(value) for value in rng.integers(95, 205) + rng.integers(-22, 23, 3))
    texture = rng.normal(0, 1, (11, 11, 3)) * rng.uniform(4, 14) + np.array(ground)
    picture = Image.fromarray(np.clip(texture, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    draw_on = ImageDraw.Draw(picture)
    dark = tuple(round(value * 0.72) for value in ground)
    kind = rng.integers(4)
    if kind == 0:
        for x in range(int(rng.integers(4, 18)), CUSTOMER, 15):
            draw_on.line((x, 0, x + int(rng.integers(-3, 4)), CUSTOMER), fill=dark, width=1)
    elif kind == 1:
        for start in range(int(rng.integers(0, 20)), CUSTOMER, 18):
            draw_on.rectangle((0, start, CUSTOMER, start + 5), fill=dark)
            draw_on.rectangle((start, 0, start + 3, CUSTOMER), fill=dark)
    elif kind == 2:
        for ring in range(74, 8, -13):
            draw_on.ellipse((40 - ring, 46 - ring, 40 + ring, 46 + ring), outline=dark, width=2)
    else:
        for _ in range(7):
            x, y = (int(value) for value in rng.integers(-10, CUSTOMER, 2))
            colour = tuple(int(value) for value in rng.integers(60, 220) + rng.integers(-25, 26, 3))
            draw_on.rectangle((x, y, x + int(rng.integers(8, 40)), y + int(rng.integers(8, 40))), fill=colour)
    return picture
