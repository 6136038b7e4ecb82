"""Rewrite a raw file without the objects and URLs to erase; every other byte stays the same.

A file is read as a stream, object by object, and never held whole. Formats: JSON in any framing (one object per line,
an array on one line or indented, consecutive objects) and lines of Python literals; plain, gzip or zstd, recognised by
the first bytes and not by the name.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from isal import igzip

from pipeline.core import signatures
from pipeline.core.errors import InputError
from pipeline.core.raw import database_urls
from pipeline.core.raw.addresses import encodable
from pipeline.core.raw.forms import JSON, form_of
from pipeline.core.raw.framing import BYTE_ORDER_MARK, DAMAGED, blocks, codec_of, inflated
from pipeline.core.raw.parts import SNIFFED_LINES
from pipeline.core.raw.shop_tables import is_table
from pipeline.core.raw.spans import object_end
from pipeline.core.raw.vintages import parsed
from pipeline.core.shop.mapping import Shop
from pipeline.erase.spelling import NameMatcher

BLOCK_BYTES = 4 << 20
OBJECT_BYTES = 64 << 20  # largest object, or gap between two, that is held in memory; a larger one means damage
FEW = 20  # URLs
INDENTED_BYTES = 1 << 20  # largest object over several lines in a file of lines
WASTED_BYTES = 64 << 20  # searched in vain for the ends of such objects, before every object is taken as one line
OWNERS = {"reviewer": ("reviewerID", "user_id"), "asin": ("asin", "parent_asin")}
OTHER_PRODUCTS = ("also_buy", "also_view", "related", "bought_together")  # fields with lists of asins
_BETWEEN_LINES = re.compile(rb"(?:[ \t\r\n\f\v,\0\x1e]|\xef\xbb\xbf)*")
_BETWEEN_ELEMENTS = re.compile(rb"(?:[ \t\r\n\f\v,\[\]\0\x1e]|\xef\xbb\xbf)*")
_WHOLE_FLOAT = re.compile(r"([+-]?[0-9]+)\.0+")
_SCALAR = re.compile(rb'"(?:[^"\\]|\\.)*+"|[^\s,\[\]{}"]+', re.DOTALL)
_JSON_OBJECT = re.compile(rb'\{\s*(?:["}]|\Z)')
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BINARY = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"PK\x03\x04", database_urls.MAGIC)


class UnreadableFileError(Exception):
    """The file cannot be parsed to its end, so nothing can be removed from it."""


@dataclass(frozen=True)
class Removal:
    """What to remove: every object of a reviewer or a product, and URLs from all objects."""

    kind: str  # reviewer, asin or url
    name: str
    urls: frozenset[str] = frozenset()
    _needles: tuple[bytes, ...] = field(init=False, repr=False)
    _matcher: NameMatcher = field(init=False, repr=False)
    _keys: frozenset[str] = field(init=False, repr=False)  # URLs without their signatures

    def __post_init__(self) -> None:
        urls = [*self.urls, *([self.name] if self.kind == "url" else [])]
        # Searching for many URLs is slow, so then every object with a URL is parsed.
        needles = [url.partition("?")[0].encode() for url in urls] if len(urls) <= FEW else [b"http", b"HTTP", b"s3://"]
        object.__setattr__(self, "_needles", (self.name.encode(), *needles))
        object.__setattr__(self, "_matcher", NameMatcher([self.name, *urls]))
        object.__setattr__(self, "_keys", frozenset(map(signatures.key, urls)))

    def may_be_in(self, text: bytes) -> bool:
        """Return False if the bytes cannot contain one of the names, escaped or not."""
        # The text may write a number differently (1.2e1); a replacement character in the name matches any byte.
        doubtful = b"\\" in text or self.name[:1] in "-.0123456789" or "\ufffd" in self.name
        return doubtful or any(needle in text for needle in self._needles)

    def matches(self, text: bytes) -> bool:
        """Return whether bytes that cannot be parsed contain one of the names."""
        return self._matcher.matches(text)

    def owns(self, pairs: list[tuple[str, Any]]) -> bool:
        """Return whether an id field of an object has the name. Keys may repeat, so the object comes as pairs."""
        keys = OWNERS.get(self.kind, ())
        return any(key in keys and self.name in _texts(value) for key, value in pairs)

    def without(self, value: dict) -> dict:
        """Return another owner's object without the URLs and their other sizes, or without the product in lists.

        Objects of the name in its lists are removed too, as an envelope has them.
        """
        value = {key: self._without_owned(each) for key, each in value.items()} if self.kind in OWNERS else value
        if self.kind == "asin":
            value = {k: _without_text(v, self.name) if k in OTHER_PRODUCTS else v for k, v in value.items()}
        return (
            {key: self._pruned(each) for key, each in _without_positions(value, self._is).items()}
            if self._keys
            else value
        )

    def _without_owned(self, value: Any) -> Any:
        if isinstance(value, list):
            kept = [each for each in value if not (isinstance(each, dict) and self.owns(list(each.items())))]
            return [self._without_owned(each) for each in kept]
        return {key: self._without_owned(each) for key, each in value.items()} if isinstance(value, dict) else value

    def _pruned(self, value: Any) -> Any:
        if isinstance(value, list):
            return [new for old in value if (new := self._pruned(old)) is not None or old is None]
        if isinstance(value, dict):
            value = _without_positions(value, self._is)
            if any(self._is(each) for each in value.values()):
                return None  # {size: URL}: one picture in all its sizes
            return {key: self._pruned(each) for key, each in value.items()}
        return None if self._is(value) else value

    def _is(self, value: Any) -> bool:
        return isinstance(value, str) and "://" in value and signatures.key(encodable(value).strip()) in self._keys


def _without_positions(value: dict, is_gone: Callable[[Any], bool]) -> dict:
    """Remove a picture from {size: [URLs]}: parallel lists lose the same positions."""
    lists = [each for each in value.values() if isinstance(each, list)]
    if not lists or len(lists) != len(value) or len({len(each) for each in lists}) != 1:
        return value
    kept = [position for position, sizes in enumerate(zip(*lists, strict=True)) if not any(map(is_gone, sizes))]
    return {key: [urls[position] for position in kept] for key, urls in value.items()}


def _without_text(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _without_text(each, name) for key, each in value.items()}
    return [each for each in value if each != name] if isinstance(value, list) else value


def _texts(value: Any) -> set[str]:
    """Return a value's texts as an id: `12`, `12.0`, `"12"` and `" 12 "` are equal; a float has its own text too."""
    found: set[str] = set()
    if isinstance(value, bool):
        found = {str(value).lower()}
    elif isinstance(value, str):
        found = {encodable(value).strip()}
    elif isinstance(value, (int, float)):
        found = {str(value), getattr(value, "written", "")}
    return found | {whole[1] for whole in map(_WHOLE_FLOAT.fullmatch, found) if whole}


