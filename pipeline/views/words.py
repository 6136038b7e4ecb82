"""Names of image modes and garment classes as a shop's staff would say them."""

MODES = {
    "vendor_single": "first shop picture",
    "vendor_all": "all shop pictures",
    "vendor_customer": "shop and customer pictures",
}
# Words to replace: pants are underwear to half of the readers.
CLASS_WORDS = {"pants": "trousers"}
POSSESSIVE = {"women": "women’s", "men": "men’s"}


def class_words(name: str) -> str:
    """Write the name of any garment class for people: women_dresses becomes "Women’s dresses"."""
    first, *rest = name.split("_")
    return " ".join([POSSESSIVE.get(first, first), *(CLASS_WORDS.get(word, word) for word in rest)]).capitalize()


def other_data(mode: str, extent: str) -> str:
    """Say that a mode's figures are of another part of the data, with that part's label, than the tables now."""
    part = extent or "all users, k = 5"
    return f"{mode}: its figures are of other data ({part}): make it again before you compare it with the others"
