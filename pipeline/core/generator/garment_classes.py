"""Load and check the rules of the garment classes, built-in or a user's own, and record a table's classes.

The built-in rules are in garment_classes.toml, which also documents the format of such a file.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.errors import InputError

RULES_FILE = Path(__file__).with_name("garment_classes.toml")
BUILT_IN = "built-in"  # value of `extends` for the built-in rules
NO_CLASS = ("other", "ignored")  # kinds that no class may have
NO_GENDER = ("youth", "children", "neither")  # genders that no class may have
# Figures and counts already use these names.
RESERVED = ("none", "overall", "nearest")
CLASS_NAME = re.compile(r"[a-z][a-z0-9_]*")
APOSTROPHES = re.compile("['’‘`´]")
NOT_WORD = re.compile(r"[^a-z0-9]+")
NEVER = re.compile("(?!)()")
# Section -> its allowed keys; None: any.
SECTIONS: dict[str, tuple[str, ...] | None] = {
    "classes": None,
    "genders": None,
    "implied": None,
    "kinds": None,
    "categories": ("ignored", "vetoed", "words_at_most"),
    "titles": ("cut",),
}
NEEDED = ("classes", "genders", "kinds")  # sections required in a file without `extends`
WORDS_AT_MOST = 6
CARRIED = b"atelier.garment_classes"  # key in a table's schema metadata


@dataclass(frozen=True)
class Rules:
    """Compiled rules; made by `built_in` and `load_rules`."""

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
    digest: str  # of the rules as data; comments and spacing do not count
    moved: Mapping[str, str] = field(default_factory=dict)  # words that a file took from built-in lists -> which list

    @property
    def names(self) -> tuple[str, ...]:
        """List the classes in order; a class's number is its place here."""
        return tuple(self.classes.values())


def words(text: str) -> str:
    """Normalise text like the words of the rules: lower case, no apostrophes, other characters than a-z 0-9 blank."""
    return NOT_WORD.sub(" ", APOSTROPHES.sub("", text.lower())).strip()


@cache
def built_in() -> Rules:
    """Load Atelier's own rules: six classes."""
    return load_rules(RULES_FILE)


def load_rules(path: Path) -> Rules:
    """Load rules from a TOML file in the format of garment_classes.toml.

    With `extends = "built-in"` the file adds to the built-in rules: its classes follow the built-in ones (a class of
    the same name replaces it), its words are added, and a word that a built-in list has moves to the file's list.

    Raises:
        InputError: the file is missing, not TOML, or has an invalid key or word; the message names it and the remedy.
    """
    data = _read(path)
    moved: dict[str, str] = {}
    extends = data.pop("extends", None)
    if extends is not None:
        if extends != BUILT_IN:
            raise InputError(f'{path}: extends is {extends!r}; write extends = "{BUILT_IN}", or leave the line out')
        _check_words(path, data)
        data, moved = _extended(_read(RULES_FILE), data)
    else:
        for section in NEEDED:
            if section not in data:
                raise InputError(
                    f'{path}: [{section}] is missing; write extends = "{BUILT_IN}" as the first line to add to the '
                    f"built-in rules, or list {', '.join(NEEDED)} as {RULES_FILE.name} does"
                )
        _check_words(path, data)
    return _compiled(path, data, moved)


def carrying(table: pa.Table, names: Iterable[str]) -> pa.Table:
    """Record the classes that a table was made with in its schema's metadata, which Parquet keeps."""
    metadata = dict(table.schema.metadata or {})
    return table.replace_schema_metadata({**metadata, CARRIED: json.dumps(list(names)).encode()})


def classes_of(table: pa.Table, asset: str) -> tuple[str, ...]:
    """Read the classes that `carrying` recorded, in order; a class's number is its place here.

    Raises:
        InputError: the table, which the message calls `asset`, has no classes recorded.
    """
    carried = (table.schema.metadata or {}).get(CARRIED)
    if carried is None:
        raise InputError(f"{asset} does not say which garment classes it was made with: materialise {asset} again")
    return tuple(json.loads(carried))


