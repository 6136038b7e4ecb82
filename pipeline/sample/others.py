"""Draw products outside the six classes (watch, handbag, dress, jacket), which a category mapper must reject."""

from collections.abc import Callable

import numpy as np

from pipeline.sample.canvas import Canvas, Garment, darker, mirrored, smooth, trim_of
from pipeline.sample.shoes import draw_shoe
from pipeline.sample.styles import Style
from pipeline.sample.tops import draw_top
from pipeline.sample.trousers import draw_trousers


def draw(style: Style, rng: np.random.Generator) -> Garment:
    """Draw any product of the catalogue from the front (shoes from the side)."""
    return _DRAWERS[style.kind](style, rng)


def _watch(style: Style, rng: np.random.Generator) -> Garment:
    drawing = Canvas(style.rgb, "plain", "across", rng)
    drawing.shape(smooth(mirrored([(0.5, 0.04), (0.575, 0.05), (0.60, 0.3), (0.60, 0.7), (0.575, 0.95), (0.5, 0.96)])))
    ring = [(0.5 + 0.21 * np.cos(a), 0.5 + 0.21 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 40)]
    drawing.part(ring, (200, 186, 140))
    drawing.paint([(0.5 + (x - 0.5) * 0.84, 0.5 + (y - 0.5) * 0.84) for x, y in ring], (250, 250, 248))
    for a in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        drawing.dot((0.5 + 0.15 * np.cos(a), 0.5 + 0.15 * np.sin(a)), 0.009, (70, 70, 74))
    hour, minute = rng.uniform(0, 6.28, 2)
    drawing.line([(0.5, 0.5), (0.5 + 0.09 * np.cos(hour), 0.5 + 0.09 * np.sin(hour))], (40, 40, 44), 0.016)
    drawing.line([(0.5, 0.5), (0.5 + 0.13 * np.cos(minute), 0.5 + 0.13 * np.sin(minute))], (40, 40, 44), 0.01)
    return drawing.finish(rng, folds=0.2)


def _handbag(style: Style, rng: np.random.Generator) -> Garment:
    drawing = Canvas(style.rgb, style.pattern, "slanted", rng)
    drawing.shape([(0.5 + 0.2 * np.cos(a), 0.40 - 0.28 * np.sin(a)) for a in np.linspace(0, np.pi, 24)])
    drawing.cut([(0.5 + 0.155 * np.cos(a), 0.41 - 0.235 * np.sin(a)) for a in np.linspace(0, np.pi, 24)])
    drawing.shape(smooth(mirrored([(0.5, 0.38), (0.78, 0.38), (0.78, 0.38), (0.88, 0.82), (0.86, 0.88), (0.5, 0.89)])))
    flap = smooth(mirrored([(0.5, 0.38), (0.78, 0.38), (0.78, 0.38), (0.79, 0.55), (0.5, 0.64)]))
    drawing.paint(flap, darker(style.rgb, 0.15))
    drawing.line([*flap, flap[0]])
    drawing.dot((0.5, 0.62), 0.03, (222, 196, 110))
    return drawing.finish(rng, folds=0.6)


def _dress(style: Style, rng: np.random.Generator) -> Garment:
    drawing = Canvas(style.rgb, style.pattern, "across", rng)
    drawing.shape(
        smooth(
            mirrored(
                [
                    (0.5, 0.16),
                    (0.58, 0.05),
                    (0.58, 0.05),
                    (0.63, 0.07),
                    (0.63, 0.07),
                    (0.62, 0.22),
                    (0.6, 0.40),
                    (0.72, 0.70),
                    (0.82, 0.95),
                    (0.82, 0.95),
                    (0.5, 0.97),
                ]
            )
        )
    )
    drawing.line([(0.4, 0.405), (0.5, 0.42), (0.6, 0.405)], trim_of(style.rgb), 0.03)
    for offset in (-0.2, -0.1, 0.0, 0.1, 0.2):
        drawing.line([(0.5 + offset * 0.35, 0.45), (0.5 + offset * 1.3, 0.94)], width=0.006)
    return drawing.finish(rng, folds=1.5)


def _jacket(style: Style, rng: np.random.Generator) -> Garment:
    drawing = Canvas(style.rgb, "plain", "across", rng)
    drawing.shape(
        smooth(
            mirrored(
                [
                    (0.5, 0.10),
                    (0.58, 0.09),
                    (0.58, 0.09),
                    (0.72, 0.15),
                    (0.82, 0.32),
                    (0.93, 0.80),
                    (0.93, 0.80),
                    (0.81, 0.83),
                    (0.81, 0.83),
                    (0.74, 0.46),
                    (0.75, 0.92),
                    (0.75, 0.92),
                    (0.5, 0.93),
                ]
            )
        )
    )
    drawing.paint([(0.43, 0.09), (0.57, 0.09), (0.5, 0.42)], (244, 244, 242))
    for side in (-1, 1):
        lapel = [(0.5 + side * 0.07, 0.09), (0.5 + side * 0.16, 0.2), (0.5 + side * 0.12, 0.25), (0.5, 0.45)]
        drawing.paint(lapel, darker(style.rgb, 0.2))
        drawing.line([(0.5 + side * 0.09, 0.66), (0.5 + side * 0.22, 0.65)], width=0.02)
    drawing.line([(0.5, 0.44), (0.5, 0.93)])
    for y in (0.52, 0.64, 0.76):
        drawing.dot((0.53, y), 0.014, trim_of(style.rgb))
    return drawing.finish(rng)


_DRAWERS: dict[str, Callable[[Style, np.random.Generator], Garment]] = {
    "tops": draw_top,
    "pants": draw_trousers,
    "shoes": draw_shoe,
    "watch": _watch,
    "handbag": _handbag,
    "dress": _dress,
    "jacket": _jacket,
}