class _Number(float):
    """A float with its original text, because DuckDB reads an id of 1.50 as 1.5."""

    written: str

    def __new__(cls, text: str) -> "_Number":
        number = super().__new__(cls, text)
        number.written = text
        return number


def is_rewritable(path: Path, shop: Shop | None = None) -> bool:
    """Return whether rows can be removed from a file: JSON whose keys are known, or what no reader reads.

    In a table, and in JSON with a shop's own keys, it is not known here which value is the name.
    """
    try:
        form = form_of(path)
        if form.kind != JSON or any(is_table(path, kind, shop, form) for kind in ("reviews", "products")):
            return False
        block = next(blocks(path), None)
        places = zip(block.starts[:SNIFFED_LINES], block.starts[1:], strict=False) if block else ()
        lines = (block.data[start:end].tobytes().decode("utf-8", "replace") for start, end in places if block)
        keys = {key for line in lines if isinstance(value := parsed(line.strip(), literal=True), dict) for key in value}
    except InputError:  # damaged, or of another kind: `rewrite` decides
        return True
    return not keys or any(key in keys for known in OWNERS.values() for key in known)


def rewrite(path: Path, out: Path, removal: Removal) -> int:
    """Write the file to `out` without what is removed, in its own compression; return how many objects changed.

    Raises:
        UnreadableFileError: the file is damaged or has another format; `out` is then incomplete.
        OSError: the file cannot be read, or `out` cannot be written.
    """
    with path.open("rb") as file:
        head = file.read(16)
        if head.startswith(_BINARY):
            raise UnreadableFileError("it is a binary table, of which no part can be removed")
        codec = codec_of(head[:4])
        file.seek(0)
        with inflated(file, codec) as stream, _compressed(out, codec) as sink:
            return _without(_readable(stream.read), sink.write, removal)


