"""Draw trousers: women's with a high narrow waist, a sash and curved hips; men's straight, with belt and fly."""

import numpy as np

from pipeline.sample.canvas import Canvas, Garment, Point, darker, smooth, trim_of
from pipeline.sample.styles import Style

# Position of the hem, and how much wider the legs are drawn so that shorts fill the frame too.
_HEM = {"shorts": 0.70, "cropped": 0.84, "long": 0.95}
_TOP = {"shorts": 0.20, "cropped": 0.10, "long": 0.05}
_WIDER = {"shorts": 1.28, "cropped": 1.08, "long": 1.0}


def draw_trousers(style: Style, rng: np.random.Generator) -> Garment:
    """Draw trousers from the front: shorts, cropped or long."""
    drawing = Canvas(style.rgb, style.pattern, "down", rng)
    women = style.gender == "women"
    top, hem, wider = _TOP[style.length], _HEM[style.length], _WIDER[style.length]
    wobble = rng.uniform(-0.006, 0.006, 3)
    waist = ((0.115 if women else 0.178) + wobble[0]) * wider
    hip = ((0.2 if women else 0.19) + wobble[1]) * wider
    half_leg = (
        {"slim": 0.047, "straight": 0.075, "wide": 0.135}
        if women
        else {"slim": 0.062, "straight": 0.084, "wide": 0.112}
    )[style.cut] * wider
    hip_y = top + (0.2 if women else 0.16)
    crotch_y = top + (0.29 if women else 0.28) * (wider**0.5)
    axis = max(0.115 if women else 0.13, half_leg + 0.022) * (wider**0.5) + wobble[2]  # of each leg at the hem
    knee_y = (crotch_y + hem) / 2
    knee = (half_leg + hip / 2) / 2 * (0.84 if women and style.cut != "straight" else 1.0)
    knee_axis = (axis + hip / 2) / 2
    if style.length == "shorts":  # a short leg keeps the width of the thigh, and opens a little
        outer = hip * {"slim": 1.0, "straight": 1.06, "wide": 1.22}[style.cut]
        inner = 0.03
        axis, half_leg = (outer + inner) / 2, (outer - inner) / 2
        knee_axis, knee = (hip * 1.02 + 0.016) / 2, (hip * 1.02 - 0.016) / 2
    for side in (-1, 1):
        leg: list[Point] = [
            (0.0, top),
            (waist, top),
            (waist, top),
            (waist + 0.008, top + 0.06),
            (hip, hip_y),
            (max(hip * 0.97, knee_axis + knee), (hip_y + knee_y) / 2),
            (knee_axis + knee, knee_y),
            (axis + half_leg, hem),
            (axis + half_leg, hem),
            (axis - half_leg, hem + 0.008),
            (axis - half_leg, hem + 0.008),
            (max(knee_axis - knee, 0.008), knee_y),
            (0.006, crotch_y),
            (0.0, crotch_y - 0.01),
        ]
        outline = smooth([(0.5 + side * x, y) for x, y in leg])
        drawing.shape(outline)
        drawing.line([(0.5 + side * (axis + half_leg), hem - 0.03), (0.5 + side * (axis - half_leg), hem - 0.022)])
        drawing.line(
            [
                (0.5 + side * 0.006, crotch_y),
                (0.5 + side * max(knee_axis - knee, 0.008), knee_y),
                (0.5 + side * (axis - half_leg), hem),
            ],
            width=0.012,
        )  # the inner seam separates the legs
        if style.cut != "slim":  # the crease
            drawing.line([(0.5 + side * hip * 0.52, crotch_y), (0.5 + side * axis, hem - 0.04)], width=0.006)
    if women:
        _sash(drawing, style, waist, top)
    else:
        _belt_and_fly(drawing, style, (waist, hip), (top, crotch_y))
    return drawing.finish(rng, folds=0.8)


def _sash(drawing: Canvas, style: Style, waist: float, top: float) -> None:
    sash = darker(style.rgb, -0.35) if sum(style.rgb) < 480 else darker(style.rgb, 0.28)
    depth = 0.055
    drawing.part(
        [
            (0.5 - waist - 0.004, top),
            (0.5 + waist + 0.004, top),
            (0.5 + waist + 0.008, top + depth),
            (0.5 - waist - 0.008, top + depth),
        ],
        sash,
    )
    edge = darker(sash, 0.35)
    knot_y = top + depth / 2
    for side in (-1, 1):
        loop = smooth(
            [
                (0.5, knot_y),
                (0.5 + side * 0.06, knot_y - 0.042),
                (0.5 + side * 0.095, knot_y),
                (0.5 + side * 0.06, knot_y + 0.032),
            ]
        )
        drawing.part(loop, sash)
        drawing.line([*loop, loop[0]], edge, 0.007)
        tail: list[Point] = [(0.5, knot_y), (0.5 + side * 0.045, knot_y + 0.15), (0.5 + side * 0.012, knot_y + 0.155)]
        drawing.part(tail, sash)
        drawing.line([*tail, tail[0]], edge, 0.006)
        drawing.line([(0.5 + side * waist * 0.72, top + depth), (0.5 + side * waist * 0.9, top + 0.17)], width=0.006)
    drawing.dot((0.5, knot_y), 0.018, edge)


def _belt_and_fly(
    drawing: Canvas, style: Style, half_widths: tuple[float, float], heights: tuple[float, float]
) -> None:
    (waist, hip), (top, crotch_y) = half_widths, heights
    leather = (74, 48, 30) if style.hue != "brown" else (40, 34, 32)
    depth = 0.052
    drawing.part(
        [
            (0.5 - waist - 0.004, top),
            (0.5 + waist + 0.004, top),
            (0.5 + waist + 0.006, top + depth),
            (0.5 - waist - 0.006, top + depth),
        ],
        leather,
    )
    for offset in (-0.72, -0.34, 0.34, 0.72):
        x = 0.5 + offset * waist
        drawing.paint([(x - 0.01, top), (x + 0.01, top), (x + 0.01, top + depth), (x - 0.01, top + depth)], style.rgb)
    drawing.paint([(0.462, top), (0.538, top), (0.538, top + depth), (0.462, top + depth)], (214, 190, 120))
    drawing.paint([(0.476, top + 0.013), (0.524, top + 0.013), (0.524, top + 0.039), (0.476, top + 0.039)], leather)
    drawing.line([(0.5, top + depth), (0.5, crotch_y)], width=0.009)
    drawing.line([(0.53, top + depth), (0.53, crotch_y - 0.09), (0.5, crotch_y - 0.05)], width=0.006)
    for side in (-1, 1):
        drawing.line(
            [
                (0.5 + side * waist * 0.6, top + depth),
                (0.5 + side * waist * 0.74, top + 0.125),
                (0.5 + side * hip * 0.99, top + 0.15),
            ],
            width=0.011,
        )
    if style.cut == "wide":  # cargo pockets
        trim = drawing.seam if style.pattern == "plain" else trim_of(style.rgb)
        for side in (-1, 1):
            x, y = 0.5 + side * hip * 0.78, crotch_y + 0.06
            drawing.line(
                [(x - 0.045, y), (x + 0.045, y), (x + 0.045, y + 0.1), (x - 0.045, y + 0.1), (x - 0.045, y)], trim
            )
