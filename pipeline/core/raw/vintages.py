"""Recognise the three layouts of the Amazon review data (2014, 2018, 2023), and extract and clean their fields.

Functions take and return plain Python values. `framing.py` reads files; `parsing.py` makes tables and rejects.
"""

import ast
import html
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw.addresses import encodable
from pipeline.core.raw.copies import origin_name

VINTAGES = ("2014", "2018", "2023")
# Strangers write this text, so every pattern must take linear time. Comments and scripts may lack their closing text,
# so no pattern uses `.*?` up to it, which would search from every opening to the end of the text.
TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
HIDDEN = re.compile(r"<(?:(!--)|(script|style)(?![\w-]))", re.IGNORECASE)
CLOSING = {name: re.compile(rf"</{name}(?![\w-])[^<>]*>?", re.IGNORECASE) for name in ("script", "style")}
# `html.unescape` calls int() on the digits, which fails from 4,300 digits on; no character has a number this long.
LONG_REFERENCE = re.compile(r"&#(?:[0-9]{10,}|[xX][0-9a-fA-F]{10,});?")
# Code instead of a title: the 2018 metadata has the scripts of pages as titles, mostly without their tags.
CODE = re.compile(
    r"\bgetTime ?\(|\bnew Date ?\(|\bvar [\w$]+ ?=|\bfunction ?\w* ?\([\w$, ]*\) ?\{"
    r"|\b(?:document|window)\.\w+ ?[=(.\[]|\{ ?[a-z-]+ ?: ?[^;{}]{1,100};"
)
LITERAL_BYTES = 1 << 20  # a longer Python literal is not read: ast builds a tree of many times its size
TITLE_CHARACTERS, CATEGORY_CHARACTERS = 2_000, 200  # longer ones are cut
CATEGORIES_AT_MOST = 100  # per product; further ones are dropped

_AROUND = " \t\r\n\f\v,\ufeff\0\x1e"  # white space, marks and padding around a line
_OLD = {"reviewer": "reviewerID", "asin": "asin", "variant": "asin", "rating": "overall", "time": "unixReviewTime"}
REVIEW_KEYS: dict[str, dict[str, str]] = {
    "2014": {**_OLD, "pictures": "image"},
    "2018": {**_OLD, "pictures": "image"},
    # parent_asin is the product; asin is the variant bought, used if the parent is missing. Times are milliseconds.
    "2023": {
        "reviewer": "user_id",
        "asin": "parent_asin",
        "variant": "asin",
        "rating": "rating",
        "time": "timestamp",
        "pictures": "images",
    },
}
PRODUCT_KEYS = (
    *("asin", "parent_asin", "title", "category", "categories"),
    *("imageURL", "imageURLHighRes", "image", "imUrl", "images"),
)
KEPT_KEYS = ("price", "brand")  # of products; texts or numbers
TOML = {
    "reviews": '[interactions] user = "...", item = "..."',
    "products": '[products] id = "...", title = "..."',
}
SHAPES = {
    "reviews": """\
  2014  {"reviewerID": "A2...", "asin": "B0...", "helpful": [0, 0], "overall": 5.0, "unixReviewTime": 140..., ...}
  2018  {"overall": 5.0, "reviewerID": "A2...", "asin": "B0...", "unixReviewTime": 144..., "image": ["http..."], ...}
  2023  {"rating": 5.0, "user_id": "AE...", "parent_asin": "B0...", "timestamp": 160..., "images": [{...}], ...}""",
    "products": """\
  2014  {'asin': 'B0...', 'title': '...', 'imUrl': 'http...', 'categories': [['Clothing', 'Women']]}  (a Python literal)
  2018  {"asin": "B0...", "title": "...", "category": ["..."], "imageURL": ["http..."], "imageURLHighRes": ["http..."]}
  2023  {"parent_asin": "B0...", "title": "...", "categories": ["..."], "images": [{"thumb": "http...", ...}], ...}""",
}


def detect(path: Path, lines: Sequence[str], kind: str) -> str:
    """Recognise the vintage of `kind` (reviews or products) by the first of `lines` with a known layout.

    Raises:
        InputError: no line has one; the message shows the first line and the three layouts.
    """
    for line in (line.strip(_AROUND) for line in lines):
        value = parsed(line)
        literal = value is None
        value = parsed(line, literal=True) if literal else value
        if isinstance(value, dict):
            vintage = _review_vintage(value) if kind == "reviews" else _product_vintage(value, literal)
            if vintage:
                return vintage
    lines = [line for line in lines if line.strip(_AROUND)]
    if not lines:
        raise InputError(f"{origin_name(path)}: the file holds no lines; fetch it again or take it out of the input")
    shown, seems = printable(lines[0], 300), _seems(lines[0].strip(_AROUND))
    raise InputError(
        f"{origin_name(path)}: not a known shape of {kind}. It begins with\n  {shown}\n"
        f"Known shapes:\n{SHAPES[kind]}\n{seems}"
        f"Give the file of {kind}, or say in shop.toml which of its keys mean what{_keys(lines[0])}:"
        f" {TOML[kind]} (ATELIER_SHOP names that file)"
    )