def _readable(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def guarded(size: int) -> bytes:
        try:
            return read(size)
        except DAMAGED as error:
            if isinstance(error, PermissionError):
                raise
            raise UnreadableFileError(str(error)) from error

    return guarded


def _compressed(path: Path, codec: str | None) -> Any:
    if codec == "gzip":
        return igzip.IGzipFile(path, "wb", compresslevel=2)
    return pa.CompressedOutputStream(str(path), codec) if codec else path.open("wb")


def _without(read: Callable[[int], bytes], write: Callable[[bytes], Any], removal: Removal) -> int:
    """Copy a text of objects from `read` to `write` without what is removed; return how many objects changed."""
    changed, gap, removed = 0, b"", False  # gap: the bytes between the last object that stays and the next
    for is_value, piece in _pieces(read):
        if not is_value:
            gap = _joined(gap, piece) if removed else gap + piece
            removed = False
            continue
        kept = _kept(piece, removal) if removal.may_be_in(piece) else piece
        changed += kept != piece
        removed = not kept
        if kept:
            write(gap + kept)
            gap = b""
    write(gap)
    return changed


def _joined(before: bytes, after: bytes) -> bytes:
    """Join the gaps before and after a removed object, without one separator."""
    mark = after.lstrip()[:1]
    if mark == b",":
        return before if after.strip() == b"," else before + after[after.index(b",") + 1 :]
    if mark == b"]":  # it was the last element, so the comma before it goes
        return before.rstrip().removesuffix(b",") + after
    newline = after.find(b"\n")
    return before + after[newline + 1 :]


def _kept(piece: bytes, removal: Removal) -> bytes:
    """Return what remains of a piece: all, part or nothing.

    A piece that cannot be parsed is removed if it contains a name.
    """
    found = _parsed(piece)
    if found is None:
        return b"" if removal.matches(piece) else piece
    pairs, value, written = found
    if removal.owns(pairs):
        return b""
    try:
        new = removal.without(value)
        return piece if new == value else written(new).encode()
    except RecursionError:
        return b"" if removal.matches(piece) else piece


def _parsed(piece: bytes) -> tuple[list[tuple[str, Any]], dict, Callable[[Any], str]] | None:
    """Parse an object: its pairs with repeated keys, the object, and the function to write it; None if it is none."""
    text = piece.decode("utf-8", "replace")
    pairs: list[tuple[str, Any]] = []

    def keep_pairs(found: list[tuple[str, Any]]) -> dict:  # the last call is for the outermost object
        pairs[:] = found
        return dict(found)

    try:
        value, written = json.loads(text, object_pairs_hook=keep_pairs, parse_float=_Number), json.dumps
    except (ValueError, RecursionError):
        value, written = parsed(text, literal=True), repr
        pairs = list(value.items()) if isinstance(value, dict) else []
    return (pairs, value, written) if isinstance(value, dict) else None


class _Buffer:
    """The part of a stream that has been read but not taken."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read, self.data, self.at = read, b"", 0

    def more(self) -> bool:
        """Read more; return False at the end of the stream. Positions in `data` become invalid."""
        rest = self.data[self.at :]
        if len(rest) > OBJECT_BYTES:
            raise UnreadableFileError(f"it has an object longer than {OBJECT_BYTES >> 20} MiB")
        read = self._read(max(BLOCK_BYTES, len(rest)))
        self.data, self.at = rest + read, 0
        return bool(read)

    def take(self, end: int) -> bytes:
        """Take the bytes up to the position `end`."""
        taken, self.at = self.data[self.at : end], end
        return taken

    def line_end(self) -> int:
        """Find the end of the line, before its newline and trailing blanks."""
        while (newline := self.data.find(b"\n", self.at)) < 0 and self.more():
            pass
        end = newline if newline >= 0 else len(self.data)
        return self.at + len(self.data[self.at : end].rstrip())


def _pieces(read: Callable[[int], bytes]) -> Iterator[tuple[bool, bytes]]:
    """Split the text: yield in turn a gap between values (False) and a value or an unparsable line (True)."""
    buffer = _Buffer(read)
    buffer.more()
    if buffer.data[:2] in _UTF16 or b"\0" in buffer.data[:4]:
        raise UnreadableFileError("it is not UTF-8")
    if buffer.data.startswith(BYTE_ORDER_MARK):
        yield False, buffer.take(len(BYTE_ORDER_MARK))
    between, next_end = _BETWEEN_LINES, _LineEnds().next_end
    first = True
    while True:
        while (end := _end_of(between, buffer)) == len(buffer.data):
            if not buffer.more():
                yield False, buffer.take(end)
                return
        if first and buffer.data[end : end + 1] == b"[":
            between, next_end, first = _BETWEEN_ELEMENTS, _element_end, False
            continue
        first = False
        yield False, buffer.take(end)
        yield True, buffer.take(next_end(buffer))


def _end_of(expression: re.Pattern[bytes], buffer: _Buffer) -> int:
    found = expression.match(buffer.data, buffer.at)
    return found.end() if found else buffer.at


def _element_end(buffer: _Buffer) -> int:
    """Find the end of the array element at the buffer's position."""
    while True:
        if buffer.data[buffer.at] == ord("{"):
            end = object_end(buffer.data, buffer.at)
        else:
            end = _end_of(_SCALAR, buffer)
            end = None if end in (buffer.at, len(buffer.data)) else end  # it may continue
        if end is not None:
            return end
        if not buffer.more():
            raise UnreadableFileError("it is a damaged array")


def _whole_line(data: bytes, at: int, newline: int) -> int | None:
    """Find the end of a line that is one object, as nearly all lines are; None if Python's fast parser refuses it."""
    line = data[at:newline].rstrip()
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return None
    return at + len(line)


class _LineEnds:
    """Finds the end of the value at a buffer's position, in a text of lines or of consecutive objects."""

    def __init__(self) -> None:
        self._wasted = 0

    def next_end(self, buffer: _Buffer) -> int:
        """Find the end of a JSON object on one or several lines, else the end of the line."""
        while _JSON_OBJECT.match(buffer.data, buffer.at):
            newline = buffer.data.find(b"\n", buffer.at)
            if newline >= 0 and (end := _whole_line(buffer.data, buffer.at, newline)) is not None:
                return end
            end = object_end(buffer.data, buffer.at, newline if newline >= 0 else None)
            if end is not None:
                return end
            if newline >= 0:
                if (end := self._over_lines(buffer)) is not None:
                    return end
                break
            if not buffer.more():
                break
        return buffer.line_end()

    def _over_lines(self, buffer: _Buffer) -> int | None:
        """Find the end of an object over several lines; None if there is none.

        It searches only if the line begins an object, and at most WASTED_BYTES in vain, because a damaged file may have
        many such lines.
        """
        line = buffer.data[buffer.at : buffer.line_end()].decode("utf-8", "replace")
        try:
            json.loads(line)
        except json.JSONDecodeError as error:
            if error.pos < len(line) or self._wasted > WASTED_BYTES:
                return None
        except (ValueError, RecursionError):
            return None
        while len(buffer.data) - buffer.at < INDENTED_BYTES and buffer.more():
            pass
        limit = buffer.at + INDENTED_BYTES
        end = object_end(buffer.data, buffer.at, limit)
        if end is not None and _parsed(buffer.data[buffer.at : end]) is not None:
            return end
        self._wasted += min(len(buffer.data), limit) - buffer.at
        return None
