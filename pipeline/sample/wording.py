"""The words of the catalogue: product titles, categories and review texts. File formats do not belong here."""

import numpy as np

from pipeline.sample.styles import Style

BRANDS = ("Alder & Finch", "Bramwell", "Corsina", "Dovecote", "Esterel", "Fenwick Lane", "Galatea", "Harrow Mill")
FIRST_NAMES = (
    "Ada",
    "Basil",
    "Clara",
    "Dora",
    "Edwin",
    "Flora",
    "Gus",
    "Hattie",
    "Ivo",
    "June",
    "Kit",
    "Lena",
    "Max",
    "Nora",
    "Otto",
    "Pia",
    "Quinn",
    "Rosa",
    "Sam",
    "Tilda",
)
SUMMARIES = {
    5: ("Love it", "Just right", "Five stars", "Wear it all the time"),
    4: ("Very nice", "Good buy", "Pleased with it"),
    3: ("It is all right", "Decent", "Not sure yet"),
    2: ("Disappointed", "Runs small"),
    1: ("Sent it back", "Not as pictured"),
}
SENTENCES = {
    5: (
        "The {colour} is lovely and it fits well.",
        "Exactly what I was looking for.",
        "Bought it for a wedding and wore it the whole week after.",
    ),
    4: ("Good {thing}, the seams could be neater.", "Nice {colour}, a little longer than expected."),
    3: ("The {thing} is fine for the price.", "Colour is a bit different from the picture."),
    2: ("The {thing} shrank in the first wash.", "Thinner cloth than I thought."),
    1: ("A button was missing and nobody answered.", "Wrong size, wrong {colour}."),
}
_PATTERN_WORDS = {"plain": "", "stripes": "Striped", "dots": "Polka Dot", "check": "Plaid"}
_SLEEVE_WORDS = {"": "", "none": "Sleeveless", "short": "Short Sleeve", "long": "Long Sleeve"}
_ROOT = "Clothing, Shoes & Jewelry"


# (class, required attributes, product type in the title, category path below the gender); the first match counts.
_TYPES: tuple[tuple[str, dict[str, object], str, tuple[str, ...]], ...] = (
    ("women_tops", {"neckline": "collar"}, "Button-Down Blouse",
     ("Clothing", "Tops & Tees", "Blouses & Button-Down Shirts")),
    ("women_tops", {"sleeve": "none"}, "Tank Top", ("Clothing", "Tops & Tees", "Tanks & Camis")),
    ("women_tops", {"neckline": "v"}, "Peplum Top", ("Clothing", "Tops & Tees", "Knits & Tees")),
    ("women_tops", {}, "T-Shirt", ("Clothing", "Tops & Tees", "Knits & Tees")),
    ("men_tops", {"neckline": "collar", "sleeve": "short"}, "Polo Shirt", ("Clothing", "Shirts", "Polos")),
    ("men_tops", {"neckline": "collar"}, "Button-Down Shirt", ("Clothing", "Shirts", "Casual Button-Down Shirts")),
    ("men_tops", {"sleeve": "none"}, "Tank Top", ("Clothing", "Shirts", "Tank Tops")),
    ("men_tops", {"neckline": "v"}, "V-Neck T-Shirt", ("Clothing", "Shirts", "T-Shirts")),
    ("men_tops", {}, "T-Shirt", ("Clothing", "Shirts", "T-Shirts")),
    ("women_pants", {"length": "shorts"}, "Shorts", ("Clothing", "Shorts", "Casual")),
    ("women_pants", {"length": "cropped"}, "Capri Pants", ("Clothing", "Pants", "Capris")),
    ("women_pants", {"cut": "slim"}, "Skinny Pants", ("Clothing", "Pants", "Casual")),
    ("women_pants", {"cut": "wide"}, "Wide Leg Pants", ("Clothing", "Pants", "Wear to Work")),
    ("women_pants", {}, "Trousers", ("Clothing", "Pants", "Wear to Work")),
    ("men_pants", {"length": "shorts"}, "Shorts", ("Clothing", "Shorts", "Flat Front")),
    ("men_pants", {"cut": "wide"}, "Cargo Pants", ("Clothing", "Pants", "Casual")),
    ("men_pants", {"hue": "blue"}, "Jeans", ("Clothing", "Jeans")),
    ("men_pants", {}, "Chino Pants", ("Clothing", "Pants", "Casual")),
    ("women_shoes", {"open_toe": True, "heel": "flat"}, "Flat Sandals", ("Shoes", "Sandals")),
    ("women_shoes", {"open_toe": True}, "Heeled Sandals", ("Shoes", "Sandals")),
    ("women_shoes", {"heel": "flat"}, "Ballet Flats", ("Shoes", "Flats")),
    ("women_shoes", {}, "Pumps", ("Shoes", "Pumps")),
    ("men_shoes", {"open_toe": True}, "Sandals", ("Shoes", "Sandals")),
    ("men_shoes", {"heel": "mid", "laces": True}, "Lace-Up Boots", ("Shoes", "Boots", "Chukka")),
    ("men_shoes", {"heel": "mid"}, "Chelsea Boots", ("Shoes", "Boots", "Chelsea")),
    ("men_shoes", {"laces": True}, "Sneakers", ("Shoes", "Fashion Sneakers")),
    ("men_shoes", {}, "Loafers", ("Shoes", "Loafers & Slip-Ons")),
    ("watch", {}, "Wrist Watch", ("Watches", "Wrist Watches")),
    ("handbag", {}, "Satchel Handbag", ("Handbags & Wallets", "Satchels")),
    ("dress", {}, "Fit and Flare Dress", ("Clothing", "Dresses", "Casual")),
    ("jacket", {}, "Blazer Jacket", ("Clothing", "Suits & Sport Coats")),
)  # fmt: skip


def thing(style: Style) -> tuple[str, tuple[str, ...]]:
    """Return the product type as used in titles, and the shop's category path below the gender."""
    return next(
        (name, path)
        for garment_class, wanted, name, path in _TYPES
        if garment_class == style.garment_class
        and all(getattr(style, attribute) == value for attribute, value in wanted.items())
    )


def section(style: Style) -> str:
    """Return the gender department: Women or Men."""
    return "Men" if style.gender == "men" or style.kind == "jacket" else "Women"


def title(style: Style, brand: str) -> str:
    """Make a product title with gender, colour, pattern and type, so that it can replace a missing category."""
    words = (
        brand,
        f"{section(style)}'s",
        style.hue.title(),
        _PATTERN_WORDS[style.pattern],
        _SLEEVE_WORDS[style.sleeve],
        thing(style)[0],
    )
    return " ".join(word for word in words if word)


def category(style: Style) -> list[str]:
    """Return the category path as listed in the 2018 metadata."""
    return [_ROOT, section(style), *thing(style)[1]]


def review_words(style: Style, rating: int, rng: np.random.Generator) -> tuple[str, str]:
    """Choose a summary and a text that match the rating."""
    summaries, sentences = SUMMARIES[rating], SENTENCES[rating]
    text = sentences[rng.integers(len(sentences))]
    return summaries[rng.integers(len(summaries))], text.format(colour=style.hue, thing=thing(style)[0].lower())