def _read(path: Path) -> dict[str, Any]:
    """Read a rules file and check the names of its sections and keys."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: garment classes cannot be read ({error.strerror}); check the path in ATELIER_CLASSES or "
            f"ops.ingest.config.classes (a relative one starts at {Path.cwd()})"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    for section, content in data.items():
        if section == "extends":
            continue
        if section not in SECTIONS:
            raise InputError(f"{path}: unknown key {section}; allowed: extends, {', '.join(SECTIONS)}")
        if not isinstance(content, dict):
            raise InputError(f"{path}: {section} is {content!r}; it must be a section, [{section}]")
        allowed = SECTIONS[section]
        for key in content:
            if allowed is not None and key not in allowed:
                raise InputError(f"{path}: unknown key {section}.{key}; allowed: {', '.join(allowed)}")
    return data


def _check_words(path: Path, data: dict[str, Any]) -> None:
    """Check that each list holds words that can match, and that no word is under two kinds or two genders."""
    for kind, entry in data.get("kinds", {}).items():
        if not isinstance(entry, dict) or set(entry) != {"words"}:
            raise InputError(f'{path}: [kinds.{kind}] must hold words = ["...", "..."] and nothing else')
    lists = {f"kinds.{kind}.words": entry["words"] for kind, entry in data.get("kinds", {}).items()}
    for section in ("genders", "implied", "categories", "titles"):
        lists |= {f"{section}.{key}": value for key, value in data.get(section, {}).items() if key != "words_at_most"}
    for key, several in lists.items():
        if not isinstance(several, list) or not several or not all(isinstance(text, str) for text in several):
            raise InputError(f'{path}: {key} is {several!r}; it must be a list of words, ["...", "..."]')
        for text in several:
            if words(text) != text or not text:
                raise InputError(f"{path}: {key}: {text!r} would never match; write {words(text)!r}")
    at_most = data.get("categories", {}).get("words_at_most", WORDS_AT_MOST)
    if not isinstance(at_most, int) or at_most < 1:
        raise InputError(f"{path}: categories.words_at_most is {at_most!r}; it must be a number from 1")
    for section, names in (("kinds", {k: e["words"] for k, e in data.get("kinds", {}).items()}),
                           ("genders", data.get("genders", {})), ("implied", data.get("implied", {}))):  # fmt: skip
        under: dict[str, str] = {}
        for name, several in names.items():
            for text in several:
                if under.setdefault(text, name) != name:
                    raise InputError(
                        f"{path}: {text!r} is listed under both {section}.{under[text]} and {section}.{name}; keep one"
                    )


def _extended(base: dict[str, Any], own: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Merge a file's rules over the built-in ones; also return the words that moved, and from where."""
    moved: dict[str, str] = {}

    def claim(section: str, lists: dict[str, list[str]], name: str, claimed: list[str]) -> None:
        for other, several in lists.items():
            taken = [text for text in several if text in claimed and other != name]
            moved.update(dict.fromkeys(taken, f"{section}.{other}"))
            several[:] = [text for text in several if text not in taken]
        mine = lists.setdefault(name, [])
        mine += [text for text in claimed if text not in mine]

    kinds = {kind: entry["words"] for kind, entry in base["kinds"].items()}
    for kind, entry in own.get("kinds", {}).items():
        claim("kinds", kinds, kind, entry["words"])
        if kind not in NO_CLASS:  # a word that is now an article must no longer exclude a whole path
            vetoed = base["categories"]["vetoed"]
            moved |= {text: "categories.vetoed" for text in entry["words"] if text in vetoed}
            vetoed[:] = [text for text in vetoed if text not in entry["words"]]
    for section in ("genders", "implied"):
        for name, several in own.get(section, {}).items():
            claim(section, base[section], name, several)
    for section in ("categories", "titles"):
        for key, value in own.get(section, {}).items():
            base[section][key] = [*base[section][key], *value] if isinstance(value, list) else value
    merged = {**base, "kinds": {kind: {"words": several} for kind, several in kinds.items()}}
    return {**merged, "classes": {**base["classes"], **own.get("classes", {})}}, moved


