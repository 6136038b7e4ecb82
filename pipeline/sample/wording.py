"""What a product is called and where a shop files it, and what customers write: words only, no format and no chance
beyond the choice among them.
"""

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


def thing(style: Style) -> tuple[str, list[str]]:
    """The product type as a title names it, and the shop's category path below the gender."""
    if style.garment_class == "women_tops":
        if style.neckline == "collar":
            return "Button-Down Blouse", ["Clothing", "Tops & Tees", "Blouses & Button-Down Shirts"]
        if style.sleeve == "none":
            return "Tank Top", ["Clothing", "Tops & Tees", "Tanks & Camis"]
        return ("Peplum Top" if style.neckline == "v" else "T-Shirt"), ["Clothing", "Tops & Tees", "Knits & Tees"]
    if style.garment_class == "men_tops":
        if style.neckline == "collar":
            polo = style.sleeve == "short"
            return (
                ("Polo Shirt", ["Clothing", "Shirts", "Polos"])
                if polo
                else ("Button-Down Shirt", ["Clothing", "Shirts", "Casual Button-Down Shirts"])
            )
        if style.sleeve == "none":
            return "Tank Top", ["Clothing", "Shirts", "Tank Tops"]
        return ("V-Neck T-Shirt" if style.neckline == "v" else "T-Shirt"), ["Clothing", "Shirts", "T-Shirts"]
    if style.garment_class == "women_pants":
        if style.length == "shorts":
            return "Shorts", ["Clothing", "Shorts", "Casual"]
        if style.length == "cropped":
            return "Capri Pants", ["Clothing", "Pants", "Capris"]
        if style.cut == "slim":
            return "Skinny Pants", ["Clothing", "Pants", "Casual"]
        return ("Wide Leg Pants" if style.cut == "wide" else "Trousers"), ["Clothing", "Pants", "Wear to Work"]
    if style.garment_class == "men_pants":
        if style.length == "shorts":
            return "Shorts", ["Clothing", "Shorts", "Flat Front"]
        if style.cut == "wide":
            return "Cargo Pants", ["Clothing", "Pants", "Casual"]
        return (
            ("Jeans", ["Clothing", "Jeans"])
            if style.hue == "blue"
            else ("Chino Pants", ["Clothing", "Pants", "Casual"])
        )
    if style.garment_class == "women_shoes":
        if style.open_toe:
            return ("Flat Sandals" if style.heel == "flat" else "Heeled Sandals"), ["Shoes", "Sandals"]
        return ("Ballet Flats", ["Shoes", "Flats"]) if style.heel == "flat" else ("Pumps", ["Shoes", "Pumps"])
    if style.garment_class == "men_shoes":
        if style.open_toe:
            return "Sandals", ["Shoes", "Sandals"]
        if style.heel == "mid":
            return ("Lace-Up Boots" if style.laces else "Chelsea Boots"), ["Shoes", "Boots", "Chukka"]
        return (
            ("Sneakers", ["Shoes", "Fashion Sneakers"]) if style.laces else ("Loafers", ["Shoes", "Loafers & Slip-Ons"])
        )
    return {
        "watch": ("Wrist Watch", ["Watches", "Wrist Watches"]),
        "handbag": ("Satchel Handbag", ["Handbags & Wallets", "Satchels"]),
        "dress": ("Fit and Flare Dress", ["Clothing", "Dresses", "Casual"]),
        "jacket": ("Blazer Jacket", ["Clothing", "Suits & Sport Coats"]),
    }[style.kind]


def section(style: Style) -> str:
    """The gender department: Women or Men."""
    return "Men" if style.gender == "men" or style.kind == "jacket" else "Women"


def title(style: Style, brand: str) -> str:
    """A product title that names gender, colour, pattern and type, so that it can stand for a missing category."""
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
    """The category path as the 2018 metadata lists it."""
    return [_ROOT, section(style), *thing(style)[1]]


def review_words(style: Style, rating: int, rng: np.random.Generator) -> tuple[str, str]:
    """A summary and a text that suit the rating."""
    summaries, sentences = SUMMARIES[rating], SENTENCES[rating]
    text = sentences[rng.integers(len(sentences))]
    return summaries[rng.integers(len(summaries))], text.format(colour=style.hue, thing=thing(style)[0].lower())
