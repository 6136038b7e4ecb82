"""Names of image modes and garment classes in words that a shop's people use."""

MODES = {
    "vendor_single": "first shop picture",
    "vendor_all": "all shop pictures",
    "vendor_customer": "shop and customer pictures",
}
# Where a class's own words do not do: pants are underwear to half of the readers.
CLASS_WORDS = {"pants": "trousers"}
POSSESSIVE = {"women": "women’s", "men": "men’s"}


def class_words(name: str) -> str:
    """A garment class for people, whoever named it: women_dresses is "Women’s dresses"."""
    first, *rest = name.split("_")
    return " ".join([POSSESSIVE.get(first, first), *(CLASS_WORDS.get(word, word) for word in rest)]).capitalize()
