"""Draw shoes from the side, toe left: women's are slender, on heels or flat with a bow; men's heavy, soled, laced."""

import numpy as np

from pipeline.sample.canvas import Canvas, Colour, Garment, Point, darker, smooth, trim_of
from pipeline.sample.styles import Style

_RISE = {"flat": 0.03, "mid": 0.17, "high": 0.34}  # height of the heel above the ground
# Position of the ground line: a little higher for lower shoes, so that each is in the middle of the picture.
_STANDS = {"flat": 0.70, "mid": 0.76, "high": 0.84}
_GROUND = 0.80  # ground line of men's shoes


def draw_shoe(style: Style, rng: np.random.Generator) -> Garment:
    """Draw one shoe from the side."""
    drawing = Canvas(style.rgb, style.pattern, "slanted", rng)
    if style.gender == "women":
        _pump(drawing, style) if not style.open_toe else _sandal(drawing, style)
    elif style.open_toe:
        _mens_sandal(drawing, style)
    else:
        _mens_shoe(drawing, style)
    return drawing.finish(rng, folds=0.5)


def _arch(rise: float, ground: float) -> tuple[list[Point], list[Point]]:
    """Outline the insole, from toe to heel, and the lower line of a women's shoe with a heel `rise` high."""
    base = ground - 0.03
    top = [
        (0.05, base),
        (0.16, base + 0.004),
        (0.34, base - 0.02),
        (0.52, base - 0.38 * rise),
        (0.72, base - 0.88 * rise),
        (0.90, base - rise),
    ]
    return top, [(x, y + 0.032) for x, y in top]


def _heel(drawing: Canvas, rise: float, ground: float, colour: Colour) -> None:
    base = ground - rise
    if rise < 0.1:
        drawing.part(
            [(0.74, base - 0.012), (0.925, base - 0.012), (0.915, ground + 0.012), (0.755, ground + 0.012)], colour
        )
        return
    slim = 0.018 if rise > 0.25 else 0.045
    drawing.part(
        smooth(
            [
                (0.72, base - 0.012),
                (0.935, base - 0.03),
                (0.935, base - 0.03),
                (0.915, base + rise * 0.5),
                (0.905, ground + 0.012),
                (0.905, ground + 0.012),
                (0.905 - 2 * slim, ground + 0.012),
                (0.905 - 2 * slim, ground + 0.012),
                (0.885 - 2 * slim, base + rise * 0.45),
            ]
        ),
        colour,
    )


def _sole(drawing: Canvas, rise: float, ground: float, colour: Colour) -> None:
    top, bottom = _arch(rise, ground)
    drawing.part([*top, *reversed(bottom)], colour)
    _heel(drawing, rise, ground, colour)


def _pump(drawing: Canvas, style: Style) -> None:
    rise, ground = _RISE[style.heel], _STANDS[style.heel]
    sole = darker(style.rgb, 0.5) if sum(style.rgb) > 260 else (150, 96, 64)
    _sole(drawing, rise, ground, sole)
    base = ground - 0.03
    heel_y = base - rise
    drawing.shape(
        smooth(
            [
                (0.035, base + 0.008),
                (0.035, base + 0.008),
                (0.14, base - 0.085),
                (0.27, base - 0.15 - 0.18 * rise),
                (0.36, base - 0.19 - 0.3 * rise),
                (0.36, base - 0.19 - 0.3 * rise),  # the throat
                (0.47, base - 0.145 - 0.55 * rise),
                (0.64, base - 0.135 - 0.9 * rise),
                (0.80, heel_y - 0.18),
                (0.93, heel_y - 0.25),
                (0.93, heel_y - 0.25),
                (0.955, heel_y - 0.12),
                (0.925, heel_y + 0.012),
                (0.72, base - 0.86 * rise),
                (0.52, base - 0.36 * rise),
                (0.34, base - 0.012),
                (0.16, base + 0.012),
            ]
        )
    )
    drawing.line(
        [
            (0.37, base - 0.175 - 0.3 * rise),
            (0.47, base - 0.13 - 0.55 * rise),
            (0.64, base - 0.12 - 0.9 * rise),
            (0.80, heel_y - 0.165),
            (0.925, heel_y - 0.235),
        ],
        width=0.009,
    )
    drawing.line([(0.80, heel_y - 0.165), (0.775, heel_y)], width=0.006)
    if style.heel == "flat":  # a ballerina's bow
        bow, edge = trim_of(style.rgb), darker(style.rgb, 0.45)
        x, y = 0.31, base - 0.175
        for side in (-1, 1):
            loop = smooth(
                [(x, y), (x + side * 0.07, y - 0.05), (x + side * 0.085, y + 0.01), (x + side * 0.06, y + 0.04)]
            )
            drawing.part(loop, bow)
            drawing.line([*loop, loop[0]], edge, 0.007)
        drawing.dot((x, y), 0.016, edge)


