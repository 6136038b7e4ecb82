"""The visible attributes of garments, their frequencies in each class, and the attribute vector of a garment.

Planted tastes depend on these attributes only, so everything listed in `ATTRIBUTES` must be visible in the picture.
"""

from dataclasses import dataclass, replace

import numpy as np

CLASSES = ("women_tops", "women_pants", "women_shoes", "men_tops", "men_pants", "men_shoes")
OTHERS = ("watch", "handbag", "dress", "jacket")  # what a category mapper must reject

# Hues as RGB of the plain cloth; the colour of an item varies around it.
HUES: dict[str, tuple[int, int, int]] = {
    "black": (46, 46, 52),
    "cream": (240, 228, 200),
    "grey": (150, 154, 160),
    "red": (205, 38, 48),
    "pink": (244, 138, 178),
    "mustard": (232, 172, 40),
    "green": (52, 142, 84),
    "blue": (52, 104, 196),
    "brown": (140, 88, 50),
}
PATTERNS = ("plain", "stripes", "dots", "check")
SLEEVES = ("none", "short", "long")
NECKLINES = ("round", "v", "collar")
LENGTHS = ("shorts", "cropped", "long")
CUTS = ("slim", "straight", "wide")
HEELS = ("flat", "mid", "high")

ATTRIBUTES: tuple[str, ...] = (
    *CLASSES,
    *(f"hue_{name}" for name in HUES),
    *(f"pattern_{name}" for name in PATTERNS),
    *(f"sleeve_{name}" for name in SLEEVES),
    *(f"neckline_{name}" for name in NECKLINES),
    *(f"length_{name}" for name in LENGTHS),
    *(f"cut_{name}" for name in CUTS),
    *(f"heel_{name}" for name in HEELS),
    "open_toe",
    "laces",
)
_COLUMN = {name: column for column, name in enumerate(ATTRIBUTES)}

# Relative frequency of each value in a class, in the order of the tuples above. Hues are distributed as the paper
# found in real data: more pink in women's tops and shoes, more black, grey and brown in men's shoes.
_WEIGHTS: dict[str, dict[str, tuple[float, ...]]] = {
    #                       black cream grey red pink mustard green blue brown
    "women_tops": {"hue": (2, 3, 1, 4, 6, 3, 2, 3, 1), "sleeve": (4, 4, 3), "neckline": (4, 5, 2)},
    "women_pants": {"hue": (3, 3, 2, 3, 4, 2, 2, 3, 2), "length": (2, 3, 5), "cut": (3, 2, 5)},
    "women_shoes": {"hue": (3, 3, 1, 5, 6, 2, 2, 2, 2), "heel": (3, 3, 5), "open_toe": (5, 4)},
    "men_tops": {"hue": (3, 2, 3, 2, 1, 2, 4, 5, 2), "sleeve": (1, 5, 5), "neckline": (4, 1, 5)},
    "men_pants": {"hue": (4, 2, 4, 1, 0.5, 2, 3, 5, 5), "length": (3, 1, 6), "cut": (3, 5, 2)},
    "men_shoes": {"hue": (5, 1, 4, 1, 0.5, 1, 2, 3, 6), "heel": (3, 2, 0), "open_toe": (8, 1)},
}
_PATTERN_WEIGHTS = (12, 2, 1, 2)
_MEN_LACED = 0.8  # share of men's closed shoes with laces


@dataclass(frozen=True)
class Style:
    """The attributes of a garment; "" where an attribute does not apply to the class."""

    garment_class: str  # one of CLASSES or OTHERS
    hue: str
    rgb: tuple[int, int, int]  # the item's own colour, a variation of its hue
    pattern: str
    sleeve: str = ""
    neckline: str = ""
    length: str = ""
    cut: str = ""
    heel: str = ""
    open_toe: bool = False
    laces: bool = False

    @property
    def gender(self) -> str:
        """Return women or men ("" for other products)."""
        return self.garment_class.split("_")[0] if "_" in self.garment_class else ""

    @property
    def kind(self) -> str:
        """Return tops, pants, shoes, or the name of the other product."""
        return self.garment_class.rpartition("_")[2]

    def vector(self) -> np.ndarray:
        """Encode the attributes as float32 [D] of zeros and ones, in the order of ATTRIBUTES."""
        names = [
            self.garment_class,
            f"hue_{self.hue}",
            f"pattern_{self.pattern}",
            f"sleeve_{self.sleeve}",
            f"neckline_{self.neckline}",
            f"length_{self.length}",
            f"cut_{self.cut}",
            f"heel_{self.heel}",
        ]
        names += ["open_toe"] * self.open_toe + ["laces"] * self.laces
        vector = np.zeros(len(ATTRIBUTES), np.float32)
        vector[[_COLUMN[name] for name in names if name in _COLUMN]] = 1.0
        return vector


def sample_style(garment_class: str, rng: np.random.Generator) -> Style:
    """Draw a random garment of a class (or another product) with the frequencies of the class."""
    weights = _WEIGHTS.get(garment_class, {})
    hue = _choose(tuple(HUES), weights.get("hue", (1.0,) * len(HUES)), rng)
    style = Style(garment_class, hue, shade_of(hue, rng), _choose(PATTERNS, _PATTERN_WEIGHTS, rng))
    if style.kind == "tops":
        return replace(
            style,
            sleeve=_choose(SLEEVES, weights["sleeve"], rng),
            neckline=_choose(NECKLINES, weights["neckline"], rng),
        )
    if style.kind == "pants":
        return replace(style, length=_choose(LENGTHS, weights["length"], rng), cut=_choose(CUTS, weights["cut"], rng))
    if style.kind == "shoes":
        open_toe = _choose(("closed", "open"), weights["open_toe"], rng) == "open"
        heel = _choose(HEELS, weights["heel"], rng)
        men = style.gender == "men"
        laces = men and not open_toe and bool(rng.random() < _MEN_LACED)
        return replace(style, heel="flat" if men and open_toe else heel, open_toe=open_toe, laces=laces)
    return style


def shade_of(hue: str, rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw an item's RGB around a hue: lighter or darker, with some noise on each channel."""
    rgb = np.array(HUES[hue], float)
    jittered = rgb * rng.uniform(0.88, 1.08) + rng.normal(0, 5, 3)
    red, green, blue = (int(channel) for channel in np.clip(np.rint(jittered), 12, 250))
    return red, green, blue


def _choose(values: tuple[str, ...], weights: tuple[float, ...], rng: np.random.Generator) -> str:
    share = np.asarray(weights, float)
    return values[int(rng.choice(len(values), p=share / share.sum()))]
