"""Match a name in every spelling: plain or escaped as in JSON, HTML and URLs, in UTF-8, UTF-16 or UTF-32.

A name matches whole words only: B00X does not match B00XYZ. A number or a very short name is ambiguous: it matches only
as the value of an id field, or as a whole cell of a table.
"""

import html
import json
import re
from collections.abc import Iterable

FIELDS = "reviewer_?id|user_?id|parent_?asin|asin"
ESCAPE_BYTES = 12  # of the longest escape of one character
_LETTER = "[0-9A-Za-z]"
# A name may follow an escape such as \n or %20, whose last character looks like a letter before the name.
_BEFORE = rf"(?:(?<!{_LETTER})|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{{4}})|(?<=\\x[0-9A-Fa-f]{{2}})|(?<=%[0-9A-Fa-f]{{2}}))"
_AFTER = f"(?!{_LETTER})"
_WIDE = (
    ("utf-16-le", b"", rb"\0"),
    ("utf-16-be", rb"\0", b""),
    ("utf-32-le", b"", rb"\0\0\0"),
)  # zeros around a letter
_UNICODE = re.compile(rb"(?:\\+u[0-9A-Fa-f]{4})+")
_HTML_NUMBER = re.compile(rb"&#(?:(\d{1,7})|[xX]([0-9A-Fa-f]{1,6}));")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_SLASH = re.compile(rb"\\+/")


def ambiguous(name: str) -> bool:
    """Return whether a name is likely to occur in texts with another meaning."""
    return name.isdigit() or len(name) < 4


def forms(name: str) -> list[str]:
    """Spell a name plainly, in HTML, in JSON, and in JSON within JSON; the longest spelling first."""
    in_json = json.dumps(name)[1:-1]
    found = {name, html.escape(name), in_json, json.dumps(in_json)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1]}
    return sorted(found, key=lambda form: (-len(form), form))


def pattern(names: Iterable[str]) -> str:
    """Build a regular expression of the names' forms. Its group `before` matches the id field before a name."""
    ordered = sorted(set(names), key=lambda name: (-len(name), name))  # a URL before its own prefixes
    plain = "|".join(re.escape(form) for name in ordered if not ambiguous(name) for form in forms(name))
    short = "|".join(re.escape(form) for name in ordered if ambiguous(name) for form in forms(name))
    field = rf"(?i:{FIELDS})[\"'\\]*\s*[:=]\s*[\"'\\]*"
    end = r"(?=[\"'\\]*\s*(?:[,}|\])]|$))"
    either = [f"{_BEFORE}(?:{plain}){_AFTER}"] if plain else []
    either += [rf"(?P<before>{field}|\|[ ]*)(?:{short}){end}"] if short else []
    return "|".join(either) or "(?!)"


class NameMatcher:
    """Searches bytes for names in every spelling."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = [name for name in dict.fromkeys(names) if name]
        clear = [name for name in self.names if not ambiguous(name)]
        self._pattern = re.compile(pattern(self.names).encode())
        self._wide = {
            name.encode(encoding): _wide(name.encode(encoding), front, back)
            for name in clear
            for encoding, front, back in _WIDE
        }
        self._forms = [form.encode() for name in self.names for form in forms(name)]
        self.longest = max((len(form) for name in self.names for form in forms(name)), default=0) * ESCAPE_BYTES + 64

    def matches(self, text: bytes) -> bool:
        """Return whether one of the names is in a text, in any encoding and with any escapes."""
        if any(encoded in text and exact.search(text) for encoded, exact in self._wide.items()):
            return True
        # The plain search comes first: the pattern's lookbehind makes it a hundred times slower.
        return any(
            self._pattern.search(version)
            for version in _unescaped(text)
            if any(form in version for form in self._forms)
        )


def _wide(encoded: bytes, front: bytes, back: bytes) -> re.Pattern[bytes]:
    """Build the pattern of a name in UTF-16 or UTF-32 with no letter next to it."""
    before, behind = (front + _LETTER.encode() + end for end in (back, b"(?:" + back + b"|\\Z)"))
    return re.compile(b"(?<!" + before + b")" + re.escape(encoded) + b"(?!" + behind + b")")


def _unescaped(text: bytes) -> Iterable[bytes]:
    """Yield the text as it is, and without each kind of escape that occurs in it."""
    yield text
    if b"\\u" in text or b"\\/" in text:
        yield _SLASH.sub(b"/", _UNICODE.sub(_decode_unicode, text))
    if b"&#" in text:
        yield _HTML_NUMBER.sub(_decode_html_number, text)
    if b"%" in text:
        yield _PERCENT.sub(lambda found: bytes([int(found[1], 16)]), text)


def _decode_unicode(found: re.Match[bytes]) -> bytes:
    units = b"".join(bytes.fromhex(unit[:4].decode()) for unit in found[0].split(b"u")[1:])
    return units.decode("utf-16-be", "replace").encode()


def _decode_html_number(found: re.Match[bytes]) -> bytes:
    number = int(found[1]) if found[1] else int(found[2], 16)
    return chr(number).encode("utf-8", "replace") if number <= 0x10FFFF else found[0]
