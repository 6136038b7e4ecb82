"""Escape untrusted text (from files, servers, addresses, arguments) before it is printed or logged.

An escape sequence in a product's title could set a terminal's window title, hide a line or type input for the person.
So quoted text shows such characters as escapes. Rich and HTML markup are not escaped here.
"""

import re

LIMIT = 200  # characters of one quotation

# Characters that move, hide or reorder text, or are invisible: C0, DEL and C1; zero-width and bidi characters; line and
# paragraph separators; fillers and tags; lone surrogates, which cannot be encoded.
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff"
)
_QUOTED = re.compile(f"[{_UNSEEN}]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: object, limit: int = LIMIT) -> str:
    r"""Quote `text` in one line: unseen characters as \xNN, \uNNNN or \UNNNNNNNN, cut to `limit` characters with "…".

    It never cuts within an escape, and quoting twice changes nothing.
    """
    given = str(text)
    shown = _QUOTED.sub(_escape, given[: limit + 1])
    if len(shown) <= limit and len(given) <= limit:
        return shown
    kept, room = [], max(limit - 1, 0)
    for character in given[:room]:
        escaped = _QUOTED.sub(_escape, character)
        room -= len(escaped)
        if room < 0:
            break
        kept.append(escaped)
    return "".join(kept) + "…"


def printable_lines(text: object) -> str:
    """Escape our own message of several lines, which may quote others: like `printable`, but uncut and with newlines.

    Call `printable` first on quoted text that may be long or hold newlines.
    """
    return "\n".join(_QUOTED.sub(_escape, line) for line in str(text).split("\n"))


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