def _keys(line: str) -> str:
    """List the keys of a line in brackets; empty if it is no object."""
    value = parsed(line.strip(_AROUND), literal=True)
    return f" ({printable(', '.join(map(str, value)), 300)})" if isinstance(value, dict) and value else ""


def _seems(line: str) -> str:
    """Return a guess at what a first line of no known shape is."""
    value = parsed(line, literal=True)
    if isinstance(value, list):
        return "The fields of a list have no names; write each line as an object. "
    if isinstance(value, dict):
        inner = [key for key, each in value.items() if isinstance(each, (list, dict))]
        return (
            f"If the rows are wrapped in {printable(inner[0], 40)!r}, save them alone as JSON lines. " if inner else ""
        )
    if line.startswith("{"):
        return "If its objects go over several lines, the first is damaged; `jq -c .` writes one object a line. "
    return ""


def _review_vintage(value: dict) -> str | None:
    if "user_id" in value:
        return "2023"
    if "reviewerID" in value:
        return "2014" if "helpful" in value else "2018"
    return None


def _product_vintage(value: dict, literal: bool) -> str | None:
    if "reviewerID" in value or "user_id" in value:
        return None  # a review file given as products
    if literal:
        return "2014" if "asin" in value else None
    if "parent_asin" in value:
        return "2023"
    return "2018" if "asin" in value else None


def parsed(text: str | None, *, literal: bool = False) -> object:
    """Parse JSON, or with `literal` also a Python literal of bounded size; None if it is neither."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if not literal or len(text) > LITERAL_BYTES or text.lstrip()[:1] != "{":
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def category_list(value: dict) -> list[object]:
    """Flatten `category` or `categories`, given as a list, a list of paths, or one text `A > B`."""
    flat: list[object] = []
    waiting = [_first(value, "category", "categories")]  # a stack
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, list):
            waiting.extend(reversed(entry))
        elif isinstance(entry, str):
            flat.extend(part.strip() for part in entry.split(" > "))
    return flat


def _first(value: dict, *keys: str) -> object:
    return next((value[key] for key in keys if value.get(key)), None)


def clean_title(value: object) -> str:
    """Clean a title: resolve HTML entities (twice, for `&amp;amp;`), remove markup, collapse white space."""
    if not isinstance(value, str):
        return ""
    text = _unescaped(_unescaped(value)) if "&" in value else value
    text = TAG.sub(" ", _without_hidden(text)) if "<" in text else text
    return " ".join(encodable(text).split())


def title_of(value: object, counts: Counter[str]) -> str:
    """Clean and bound a product's title; code becomes an empty title. Cuts and drops are counted."""
    text = clean_title(value)
    if CODE.search(text) or (not text and isinstance(value, str) and HIDDEN.search(_unescaped(value))):
        counts["titles_code"] += 1
        return ""
    return _cut(text, TITLE_CHARACTERS, "titles_cut", counts)


def categories_of(value: dict, counts: Counter[str]) -> list[str]:
    """Clean and bound a product's categories, each once. Cuts and drops are counted."""
    found = list(dict.fromkeys(filter(None, map(clean_title, category_list(value)))))
    if len(found) > CATEGORIES_AT_MOST:
        counts["categories_left_out"] += len(found) - CATEGORIES_AT_MOST
    return [_cut(text, CATEGORY_CHARACTERS, "categories_cut", counts) for text in found[:CATEGORIES_AT_MOST]]


def _cut(text: str, most: int, counted: str, counts: Counter[str]) -> str:
    if len(text) <= most:
        return text
    counts[counted] += 1
    return text[:most].rstrip()


def _unescaped(text: str) -> str:
    return html.unescape(LONG_REFERENCE.sub("\ufffd", text) if "&#" in text else text)


def _without_hidden(text: str) -> str:
    """Remove comments, scripts and styles. An unclosed comment stays as text; an unclosed script extends to the end."""
    kept, at, closed = [], 0, True
    for opening in HIDDEN.finditer(text):
        if opening.start() < at:  # inside the previous one
            continue
        if opening[1]:
            closing = text.find("-->", opening.end()) if closed else -1
            closed = closing >= 0  # if nothing closes this one, nothing closes a later one
            end = closing + len("-->") if closed else None
            if end is None:
                continue
        else:
            closing = CLOSING[opening[2].lower()].search(text, opening.end())
            end = closing.end() if closing else len(text)
        kept += [text[at : opening.start()], " "]
        at = end
    return "".join([*kept, text[at:]])