def _sandal(drawing: Canvas, style: Style) -> None:
    rise, ground = _RISE[style.heel], _STANDS[style.heel]
    _sole(drawing, rise, ground, (176, 122, 78) if style.hue not in ("brown", "mustard") else (66, 48, 40))
    base = ground - 0.03
    heel_y = base - rise
    # A broad band over the toes, an ankle strap, and a strap that joins them; between them the background shows.
    drawing.shape(
        smooth(
            [
                (0.155, base + 0.006),
                (0.155, base + 0.006),
                (0.20, base - 0.14),
                (0.29, base - 0.2 - 0.1 * rise),
                (0.29, base - 0.2 - 0.1 * rise),
                (0.385, base - 0.17 - 0.2 * rise),
                (0.37, base - 0.03 - 0.05 * rise),
                (0.37, base - 0.03 - 0.05 * rise),
            ]
        )
    )
    ankle = heel_y - 0.24
    drawing.shape(
        smooth(
            [
                (0.60, ankle - 0.03),
                (0.60, ankle - 0.03),
                (0.76, ankle - 0.01),
                (0.925, ankle - 0.06),
                (0.925, ankle - 0.06),
                (0.93, ankle + 0.03),
                (0.93, ankle + 0.03),
                (0.76, ankle + 0.07),
                (0.60, ankle + 0.045),
                (0.60, ankle + 0.045),
            ]
        )
    )
    drawing.shape([(0.865, ankle), (0.93, ankle - 0.03), (0.935, heel_y + 0.012), (0.83, heel_y + 0.01)])
    drawing.shape([(0.60, ankle - 0.02), (0.655, ankle), (0.60, base - 0.58 * rise), (0.53, base - 0.42 * rise)])
    drawing.line([(0.20, base - 0.125), (0.29, base - 0.185 - 0.1 * rise)], width=0.007)
    drawing.dot((0.70, ankle + 0.025), 0.02, (226, 200, 120))  # the buckle


def _mens_sole(drawing: Canvas, colour: Colour, thick: float) -> float:
    top = _GROUND - thick + 0.03
    drawing.part(
        smooth(
            [
                (0.045, top),
                (0.045, top),
                (0.955, top),
                (0.955, top),
                (0.955, _GROUND + 0.03),
                (0.955, _GROUND + 0.03),
                (0.08, _GROUND + 0.03),
                (0.045, _GROUND - 0.005),
            ]
        ),
        colour,
    )
    return top


