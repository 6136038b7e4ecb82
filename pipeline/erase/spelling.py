"""How a name may be written: as it is, or with the escapes of JSON, HTML and URLs, in UTF-8, 16 or 32.

For who searches files and who replaces in texts. A name ends where letters and digits do: B00X does not stand in
B00XYZ. A number, or a few letters, means something else as likely: it counts only as the value of a field of ids, and
as a whole cell of a table.
"""

import html
import json
import re
from collections.abc import Iterable

FIELDS = "reviewer_?id|user_?id|parent_?asin|asin"
ESCAPE_BYTES = 12  # a character takes no more, escaped
_LETTER = "[0-9A-Za-z]"
# An escape may stand before a name, and ends in what looks like a letter of it.
_BEFORE = rf"(?:(?<!{_LETTER})|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{{4}})|(?<=\\x[0-9A-Fa-f]{{2}})|(?<=%[0-9A-Fa-f]{{2}}))"
_AFTER = f"(?!{_LETTER})"
_WIDE = (("utf-16-le", b"", rb"\0"), ("utf-16-be", rb"\0", b""), ("utf-32-le", b"", rb"\0\0\0"))  # zeros of a letter
_UNICODE = re.compile(rb"(?:\\+u[0-9A-Fa-f]{4})+")
_NUMBERED = re.compile(rb"&#(?:(\d{1,7})|[xX]([0-9A-Fa-f]{1,6}));")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_SLASH = re.compile(rb"\\+/")


def ambiguous(name: str) -> bool:
    """Whether a text means something else as likely."""
    return name.isdigit() or len(name) < 4


def forms(name: str) -> list[str]:
    """A name as it is, in HTML, in JSON, and in JSON within JSON."""
    in_json = json.dumps(name)[1:-1]
    found = {name, html.escape(name), in_json, json.dumps(in_json)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1]}
    return sorted(found, key=lambda form: (-len(form), form))


def pattern(names: Iterable[str]) -> str:
    """A pattern of the names in their forms; its group `before` is not part of the name."""
    found = sorted(set(names), key=lambda name: (-len(name), name))  # a URL before what it begins with
    plain = "|".join(re.escape(form) for name in found if not ambiguous(name) for form in forms(name))
    short = "|".join(re.escape(form) for name in found if ambiguous(name) for form in forms(name))
    field = rf"(?i:{FIELDS})[\"'\\]*\s*[:=]\s*[\"'\\]*"
    end = r"(?=[\"'\\]*\s*(?:[,}|\])]|$))"
    either = [f"{_BEFORE}(?:{plain}){_AFTER}"] if plain else []
    either += [rf"(?P<before>{field}|\|[ ]*)(?:{short}){end}"] if short else []
    return "|".join(either) or "(?!)"


class Spelled:
    """Names to look for in bytes."""

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

    def stands_in(self, text: bytes) -> bool:
        """Whether one of the names stands in a text, whatever its encoding and its escapes."""
        if any(there in text and exact.search(text) for there, exact in self._wide.items()):
            return True
        # A pattern that looks behind itself is a hundred times slower than a search for a text.
        return any(
            self._pattern.search(version) for version in _versions(text) if any(form in version for form in self._forms)
        )


def _wide(there: bytes, front: bytes, back: bytes) -> re.Pattern[bytes]:
    before, behind = (front + _LETTER.encode() + end for end in (back, b"(?:" + back + b"|\\Z)"))
    return re.compile(b"(?<!" + before + b")" + re.escape(there) + b"(?!" + behind + b")")


def _versions(text: bytes) -> Iterable[bytes]:
    """The text as it is, and without each kind of escape that is in it."""
    yield text
    if b"\\u" in text or b"\\/" in text:
        yield _SLASH.sub(b"/", _UNICODE.sub(_of_unicode, text))
    if b"&#" in text:
        yield _NUMBERED.sub(_of_number, text)
    if b"%" in text:
        yield _PERCENT.sub(lambda found: bytes([int(found[1], 16)]), text)


def _of_unicode(found: re.Match[bytes]) -> bytes:
    units = b"".join(bytes.fromhex(unit[:4].decode()) for unit in found[0].split(b"u")[1:])
    return units.decode("utf-16-be", "replace").encode()


def _of_number(found: re.Match[bytes]) -> bytes:
    number = int(found[1]) if found[1] else int(found[2], 16)
    return chr(number).encode("utf-8", "replace") if number <= 0x10FFFF else found[0]
