"""A raw file rewritten without what names somebody: parsed object by object, and nothing else of it changes a byte.

A file is read as a stream and never held whole. JSON in any framing (an object a line, an array on one line or
indented, objects one after the other) and lines of Python literals, plain or gzip or zstd by their first bytes,
whatever the file is called. Which of a home's files are rewritten is `erase.py`'s to say; a further format is one more
function from a stream to a stream.
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
from pipeline.core.raw.framing import BYTE_ORDER_MARK, DAMAGED, codec_of, inflated
from pipeline.core.raw.spans import object_end
from pipeline.core.raw.vintages import encodable, parsed
from pipeline.erase.spelling import Spelled

BLOCK_BYTES = 4 << 20
OBJECT_BYTES = 64 << 20  # an object, or what stands between two, is held: a larger one is damage
FEW = 20
INDENTED_BYTES = 1 << 20  # of an object over several lines, among lines
WASTED_BYTES = 64 << 20  # looked through in vain for the ends of such; after that an object is on one line
OWNERS = {"reviewer": ("reviewerID", "user_id"), "asin": ("asin", "parent_asin")}
OTHER_PRODUCTS = ("also_buy", "also_view", "related", "bought_together")  # lists of asins that a product names
_BETWEEN_LINES = re.compile(rb"[ \t\r\n\f\v,]*")
_BETWEEN_ELEMENTS = re.compile(rb"[ \t\r\n\f\v,\[\]]*")
_SCALAR = re.compile(rb'"(?:[^"\\]|\\.)*+"|[^\s,\[\]{}"]+', re.DOTALL)
_JSON_OBJECT = re.compile(rb'\{\s*(?:["}]|\Z)')
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class UnreadableFileError(Exception):
    """The file is no text that can be parsed to its end, so nothing can be taken out of it."""


@dataclass(frozen=True)
class Wanted:
    """What has to go: every object of a reviewer or a product, and URLs out of everybody's."""

    kind: str  # reviewer, asin or url
    name: str
    urls: frozenset[str] = frozenset()  # that go with it
    _needles: tuple[bytes, ...] = field(init=False, repr=False)
    _named: Spelled = field(init=False, repr=False)
    _keys: frozenset[str] = field(init=False, repr=False)  # URLs without their signatures

    def __post_init__(self) -> None:
        urls = [*self.urls, *([self.name] if self.kind == "url" else [])]
        # Of many URLs one would look for long: then every URL may be one of them.
        needles = [url.partition("?")[0].encode() for url in urls] if len(urls) <= FEW else [b"http", b"HTTP"]
        object.__setattr__(self, "_needles", (self.name.encode(), *needles))
        object.__setattr__(self, "_named", Spelled([self.name, *urls]))
        object.__setattr__(self, "_keys", frozenset(map(signatures.key, urls)))

    def may_be_in(self, text: bytes) -> bool:
        """False where the bytes cannot hold one of the names, escaped or not."""
        # A number can be written in other digits (1.2e1), and a replacement character can be any byte.
        doubtful = b"\\" in text or self.name[:1] in "-.0123456789" or "\ufffd" in self.name
        return doubtful or any(needle in text for needle in self._needles)

    def stands_in(self, text: bytes) -> bool:
        """Return whether bytes that cannot be parsed contain one of the names."""
        return self._named.stands_in(text)

    def owns(self, pairs: list[tuple[str, Any]]) -> bool:
        """Whether an object is theirs, by any of its fields that say whose it is; a key may stand twice."""
        keys = OWNERS.get(self.kind, ())
        return any(key in keys and self.name in _texts(value) for key, value in pairs)

    def without(self, value: dict) -> dict:
        """Another's object without the URLs, a picture with all its sizes; or without the product in its lists."""
        if self.kind == "asin":
            value = {k: _without_text(v, self.name) if k in OTHER_PRODUCTS else v for k, v in value.items()}
        return (
            {key: self._pruned(each) for key, each in _without_places(value, self._is).items()} if self._keys else value
        )

    def _pruned(self, value: Any) -> Any:
        if isinstance(value, list):
            return [new for old in value if (new := self._pruned(old)) is not None or old is None]
        if isinstance(value, dict):
            value = _without_places(value, self._is)
            if any(self._is(each) for each in value.values()):
                return None  # {size: URL}: the picture in all sizes
            return {key: self._pruned(each) for key, each in value.items()}
        return None if self._is(value) else value

    def _is(self, value: Any) -> bool:
        return isinstance(value, str) and "://" in value and signatures.key(encodable(value).strip()) in self._keys


def _without_places(value: dict, gone: Callable[[Any], bool]) -> dict:
    """{size: [URLs]} without a picture in all sizes: lists side by side lose the same places."""
    lists = [each for each in value.values() if isinstance(each, list)]
    if not lists or len(lists) != len(value) or len({len(each) for each in lists}) != 1:
        return value
    kept = [place for place, several in enumerate(zip(*lists, strict=True)) if not any(map(gone, several))]
    return {key: [many[place] for place in kept] for key, many in value.items()}


def _without_text(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _without_text(each, name) for key, each in value.items()}
    return [each for each in value if each != name] if isinstance(value, list) else value


def _texts(value: Any) -> set[str]:
    """How a value reads as an id: `12`, `"12"` and `" 12 "` are one; see `_Number` for what is written otherwise."""
    if isinstance(value, bool):
        return {str(value).lower()}
    if isinstance(value, str):
        return {encodable(value).strip()}
    if isinstance(value, (int, float)):
        return {str(value), getattr(value, "written", "")}
    return set()


class _Number(float):
    """A number that remembers how it was written: DuckDB gives an id of 1.50 as 1.5."""

    written: str

    def __new__(cls, text: str) -> "_Number":
        number = super().__new__(cls, text)
        number.written = text
        return number


