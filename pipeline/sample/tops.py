"""Draw tops: women's with a waist, a wide neck and a flared hem; men's with square shoulders and straight sides."""

import numpy as np

from pipeline.sample.canvas import Canvas, Garment, Point, darker, smooth, trim_of
from pipeline.sample.styles import Style


def draw_top(style: Style, rng: np.random.Generator) -> Garment:
    """Draw a top from the front, about 0.84 of the canvas high."""
    drawing = Canvas(style.rgb, style.pattern, "across", rng)
    women = style.gender == "women"
    wobble = rng.uniform(-0.008, 0.008, 4)
    shoulder = (0.155 if women else 0.225) + wobble[0]
    if style.sleeve == "none":
        shoulder -= 0.035 if women else 0.055
    chest = (0.185 if women else 0.232) + wobble[1]
    waist = (0.128 if women else 0.222) + wobble[2]
    hem = (0.245 if women else 0.228) + wobble[3]
    top, armpit, middle, bottom = 0.13, 0.34, 0.545, 0.86 if women else 0.91
    _sleeves(drawing, style, shoulder, chest)
    neck = 0.098 if women else 0.078
    right: list[Point] = [
        (0.5 + neck, top - 0.035),
        (0.5 + neck, top - 0.035),
        (0.5 + shoulder, top + 0.03),
        (0.5 + shoulder, top + 0.03),
        (0.5 + (shoulder + chest) / 2 - (0.03 if style.sleeve == "none" else 0), 0.25),
        (0.5 + chest, armpit),
        (0.5 + chest, armpit),
        (0.5 + waist, middle),
        (0.5 + (waist + hem) / 2, (middle + bottom) / 2),
        (0.5 + hem, bottom),
        (0.5 + hem, bottom),
        (0.5 + hem / 2, bottom + (0.022 if women else 0.006)),
    ]
    drawing.shape(smooth([*right, *((1 - x, y) for x, y in reversed(right))]))
    if style.sleeve != "none":  # the seam where the sleeve is set in
        for side in (-1, 1):
            drawing.line(
                [
                    (0.5 + side * shoulder, top + 0.03),
                    (0.5 + side * (shoulder - 0.012), 0.25),
                    (0.5 + side * chest, armpit),
                ]
            )
    hem_y = bottom - 0.035
    drawing.line([(0.5 - hem, hem_y), (0.5, hem_y + (0.02 if women else 0.004)), (0.5 + hem, hem_y)])
    if women:  # a gathered waist: the darts run into it
        drawing.line([(0.5 - waist, middle), (0.5, middle + 0.014), (0.5 + waist, middle)], width=0.012)
        for offset in (-0.09, -0.045, 0.045, 0.09):
            drawing.line([(0.5 + offset, middle + 0.02), (0.5 + offset * 1.5, middle + 0.12)], width=0.006)
    elif style.neckline != "v":  # a chest pocket
        left, right_x, y = 0.56, 0.655, 0.34
        drawing.line(
            [
                (left, y),
                (right_x, y),
                (right_x, y + 0.09),
                ((left + right_x) / 2, y + 0.11),
                (left, y + 0.09),
                (left, y),
            ]
        )
    _neckline(drawing, style, neck, top)
    return drawing.finish(rng)


