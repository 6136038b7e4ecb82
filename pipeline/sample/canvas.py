"""Draw cloth on white: smooth outlines, patterns, shading and the studio shadow, for all garments.

Coordinates are fractions of a square canvas with the origin at the top left. Garments are drawn at DRAWN px, twice
the size of the largest picture, so that edges are clean. The shapes of single garments do not belong here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

DRAWN = 448
Point = tuple[float, float]
Colour = tuple[int, int, int]

_STEPS = 7  # points in each spline segment
_T = np.linspace(0, 1, _STEPS, endpoint=False)[:, None]
# Catmull-Rom basis, [steps, 4 control points]
_BASIS = 0.5 * np.hstack(
    [-_T + 2 * _T**2 - _T**3, 2 - 5 * _T**2 + 3 * _T**3, _T + 4 * _T**2 - 3 * _T**3, -(_T**2) + _T**3]
)


def smooth(points: Sequence[Point]) -> list[Point]:
    """Compute a closed Catmull-Rom outline through the points; a point given twice becomes a corner."""
    control = np.asarray(points, float)
    around = np.stack([np.roll(control, shift, axis=0) for shift in (1, 0, -1, -2)], axis=1)  # [n, 4, 2]
    # Skip the zero-length segment of a corner, which would draw a loop.
    long = np.any(around[:, 1] != around[:, 2], axis=1)
    return [(x, y) for x, y in (_BASIS @ around[long]).reshape(-1, 2)]


def mirrored(points: Sequence[Point]) -> list[Point]:
    """Close the right half of an outline (given from top to bottom) with its mirror image about x = 0.5."""
    return [*points, *((1 - x, y) for x, y in reversed(points))]


def darker(colour: Colour, share: float) -> Colour:
    """Multiply the colour by 1 - share; a negative share moves it towards white."""
    if share < 0:
        red, green, blue = (round(channel + (255 - channel) * -share) for channel in colour)
    else:
        red, green, blue = (round(channel * (1 - share)) for channel in colour)
    return red, green, blue


def trim_of(colour: Colour) -> Colour:
    """Choose the second colour of a pattern to contrast with the cloth: a darker shade on pale cloth, else white."""
    luminance = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]
    return (250, 248, 240) if luminance < 185 else darker(colour, 0.52)


class Canvas:
    """A garment being drawn: `cloth` holds the colours, `mask` the shape; both are DRAWN px."""

    def __init__(self, colour: Colour, pattern: str, direction: str, rng: np.random.Generator) -> None:
        self.colour = colour
        self.cloth = Image.new("RGB", (DRAWN, DRAWN), colour)
        if pattern != "plain":
            sheet = _pattern(pattern, direction)
            left, top = (int(offset) for offset in rng.integers(0, sheet.width - DRAWN, 2))
            self.cloth.paste(trim_of(colour), mask=sheet.crop((left, top, left + DRAWN, top + DRAWN)))
        self.mask = Image.new("L", (DRAWN, DRAWN), 0)
        self._on_cloth = ImageDraw.Draw(self.cloth)
        self._on_mask = ImageDraw.Draw(self.mask)
        # On dark cloth, seams must be lighter to be visible.
        dark = sum(colour) < 210
        self.seam: Colour = darker(colour, -0.22) if dark else darker(colour, 0.3)

    def shape(self, outline: Sequence[Point]) -> None:
        """Add an outline to the garment."""
        self._on_mask.polygon(_pixels(outline), fill=255)

    def cut(self, outline: Sequence[Point]) -> None:
        """Remove an outline from the garment."""
        self._on_mask.polygon(_pixels(outline), fill=0)

    def part(self, outline: Sequence[Point], colour: Colour) -> None:
        """Add a part in another colour: a belt, a collar, a sole."""
        pixels = _pixels(outline)
        self._on_mask.polygon(pixels, fill=255)
        self._on_cloth.polygon(pixels, fill=colour)

    def paint(self, outline: Sequence[Point], colour: Colour) -> None:
        """Colour the cloth without changing the shape of the garment."""
        self._on_cloth.polygon(_pixels(outline), fill=colour)

    def line(self, points: Sequence[Point], colour: Colour | None = None, width: float = 0.008) -> None:
        """Draw a seam, lace or stitch."""
        self._on_cloth.line(
            _pixels(points), fill=colour or self.seam, width=max(1, round(width * DRAWN)), joint="curve"
        )

    def dot(self, centre: Point, radius: float, colour: Colour) -> None:
        """Draw a button or eyelet."""
        (x, y), r = _pixels([centre])[0], radius * DRAWN
        self._on_cloth.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def finish(self, rng: np.random.Generator, folds: float = 1.0) -> "Garment":
        """Shade the cloth: rounded towards the edges, lit from the left, with a few soft folds."""
        small = 56
        mask = self.mask.resize((small, small), Image.Resampling.BOX)
        inside = np.asarray(mask.filter(ImageFilter.GaussianBlur(2.2)), float) / 255
        x = np.linspace(-1, 1, small)[None, :]
        y = np.linspace(-1, 1, small)[:, None]
        angle, phase = rng.normal(0, 0.35), rng.uniform(0, 6.3)
        fold = np.sin(9 * (x * np.cos(angle) + y * np.sin(angle)) + 1.5 * np.sin(2.2 * y + phase) + phase)
        light = 0.62 + 0.40 * inside - 0.05 * (x + 0.6 * y) + 0.035 * folds * fold
        shade = Image.fromarray(np.clip(light * 255, 0, 255).astype(np.uint8))
        return Garment(self.cloth, self.mask, shade)


@dataclass(frozen=True)
class Garment:
    """A finished drawing: cloth (RGB) and mask (L) at DRAWN px, and a small smooth shade (L, 255 = full light)."""

    cloth: Image.Image
    mask: Image.Image
    shade: Image.Image

    @cached_property
    def whole(self) -> tuple[Image.Image, Image.Image]:
        """Return the shaded cloth and the mask at half the drawn size; most pictures start from these."""
        return self.lit(DRAWN // 2)

    @cached_property
    def small(self) -> tuple[Image.Image, Image.Image]:
        """Return the shaded cloth and the mask at a quarter of the drawn size, for customers' photos."""
        cloth, mask = self.whole
        return cloth.reduce(2), mask.reduce(2)

    def lit(self, size: int, box: tuple[float, float, float, float] = (0, 0, 1, 1)) -> tuple[Image.Image, Image.Image]:
        """Return the shaded cloth and the mask of a part of the canvas, both size x size."""
        if box == (0, 0, 1, 1) and DRAWN % size == 0:  # the common case; many times faster than a resize
            cloth, mask = self.cloth.reduce(DRAWN // size), self.mask.reduce(DRAWN // size)
        else:
            drawn = _scaled(box, DRAWN)
            cloth = self.cloth.resize((size, size), Image.Resampling.BILINEAR, drawn)
            mask = self.mask.resize((size, size), Image.Resampling.BILINEAR, drawn)
        shade = self.shade.resize((size, size), Image.Resampling.BILINEAR, _scaled(box, self.shade.width))
        return ImageChops.multiply(cloth, Image.merge("RGB", (shade, shade, shade))), mask


def on_white(cloth: Image.Image, mask: Image.Image) -> Image.Image:
    """Make the studio picture: the garment on white with a soft shadow below and behind it."""
    small = mask.resize((mask.width // 4, mask.height // 4), Image.Resampling.BILINEAR)
    shadow = ImageChops.offset(small.filter(ImageFilter.GaussianBlur(1.8)), 1, 1).point(_SHADOW)
    grey = shadow.resize(mask.size, Image.Resampling.BILINEAR)
    picture = Image.merge("RGB", (grey, grey, grey))
    picture.paste(cloth, mask=mask)
    return picture


_SHADOW = [round(255 - 46 * value / 255) for value in range(256)]


@lru_cache(maxsize=32)
def _pattern(pattern: str, direction: str) -> Image.Image:
    """Draw the mask of a pattern's second colour, larger than the canvas so that a crop can start anywhere."""
    size = DRAWN + 96
    sheet = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(sheet)
    pitch = 46  # of 448 px: five pixels in the smallest vendor picture (50 px high), so that it still shows there
    if pattern == "stripes":
        for start in range(-size, 2 * size, pitch):
            if direction == "across":
                draw.rectangle((0, start, size, start + 19), fill=255)
            elif direction == "down":
                draw.rectangle((start, 0, start + 17, size), fill=255)
            else:
                draw.line((start, 0, start + size, size), fill=255, width=16)
    elif pattern == "dots":
        for row, top in enumerate(range(0, size, 30)):
            for left in range((row % 2) * 26, size, 52):
                draw.ellipse((left, top, left + 21, top + 21), fill=255)
    elif pattern == "check":
        for start in range(0, size, 56):
            draw.rectangle((0, start, size, start + 25), fill=95)
        for start in range(0, size, 56):
            draw.rectangle((start, 0, start + 25, size), fill=95)
            for top in range(0, size, 56):
                draw.rectangle((start, top, start + 25, top + 25), fill=235)
    return sheet


def _pixels(points: Sequence[Point]) -> list[Point]:
    return [(x * DRAWN, y * DRAWN) for x, y in points]


def _scaled(box: tuple[float, float, float, float], size: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left * size, top * size, right * size, bottom * size
