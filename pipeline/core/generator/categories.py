"""Classify products into garment classes by the words of their categories and title.

A class is a pair of a gender and a kind of garment. Nothing here looks at pictures.
"""

import re
from collections.abc import Sequence

import pyarrow as pa

from pipeline.core import schemas
from pipeline.core.generator.garment_classes import NO_CLASS, Rules, built_in, carrying, words

# Splits a title into clauses: "Sandals, ankle strap heels" is about sandals. Dashes need spaces: keeps "t-shirt" whole.
CLAUSE = re.compile(r"[,;|()\[\]:]|\s[-–—/]\s")
ENUMERATION = re.compile(r"[/&,]|\band\b")


def garment_class(categories: Sequence[str], title: str, rules: Rules | None = None) -> str | None:
    """Return the class of a product, or None if its words name no class or more than one gender.

    Categories are read first, from the deepest: the first element that names an article gives the kind, and any
    element may give the gender. The title gives what the categories leave open. In a title, the last article of the
    first clause with an article counts ("Dress Shirt" is a shirt, "Shirt Dress" a dress). Children's wear has no class.
    """
    rules = rules or built_in()
    path = [element for element in map(words, categories) if element and element not in rules.ignored]
    if any(rules.vetoed.search(element) for element in path):
        return None
    kind, article = _kind_of_path(categories, rules)
    text = words(title)
    if kind is None:
        kind, article = _kind_of_title(title, rules)
    if kind is None or kind in NO_CLASS:
        return None
    gender = _gender(path, rules)
    if gender is None:
        gender = _gender([text], rules) or rules.implied.get(article)
    return rules.classes.get((gender, kind)) if gender else None


def map_products(products: pa.Table, rules: Rules | None = None) -> pa.Table:
    """Fill in `garment_class` of PRODUCTS; each distinct (categories, title) is classified once.

    The table's metadata lists all classes of the rules, also those without a product (`garment_classes.classes_of`).
    """
    rules = rules or built_in()
    known: dict[tuple[tuple[str, ...], str], str | None] = {}
    classes = []
    for categories, title in zip(products["categories"].to_pylist(), products["title"].to_pylist(), strict=True):
        key = (tuple(categories), title)
        if key not in known:
            known[key] = garment_class(categories, title, rules)
        classes.append(known[key])
    column = schemas.PRODUCTS.get_field_index("garment_class")
    mapped = products.set_column(column, products.field(column), pa.array(classes, pa.string()))
    return carrying(mapped, rules.names)


def _articles(text: str, rules: Rules) -> list[tuple[str, str]]:
    """List (kind, words as in the rules) of every article in order, without ignored ones."""
    articles = ((rules.kind_of[match[1]], match[1]) for match in rules.kind_words.finditer(text))
    return [(kind, article) for kind, article in articles if kind != "ignored"]


def _kind_of_path(categories: Sequence[str], rules: Rules) -> tuple[str | None, str]:
    for element in reversed(categories):
        text = words(element)
        if text in rules.ignored or len(text.split()) > rules.words_at_most:
            continue
        for part in ENUMERATION.split(element.lower()):  # of "Leggings/Tights" or "Tops & Tees" the first counts
            articles = _articles(words(part), rules)
            if articles:
                return articles[-1]
    return None, ""


def _kind_of_title(title: str, rules: Rules) -> tuple[str | None, str]:
    for clause in CLAUSE.split(title):
        text = words(clause)
        articles = _articles(rules.cut.split(text, maxsplit=1)[0], rules) or _articles(text, rules)
        if articles:
            return articles[-1]
    return None, ""


def _gender(texts: Sequence[str], rules: Rules) -> str | None:
    """Return the adult gender named, "none" (which no class has) for children's wear or both genders, else None."""
    named = {rules.gender_of[match[1]] for text in texts for match in rules.gender_words.finditer(text)}
    adults = named - {"youth", "children", "neither"}
    if "children" in named or len(adults) > 1 or ("youth" in named and not adults):
        return "none"
    return next(iter(adults), None)