def _sleeves(drawing: Canvas, style: Style, shoulder: float, chest: float) -> None:
    women = style.gender == "women"
    for side in (-1, 1):

        def at(x: float, y: float, side: int = side) -> Point:
            return 0.5 + side * x, y

        if style.sleeve == "short" and women:  # a puff
            drawing.shape(
                smooth(
                    [
                        at(shoulder - 0.05, 0.13),
                        at(shoulder + 0.05, 0.14),
                        at(shoulder + 0.135, 0.24),
                        at(shoulder + 0.13, 0.335),
                        at(shoulder + 0.11, 0.36),
                        at(chest - 0.02, 0.345),
                    ]
                )
            )
            drawing.line([at(shoulder + 0.135, 0.315), at(chest, 0.315)])
        elif style.sleeve == "short":
            drawing.shape(
                smooth(
                    [
                        at(shoulder - 0.06, 0.12),
                        at(shoulder + 0.02, 0.15),
                        at(shoulder + 0.18, 0.36),
                        at(shoulder + 0.18, 0.36),
                        at(chest + 0.055, 0.435),
                        at(chest + 0.055, 0.435),
                        at(chest - 0.04, 0.33),
                    ]
                )
            )
            drawing.line([at(shoulder + 0.165, 0.335), at(chest + 0.04, 0.41)])
        elif style.sleeve == "long":
            cuff = 0.036 if women else 0.048
            wrist = shoulder + (0.2 if women else 0.19)
            flare = 0.035 if women else 0.0
            drawing.shape(
                smooth(
                    [
                        at(shoulder - 0.06, 0.12),
                        at(shoulder + 0.025, 0.15),
                        at(shoulder + 0.105, 0.36),
                        at(wrist + cuff * 0.6, 0.66),
                        at(wrist + cuff + flare, 0.80),
                        at(wrist + cuff + flare, 0.80),
                        at(wrist - cuff - flare, 0.815),
                        at(wrist - cuff - flare, 0.815),
                        at(wrist - cuff * 1.6, 0.64),
                        at(chest - 0.005, 0.37),
                        at(chest - 0.06, 0.32),
                    ]
                )
            )
            drawing.line([at(wrist + cuff + flare, 0.765), at(wrist - cuff - flare, 0.778)], width=0.011)


def _neckline(drawing: Canvas, style: Style, neck: float, top: float) -> None:
    women = style.gender == "women"
    rim = top - 0.035
    inside = darker(style.rgb, 0.45)
    depth = {"round": 0.085 if women else 0.055, "v": 0.21 if women else 0.15, "collar": 0.1}[style.neckline]
    back = [(0.5 - neck, rim), (0.5, rim + 0.028), (0.5 + neck, rim)]
    if style.neckline == "round":
        front = [(0.5 + neck * np.cos(a), rim + depth * np.sin(a)) for a in np.linspace(0, np.pi, 17)]
    else:
        front = [(0.5 + neck, rim), (0.5, rim + depth), (0.5 - neck, rim)]
    # Inside the neckline, the back of the garment is visible; above its rim there is nothing.
    drawing.paint([*back, *front], inside)
    drawing.cut([(0.5 - neck, rim - 0.05), *back, (0.5 + neck, rim - 0.05)])
    if style.neckline != "collar":
        edge = trim_of(style.rgb) if style.neckline == "v" and not women else drawing.seam
        drawing.line(front, edge, 0.02 if not women else 0.013)
        return
    placket = darker(style.rgb, 0.12)
    end = 0.82 if style.sleeve == "long" or women else 0.46
    drawing.paint([(0.482, rim + depth), (0.518, rim + depth), (0.518, end), (0.482, end)], placket)
    drawing.line([(0.518, rim + depth), (0.518, end)])
    for y in np.arange(rim + depth + 0.04, end - 0.02, 0.095):
        drawing.dot((0.5, y), 0.0105, trim_of(style.rgb))
    leaf = darker(style.rgb, -0.3 if sum(style.rgb) < 560 else 0.12)
    for side in (-1, 1):
        drawing.part(
            [
                (0.5 + side * (neck + 0.012), rim - 0.012),
                (0.5 + side * neck * 0.75, rim - 0.03),
                (0.5, rim + depth),
                (0.5 + side * 0.1, rim + depth + 0.045),
                (0.5 + side * (neck + 0.035), rim + 0.05),
            ],
            leaf,
        )
        drawing.line(
            [(0.5, rim + depth), (0.5 + side * 0.1, rim + depth + 0.045), (0.5 + side * (neck + 0.035), rim + 0.05)],
            drawing.seam,
        )