def rewrite(path: Path, out: Path, wanted: Wanted) -> int:
    """Write the file to `out` without what has to go, compressed as it was; how many objects went or changed.

    Raises:
        UnreadableFileError: it is damaged, or no such text; `out` is then of no use.
        OSError: it cannot be read, or `out` not written.
    """
    with path.open("rb") as file:
        codec = codec_of(file.read(4))
        file.seek(0)
        with inflated(file, codec) as stream, _compressed(out, codec) as sink:
            return _without(_readable(stream.read), sink.write, wanted)


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


def _without(read: Callable[[int], bytes], write: Callable[[bytes], Any], wanted: Wanted) -> int:
    """Copy a text of objects from `read` to `write`, without what has to go; how many objects went or changed."""
    gone, between, went = 0, b"", False  # between: what stands between the last object that stays and the next
    for is_value, piece in _pieces(read):
        if not is_value:
            between = _joined(between, piece) if went else between + piece
            went = False
            continue
        kept = _kept(piece, wanted) if wanted.may_be_in(piece) else piece
        gone += kept != piece
        went = not kept
        if kept:
            write(between + kept)
            between = b""
    write(between)
    return gone


def _joined(before: bytes, behind: bytes) -> bytes:
    """What stands between two objects after the one between `before` and `behind` went."""
    mark = behind.lstrip()[:1]
    if mark == b",":  # its comma goes with it
        return before if behind.strip() == b"," else before + behind[behind.index(b",") + 1 :]
    if mark == b"]":  # the last of an array: the comma before it goes
        return before.rstrip().removesuffix(b",") + behind
    newline = behind.find(b"\n")
    return before + behind[newline + 1 :]  # its line's end goes with it


def _kept(piece: bytes, wanted: Wanted) -> bytes:
    """The piece as it stays: as it is, without some values, or not at all.

    What nobody can parse belongs to nobody else: it goes where it names them.
    """
    found = _parsed(piece)
    if found is None:
        return b"" if wanted.stands_in(piece) else piece
    pairs, value, written = found
    if wanted.owns(pairs):
        return b""
    try:
        new = wanted.without(value)
        return piece if new == value else written(new).encode()
    except RecursionError:
        return b"" if wanted.stands_in(piece) else piece


def _parsed(piece: bytes) -> tuple[list[tuple[str, Any]], dict, Callable[[Any], str]] | None:
    """The pairs of an object, those with the same key too; the object; and how one is written. None: it is none."""
    text = piece.decode("utf-8", "replace")
    pairs: list[tuple[str, Any]] = []

    def last(found: list[tuple[str, Any]]) -> dict:  # the outermost object is the last to be made
        pairs[:] = found
        return dict(found)

    try:
        value, written = json.loads(text, object_pairs_hook=last, parse_float=_Number), json.dumps
    except (ValueError, RecursionError):
        value, written = parsed(text, literal=True), repr
        pairs = list(value.items()) if isinstance(value, dict) else []
    return (pairs, value, written) if isinstance(value, dict) else None


class _Buffer:
    """What has been read of a stream and not been taken."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read, self.data, self.at = read, b"", 0

    def more(self) -> bool:
        """Read on; False at the end. Positions in `data` are others afterwards."""
        rest = self.data[self.at :]
        if len(rest) > OBJECT_BYTES:
            raise UnreadableFileError(f"something in it is longer than {OBJECT_BYTES >> 20} MiB")
        read = self._read(max(BLOCK_BYTES, len(rest)))
        self.data, self.at = rest + read, 0
        return bool(read)

    def take(self, end: int) -> bytes:
        """The bytes up to the position `end`."""
        taken, self.at = self.data[self.at : end], end
        return taken

    def line_end(self) -> int:
        """Where the line ends, before its newline and blanks."""
        while (newline := self.data.find(b"\n", self.at)) < 0 and self.more():
            pass
        end = newline if newline >= 0 else len(self.data)
        return self.at + len(self.data[self.at : end].rstrip())


def _pieces(read: Callable[[int], bytes]) -> Iterator[tuple[bool, bytes]]:
    """The whole text: in turn what stands between values (False) and a value, or a line that is none (True)."""
    buffer = _Buffer(read)
    buffer.more()
    if buffer.data[:2] in _UTF16 or b"\0" in buffer.data[:4]:
        raise UnreadableFileError("it is not UTF-8")
    if buffer.data.startswith(BYTE_ORDER_MARK):
        yield False, buffer.take(len(BYTE_ORDER_MARK))
    between, next_end = _BETWEEN_LINES, _Lines().next_end
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
    """Where the element of an array ends that begins at the buffer's place."""
    while True:
        if buffer.data[buffer.at] == ord("{"):
            end = object_end(buffer.data, buffer.at)
        else:
            end = _end_of(_SCALAR, buffer)
            end = None if end in (buffer.at, len(buffer.data)) else end  # it may go on
        if end is not None:
            return end
        if not buffer.more():
            raise UnreadableFileError("it begins as an array and is damaged")


def _whole_line(data: bytes, at: int, newline: int) -> int | None:
    """The end of the object that a line is, as nearly all are; None where it is none to Python's fast parser."""
    line = data[at:newline].rstrip()
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return None
    return at + len(line)


class _Lines:
    """Where a value ends that begins at a buffer's place, in a text of lines or of objects one after the other."""

    def __init__(self) -> None:
        self._wasted = 0

    def next_end(self, buffer: _Buffer) -> int:
        """The end of a JSON object, on its line or over several; else that of the line."""
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
        """The end of an object that is written over several lines; None where there is none.

        Looked for only where the line is the beginning of an object, and not for ever: in a damaged file many are.
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