def _mens_shoe(drawing: Canvas, style: Style) -> None:
    boot = style.heel == "mid"
    pale = style.laces and not boot  # trainers have a white rubber sole, boots and loafers a leather one
    sole: Colour = (236, 236, 232) if pale else (44, 36, 32)
    top = _mens_sole(drawing, sole, 0.12 if pale else 0.1)
    if boot:  # a block heel
        drawing.part([(0.68, _GROUND), (0.955, _GROUND), (0.955, _GROUND + 0.075), (0.68, _GROUND + 0.075)], sole)
    collar = 0.16 if boot else 0.36
    drawing.shape(
        smooth(
            [
                (0.05, top + 0.004),
                (0.05, top + 0.004),
                (0.055, top - 0.11),
                (0.13, top - 0.19),
                (0.26, top - 0.215),
                (0.40, top - 0.30),
                (0.52, collar + (0.12 if boot else 0.04)),
                (0.575, collar),
                (0.575, collar),
                (0.75, collar + (0.012 if boot else 0.05)),
                (0.915, collar - 0.02),
                (0.915, collar - 0.02),
                (0.945, top - 0.2),
                (0.95, top + 0.004),
                (0.95, top + 0.004),
            ]
        )
    )
    if pale:
        drawing.line([(0.05, top + 0.035), (0.95, top + 0.035)], darker(style.rgb, 0.1), 0.016)
    drawing.line([(0.25, top - 0.212), (0.235, top - 0.1), (0.17, top)], width=0.012)  # the toe cap
    drawing.line([(0.70, collar + 0.03), (0.68, top - 0.12), (0.74, top)], width=0.009)
    inside = darker(style.rgb, 0.5)
    drawing.paint(
        smooth(
            [
                (0.575, collar),
                (0.75, collar + (0.012 if boot else 0.05)),
                (0.915, collar - 0.02),
                (0.75, collar + (0.05 if boot else 0.085)),
            ]
        ),
        inside,
    )
    if style.laces:
        _laces(drawing, style, top, collar, boot)
    elif boot:  # the elastic of a chelsea boot
        drawing.paint([(0.60, collar + 0.05), (0.74, collar + 0.06), (0.70, top - 0.13), (0.64, top - 0.13)], inside)
    else:  # a loafer's strap
        drawing.paint([(0.33, top - 0.27), (0.43, top - 0.345), (0.50, top - 0.10), (0.42, top - 0.06)], inside)
        drawing.dot((0.42, top - 0.2), 0.026, (222, 198, 120))


def _laces(drawing: Canvas, style: Style, top: float, collar: float, boot: bool) -> None:
    lace = (252, 250, 244) if sum(style.rgb) < 600 else (60, 52, 50)
    drawing.line([(0.30, top - 0.15), (0.47, top - 0.215), (0.62, collar + 0.09)], width=0.01)
    rungs = 6 if boot else 4
    for share in np.linspace(0, 1, rungs):
        x = 0.315 + share * (0.235 if boot else 0.20)
        over = top - 0.235 - share * ((top - 0.235) - (collar + 0.05))
        drawing.line([(x - 0.012, over - 0.012), (x + 0.105, over + 0.075)], lace, 0.026)
        drawing.dot((x + 0.105, over + 0.075), 0.014, lace)


def _mens_sandal(drawing: Canvas, style: Style) -> None:
    top = _mens_sole(drawing, (60, 50, 46), 0.13)
    for left, right, lean, height in ((0.16, 0.36, 0.05, 0.2), (0.44, 0.60, 0.07, 0.33), (0.74, 0.93, 0.0, 0.36)):
        drawing.shape(
            smooth(
                [
                    (left, top + 0.006),
                    (left, top + 0.006),
                    (left + lean, top - height * 0.7),
                    (left + 0.07 + lean, top - height),
                    (right + lean * 0.6, top - height),
                    (right + lean, top - height * 0.6),
                    (right, top + 0.006),
                    (right, top + 0.006),
                ]
            )
        )
        drawing.line([(left + 0.03, top - 0.02), (left + 0.04 + lean, top - height * 0.66)], width=0.008)
    drawing.shape([(0.50, top - 0.33), (0.92, top - 0.36), (0.92, top - 0.25), (0.52, top - 0.23)])
    drawing.paint([(0.62, top - 0.345), (0.70, top - 0.35), (0.70, top - 0.245), (0.62, top - 0.24)], (205, 205, 200))
