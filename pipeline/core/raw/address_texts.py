"""Split the text of a field into addresses of pictures: lists of several notations, separators, what is around one.

What an address means is decided in `addresses.py`. Every pattern takes linear time, because strangers write the texts.
"""

import ast
import html
import json
import re
from collections.abc import Sequence

from pipeline.core.local_address import ARCHIVE
from pipeline.core.stored_address import S3

LIST_CHARACTERS = 1 << 20  # a longer list in a text is not read: ast builds a tree of many times its size
ADDRESS_CHARACTERS = 10_000  # a longer text is no address, so nothing is removed around it
WEB = ("http://", "https://")
PICTURES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".avif"),
    *(".heic", ".heif", ".bmp", ".tif", ".tiff", ".svg", ".jp2", ".jxl", ".ico"),  # refused later, with their reason
)
VIDEOS = (
    *(".mp4", ".m4v", ".mov", ".webm", ".avi", ".mkv", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp"),
    *(".m3u8", ".mpd", ".gifv"),
)
_AROUND = " \t\r\n\f\v\xa0\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # white space and what is invisible
# One web address, in which nothing could separate addresses or be around one.
_SINGLE = re.compile(r"https?://[^\s|,;<>^\"'(){}\[\]\\/?#][^\s|,;<>^\"'(){}\[\]\\]*")
# One quoted text after the other: a Python list of texts, or a NumPy array's, which has no commas.
_QUOTED = re.compile(r"""[\s,]*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")""")
_ARRAY = re.compile(r"\barray\((\[[^\[\]]*\])(?:, dtype=[\w<>|=]+)?\)")  # as NumPy writes one
# What may be around one address; each has the address in one of its groups.
_WRAPPERS = (
    re.compile(r"\"([^\"]*)\"|'([^']*)'|<([^<>\s]*)>"),
    re.compile(r"=\s*(?:IMAGE|HYPERLINK)\(\s*\"([^\"]*)\"\s*(?:[,;][^()]*)?\)", re.IGNORECASE),
    re.compile(r"url\(\s*(?:\"([^\"]*)\"|'([^']*)'|([^\"'()\s]*))\s*\)", re.IGNORECASE),
    re.compile(r"!?\[[^\[\]]*\]\(\s*([^()\s]*)\s*\)"),
)
_IMG = re.compile(r"<img\b(?:\s[^<>]*?)?\ssrc\s*=\s*(?:\"([^\"<>]*)\"|'([^'<>]*)'|([^\s\"'<>]+))[^<>]*>", re.IGNORECASE)
_BREAK = re.compile(r"<br\s?/?>", re.IGNORECASE)
# Before another web address: white space, or a mark that may as well be a part of the first.
_BEFORE_ADDRESS = re.compile(r"(\s|[,;^>])(?=(?:https?:)?//)", re.IGNORECASE)
_BETWEEN_PATHS = re.compile(r"[,;\n\t]")


def is_single(text: str) -> bool:
    """Return whether the text is one web address, of which nothing could be split off or removed."""
    return text.isascii() and _SINGLE.fullmatch(text) is not None


def bare(text: str) -> str:
    """Remove invisible characters, quotation marks, and the formula or markup around a single address."""
    text = text.strip(_AROUND)
    if text[:12].lower().startswith(("http:\\/\\/", "https:\\/\\/")):
        text = text.replace("\\/", "/")
    if len(text) > ADDRESS_CHARACTERS or text[-1:] not in ('"', "'", ">", ")"):
        return text
    if text.count("<") == text.count(">") == 1 and (found := _IMG.fullmatch(text)) is not None:
        return html.unescape(_group(found)).strip(_AROUND)
    for wrapper in _WRAPPERS:
        found = wrapper.fullmatch(text)
        inner = _group(found).strip(_AROUND) if found is not None else ""
        if _begins_address(inner) or inner.lower().endswith(PICTURES):
            return inner
    return text


def list_in(text: str) -> object | None:
    """Read a list or an object in a trimmed text: JSON, Python, NumPy's array of texts, or `[a, b]` without quotes."""
    if text[:1] not in ("[", "{", "(", '"') or len(text) > LIST_CHARACTERS:
        return None
    try:
        read = json.loads(text)
        return [read] if isinstance(read, str) else read
    except (ValueError, RecursionError):
        pass
    if not text.endswith(("]", "}", ")")):
        return None
    at, quoted = 1, []
    while found := _QUOTED.match(text, at):
        quoted.append(found[1] if found[1] is not None else found[2])
        at = found.end()
    if quoted and not text[at:-1].strip(" \t\r\n,"):
        return quoted if "\\" not in text else [piece.replace("\\", "") for piece in quoted]
    try:
        read = ast.literal_eval(_ARRAY.sub(r"\1", text) if "array(" in text else text)
        return list(read) if isinstance(read, (set, tuple)) else read
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        pass
    inner = [piece.strip() for piece in text[1:-1].split(",")]
    return inner if all(_begins_address(piece) or piece.lower().endswith(PICTURES) for piece in inner) else None


def pieces_of(text: str) -> Sequence[str]:
    """Split a trimmed text at what separates its addresses; one address, or whatever else it is, stays as it is."""
    if "<" in text and "<br" in text.lower():
        return [piece for part in _BREAK.split(text) for piece in pieces_of_line(part.strip(_AROUND)) if piece]
    return pieces_of_line(text)


def pieces_of_line(text: str) -> Sequence[str]:
    """Split a trimmed text without `<br>`."""
    pieces = [text]
    if "|" in text:
        parts = [part for part in map(str.strip, text.split("|")) if part]
        if all(_begins_address(part) or (not _is_web(parts[0]) and part.lower().endswith(PICTURES)) for part in parts):
            pieces = parts
    return [found for piece in pieces for found in _split(piece)]


def _split(text: str) -> list[str]:
    if not _is_web(text):
        if _BETWEEN_PATHS.search(text) is None:
            return [text]
        parts = [part for part in map(str.strip, _BETWEEN_PATHS.split(text)) if part]
        return parts if len(parts) > 1 and all(part.lower().endswith(PICTURES) for part in parts) else [text]
    pieces, start = list[str](), 0
    for found in _BEFORE_ADDRESS.finditer(text):
        at = found.start()
        # A mark that is no white space separates only if a picture's name ends before it.
        if found[1].isspace() or (at - start < ADDRESS_CHARACTERS and _ends_picture(text[start:at])):
            pieces.append(text[start:at])
            start = found.end()
    return [piece.strip(" ,;>^\t\r\n") for piece in (*pieces, text[start:])] if pieces else [text]


def _ends_picture(text: str) -> bool:
    return text.partition("?")[0].partition("#")[0].rstrip(" ,;").lower().endswith(PICTURES)


def _is_web(text: str) -> bool:
    return text[:8].lower().startswith((*WEB, "//"))


def _begins_address(text: str) -> bool:
    return text[:16].lower().startswith((*WEB, "/", "./", "../", "file:", ARCHIVE, S3))


def _group(found: re.Match[str]) -> str:
    return next(group for group in found.groups() if group is not None)