def _compiled(path: Path, data: dict[str, Any], moved: dict[str, str]) -> Rules:
    kind_of = {text: kind for kind, entry in data["kinds"].items() for text in entry["words"]}
    gender_of = {text: gender for gender, several in data["genders"].items() for text in several}
    classes = _classes(path, data)
    implied = {text: gender for gender, several in data.get("implied", {}).items() for text in several}
    for gender in data.get("implied", {}):
        if gender not in data["genders"] or gender in NO_GENDER:
            raise InputError(f"{path}: implied.{gender} is no gender; there are: {_listed(data['genders'], NO_GENDER)}")
    categories, titles = data.get("categories", {}), data.get("titles", {})
    # The order of the classes is part of the digest, because their numbers follow from it.
    content = json.dumps([data, list(data["classes"])], sort_keys=True)
    return Rules(
        classes=classes,
        kind_of=kind_of,
        gender_of=gender_of,
        implied=implied,
        kind_words=_any_of(kind_of, plural=True),
        gender_words=_any_of(gender_of),
        ignored=frozenset(categories.get("ignored", ())),
        vetoed=_any_of(categories.get("vetoed", ())),
        words_at_most=categories.get("words_at_most", WORDS_AT_MOST),
        cut=_any_of(titles.get("cut", ())),
        digest=hashlib.sha256(content.encode()).hexdigest()[:16],
        moved=moved,
    )


def _classes(path: Path, data: dict[str, Any]) -> dict[tuple[str, str], str]:
    classes: dict[tuple[str, str], str] = {}
    for name, entry in data["classes"].items():
        key = f"classes.{name}"
        if not CLASS_NAME.fullmatch(name) or name in RESERVED:
            raise InputError(
                f"{path}: [{key}]: a class is named by lower-case letters, digits and _, as women_dresses"
                f" ({', '.join(RESERVED)} are taken)"
            )
        if not isinstance(entry, dict) or set(entry) != {"gender", "kind"} or not all(map(_is_text, entry.values())):
            raise InputError(f'{path}: [{key}] must hold gender = "..." and kind = "..." and nothing else')
        for part, section, none in (("gender", "genders", NO_GENDER), ("kind", "kinds", NO_CLASS)):
            if entry[part] not in data[section] or entry[part] in none:
                words_of = (
                    f"[kinds.{entry[part]}] words = [...]" if part == "kind" else f"genders.{entry[part]} = [...]"
                )
                raise InputError(
                    f"{path}: {key}.{part} is {entry[part]!r}; there are: {_listed(data[section], none)}. Name one of "
                    f"them, or add {words_of}"
                )
        pair = (entry["gender"], entry["kind"])
        if classes.setdefault(pair, name) != name:
            raise InputError(f"{path}: {key} and classes.{classes[pair]} both are {pair[0]} {pair[1]}; keep one")
    unused = [kind for kind in data["kinds"] if kind not in NO_CLASS and kind not in {kind for _, kind in classes}]
    if unused:
        raise InputError(
            f"{path}: kinds.{unused[0]} is the kind of no class; add [classes.NAME] with a gender and "
            f'kind = "{unused[0]}", or list its words under kinds.other'
        )
    if not classes:
        raise InputError(f"{path}: [classes] is empty; name at least one class")
    return classes


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _listed(names: Iterable[str], but: tuple[str, ...]) -> str:
    return ", ".join(name for name in names if name not in but)


def _any_of(several: Iterable[str], *, plural: bool = False) -> re.Pattern[str]:
    longest_first = sorted(several, key=lambda text: (-len(text), text))
    if not longest_first:
        return NEVER
    ending = "(?:e?s)?" if plural else ""
    return re.compile(rf"(?<![a-z0-9])({'|'.join(map(re.escape, longest_first))}){ending}(?![a-z0-9])")
