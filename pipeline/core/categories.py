"""Products to garment classes by the words of their categories and title; the words are in garment_classes.toml.

A class is a gender and a kind. Only reading words belongs here; choosing pictures for the generator does not.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa

from pipeline.core import schemas

RULES_FILE = Path(__file__).with_name("garment_classes.toml")
NO_CLASS = ("other", "ignored")  # kinds that are never a class's
APOSTROPHES = re.compile("['’‘`´]")
NOT_WORD = re.compile(r"[^a-z0-9]+")
# A title's clauses: "Sandals, ankle strap heels" is about sandals. A blank on both sides keeps "t-shirt" whole.
CLAUSE = re.compile(r"[,;|()\[\]:]|\s[-–—/]\s")
ENUMERATION = re.compile(r"[/&,]|\band\b")


@dataclass(frozen=True)
class Rules:
    """The words of the classes, compiled. `load_rules` makes one from a file."""

    classes: Mapping[tuple[str, str], str]  # (gender, kind) -> class
    kind_of: Mapping[str, str]  # words -> kind
    gender_of: Mapping[str, str]  # words -> gender, youth, children or neither
    implied: Mapping[str, str]  # words -> gender
    kind_words: re.Pattern[str]
    gender_words: re.Pattern[str]
    ignored: frozenset[str]
    vetoed: re.Pattern[str]
    words_at_most: int
    cut: re.Pattern[str]


@cache
def load_rules(path: Path = RULES_FILE) -> Rules:
    """Rules from a TOML file of the form of garment_classes.toml.

    Raises ValueError, naming the file, for a class of an unknown kind or gender, or a word listed under two kinds.
    """
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    kind_of: dict[str, str] = {}
    for kind, entry in data["kinds"].items():
        for words in entry["words"]:
            if kind_of.setdefault(words, kind) != kind:
                raise ValueError(f"{path}: {words!r} is listed under both {kind_of[words]} and {kind}; keep one")
    genders = data["genders"]
    gender_of = {words: gender for gender, several in genders.items() for words in several}
    classes = {}
    for name, entry in data["classes"].items():
        pair = (entry["gender"], entry["kind"])
        if pair[1] not in data["kinds"] or pair[1] in NO_CLASS or pair[0] not in genders:
            raise ValueError(
                f"{path}: class {name} has gender {pair[0]!r} and kind {pair[1]!r}; list the words of both"
            )
        classes[pair] = name
    return Rules(
        classes=classes,
        kind_of=kind_of,
        gender_of=gender_of,
        implied={words: gender for gender, several in data["implied"].items() for words in several},
        kind_words=_any_of(kind_of, plural=True),
        gender_words=_any_of(gender_of),
        ignored=frozenset(data["categories"]["ignored"]),
        vetoed=_any_of(data["categories"]["vetoed"]),
        words_at_most=data["categories"]["words_at_most"],
        cut=_any_of(data["titles"]["cut"]),
    )


def _any_of(words: Iterable[str], *, plural: bool = False) -> re.Pattern[str]:
    longest_first = sorted(words, key=lambda text: (-len(text), text))
    ending = "(?:e?s)?" if plural else ""
    return re.compile(rf"(?<![a-z0-9])({'|'.join(map(re.escape, longest_first))}){ending}(?![a-z0-9])")


GARMENT_CLASSES: tuple[str, ...] = tuple(load_rules().classes.values())


def garment_class(categories: Sequence[str], title: str, rules: Rules | None = None) -> str | None:
    """The class of a product, or None where its words name no class, or more than one gender.

    Categories go first, from the deepest: the first element that names an article decides, and a gender anywhere in
    them; the title fills in what they leave open. In a title the last article of the first clause that has one counts
    ("Dress Shirt" is a shirt, "Shirt Dress" a dress), and children's wear is of no class.
    """
    rules = rules or load_rules()
    path = [words for words in map(_words, categories) if words and words not in rules.ignored]
    if any(rules.vetoed.search(words) for words in path):
        return None
    kind, article = _kind_of_path(categories, rules)
    text = _words(title)
    if kind is None:
        kind, article = _kind_of_title(title, rules)
    if kind is None or kind in NO_CLASS:
        return None
    gender = _gender(path, rules)
    if gender is None:
        gender = _gender([text], rules) or rules.implied.get(article)
    return rules.classes.get((gender, kind)) if gender else None


def map_products(products: pa.Table, rules: Rules | None = None) -> pa.Table:
    """PRODUCTS with `garment_class` filled in; each distinct (categories, title) is read once."""
    known: dict[tuple[tuple[str, ...], str], str | None] = {}
    classes = []
    for categories, title in zip(products["categories"].to_pylist(), products["title"].to_pylist(), strict=True):
        key = (tuple(categories), title)
        if key not in known:
            known[key] = garment_class(categories, title, rules)
        classes.append(known[key])
    column = schemas.PRODUCTS.get_field_index("garment_class")
    return products.set_column(column, "garment_class", pa.array(classes, pa.string()))


def _words(text: str) -> str:
    return NOT_WORD.sub(" ", APOSTROPHES.sub("", text.lower())).strip()


def _articles(words: str, rules: Rules) -> list[tuple[str, str]]:
    """(kind, words as listed) of every article in order, ignored ones left out."""
    found = ((rules.kind_of[match[1]], match[1]) for match in rules.kind_words.finditer(words))
    return [(kind, article) for kind, article in found if kind != "ignored"]


def _kind_of_path(categories: Sequence[str], rules: Rules) -> tuple[str | None, str]:
    for element in reversed(categories):
        words = _words(element)
        if words in rules.ignored or len(words.split()) > rules.words_at_most:
            continue
        for part in ENUMERATION.split(element.lower()):  # "Leggings/Tights", "Tops & Tees": the first named
            articles = _articles(_words(part), rules)
            if articles:
                return articles[-1]
    return None, ""


def _kind_of_title(title: str, rules: Rules) -> tuple[str | None, str]:
    for clause in CLAUSE.split(title):
        words = _words(clause)
        articles = _articles(rules.cut.split(words, maxsplit=1)[0], rules) or _articles(words, rules)
        if articles:
            return articles[-1]
    return None, ""


def _gender(texts: Sequence[str], rules: Rules) -> str | None:
    """The one adult gender named; "none" (no class has it) for children's wear or both; None where none is named."""
    named = {rules.gender_of[match[1]] for text in texts for match in rules.gender_words.finditer(text)}
    adults = named - {"youth", "children", "neither"}
    if "children" in named or len(adults) > 1 or ("youth" in named and not adults):
        return "none"
    return next(iter(adults), None)
