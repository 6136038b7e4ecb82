"""Read an input file's lines in blocks of a few megabytes, with their numbers and byte offsets.

This module handles compression and framing; `sources.py` chooses the files, `parsing.py` parses the lines.
"""

import codecs
import itertools
import json
import queue
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
from isal import igzip
from isal.isal_zlib import IsalError

from pipeline.core.errors import InputError
from pipeline.core.raw.spans import object_end

BLOCK_BYTES = 16 << 20  # read and parsed at once: large enough for vectorised parsing, small enough to hold several
MAX_LINE_BYTES = 16 << 20  # a longer line is damage, not a review; it is skipped without being held in memory
HEAD_BYTES = 2000  # kept of such a line, enough for 500 characters of any script
CARRIED_BYTES = 1 << 16  # room before a chunk for the incomplete last line of the previous chunk
SEARCHED_BYTES = 1 << 18  # searched for newlines at once, so that intermediate arrays fit the processor's cache
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DAMAGED = (OSError, EOFError, cast(type[Exception], IsalError))  # what decompressors raise
_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"[ \t\r\n]*")


@dataclass
class Meter:
    """The bytes read of a file, as stored on disk."""

    bytes: int = 0


@dataclass(frozen=True)
class Block:
    """Complete lines of one file: line k is data[starts[k]:starts[k + 1]], with its newline.

    `data` is valid until `release` is called, which lets the reader reuse its memory.
    """

    data: np.ndarray  # [bytes] uint8
    starts: np.ndarray  # [lines + 1] int64
    first_line: int  # 1-based number of the first line in the file
    offset: int | None  # byte offset of `data` in the decompressed file; None for elements of a JSON array
    too_long: bool = False  # whether `data` is only the head of one line over MAX_LINE_BYTES
    release: Callable[[], None] = lambda: None
    places: np.ndarray | None = None  # [lines, 2] int64: number and offset (-1: none) of irregular lines

    def place(self, row: int) -> tuple[int, int | None]:
        """Return the number in the file of the line at `row`, and its byte offset if it has one."""
        if self.places is not None:
            line, offset = self.places[row].tolist()
            return line, offset if offset >= 0 else None
        return self.first_line + row, None if self.offset is None else self.offset + int(self.starts[row])


def blocks(path: Path, block_bytes: int = BLOCK_BYTES, meter: Meter | None = None) -> Iterator[Block]:
    """Read the lines of `path` in order, in blocks of about `block_bytes`.

    A line over MAX_LINE_BYTES comes cut, in its own block. Gzip and zstd are recognised by their first bytes, a JSON
    array by its opening `[{`; each of its elements counts as a line.

    Raises:
        InputError: the file cannot be read, or is cut short or damaged; discard the blocks yielded before.
    """
    try:
        with path.open("rb") as raw:
            magic = raw.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    chunks = _chunks(path, codec_of(magic), block_bytes, meter or Meter())
    first = next(chunks, None)
    if first is None:
        return
    skipped = len(BYTE_ORDER_MARK) if first.text(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK else 0
    first.start += skipped
    opening = first.text(HEAD_BYTES).lstrip()
    whole = itertools.chain((first,), chunks)
    if opening[:1] == b"[" and opening[1:].lstrip()[:1] in (b"{", b""):
        yield from _array_blocks(path, whole)
    else:
        yield from _line_blocks(whole, skipped)


class _Chunk:
    """Decompressed bytes in `memory` from `start` to `end`, with room before them."""

    def __init__(self, memory: np.ndarray, free: queue.SimpleQueue) -> None:
        self.memory, self._free = memory, free
        self.start = self.end = CARRIED_BYTES

    def fill(self, stream: Any) -> "_Chunk":
        self.end = self.start + stream.readinto(self.memory[self.start :])
        return self

    def content(self) -> np.ndarray:
        return self.memory[self.start : self.end]

    def text(self, most: int) -> bytes:
        return self.memory[self.start : min(self.end, self.start + most)].tobytes()

    def put_before(self, carried: bytes) -> None:
        """Prepend `carried` to the chunk."""
        if len(carried) > self.start:
            self.memory = np.concatenate((np.frombuffer(carried, np.uint8), self.content()))
            self.start, self.end = 0, len(self.memory)
            self._free = queue.SimpleQueue()  # memory of this size is not reused
        else:
            self.start -= len(carried)
            self.memory[self.start : self.start + len(carried)] = np.frombuffer(carried, np.uint8)

    def release(self) -> None:
        self._free.put(self.memory)


def _chunks(path: Path, codec: str | None, block_bytes: int, meter: Meter) -> Iterator[_Chunk]:
    """Read the file's decompressed bytes; a thread inflates the next chunk while the caller parses this one.

    Memory is reused, because clearing fresh pages for every chunk took a tenth of the whole ingest.
    """
    free: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    read = 0

    def next_chunk() -> _Chunk:
        try:
            memory = free.get_nowait()
        except queue.Empty:
            memory = np.empty(CARRIED_BYTES + block_bytes, np.uint8)
        return _Chunk(memory, free).fill(stream)

    with path.open("rb") as raw, inflated(raw, codec) as stream, ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(next_chunk)
        while True:
            try:
                chunk = pending.result()
            except DAMAGED as error:
                raise InputError(
                    f"{path}: the compressed file is cut short or damaged ({error}); it was readable for about"
                    f" {read:,} decompressed bytes, and nothing of it was kept. Fetch the file again"
                ) from error
            meter.bytes = raw.tell()
            if chunk.end == chunk.start:
                return
            pending = ahead.submit(next_chunk)
            read += chunk.end - chunk.start
            yield chunk


def codec_of(magic: bytes) -> str | None:
    """Recognise a file's compression by its first four bytes: gzip, zstd or None."""
    return "gzip" if magic[:2] == b"\x1f\x8b" else "zstd" if magic[:4] == b"\x28\xb5\x2f\xfd" else None


def inflated(raw: BinaryIO, codec: str | None) -> Any:
    """Open a binary stream of the decompressed bytes of `raw`."""
    if codec == "gzip":
        return igzip.IGzipFile(fileobj=raw, mode="rb")
    return pa.CompressedInputStream(raw, codec) if codec else raw


def _line_blocks(chunks: Iterator[_Chunk], offset: int) -> Iterator[Block]:
    line, rest, passed = 1, b"", 0  # passed: bytes already dropped of an overlong line
    for chunk in chunks:
        if passed:  # inside an overlong line, whose head is in `rest`
            ends = _line_ends(chunk.content())
            if not len(ends):
                passed += chunk.end - chunk.start
                chunk.release()
                continue
            yield _cut_line(rest, line, offset)
            line, offset, passed = line + 1, offset + passed + int(ends[0]), 0
            chunk.start += int(ends[0])
        elif rest:
            chunk.put_before(rest)
        data = chunk.content()
        ends = _line_ends(data)
        whole = int(ends[-1]) if len(ends) else 0
        rest = data[whole:].tobytes()
        if len(ends):
            starts = np.concatenate((np.zeros(1, np.int64), ends))
            yield Block(data[:whole], starts, line, offset, release=chunk.release)
            line, offset = line + len(ends), offset + whole
        else:
            chunk.release()
        if len(rest) > MAX_LINE_BYTES:
            rest, passed = rest[:HEAD_BYTES], len(rest)
    if passed:
        yield _cut_line(rest, line, offset)
    elif rest:  # a last line without its newline
        yield Block(np.frombuffer(rest, np.uint8), np.array([0, len(rest)], np.int64), line, offset)


def _cut_line(head: bytes, line: int, offset: int) -> Block:
    return Block(np.frombuffer(head, np.uint8), np.array([0, len(head)], np.int64), line, offset, too_long=True)


def _line_ends(data: np.ndarray) -> np.ndarray:
    """Find the position after each newline of `data` [bytes]: int64."""
    found = [
        np.flatnonzero(data[at : at + SEARCHED_BYTES] == ord("\n")) + (at + 1)
        for at in range(0, len(data), SEARCHED_BYTES)
    ]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _array_blocks(path: Path, chunks: Iterator[_Chunk]) -> Iterator[Block]:
    """Turn each element of a JSON array into a line as `json` writes it; yield a block per chunk.

    Memory holds a chunk and one element, so an element may have at most MAX_LINE_BYTES characters. `json` parses them,
    because a streaming parser (ijson) refuses NaN and integers over 64 bits, which JSON lines may hold, and its memory
    is quadratic in an element's depth.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, count, mark = "", 0, ""  # mark: the bracket or comma before the next element
    for chunk in itertools.chain(chunks, (None,)):
        text += decoder.decode(chunk.content().tobytes() if chunk else b"", final=not chunk)
        if chunk:
            chunk.release()
        at, lines, problem = 0, list[str](), ""
        if not mark:
            at, mark = text.index("[") + 1, "["
        if mark == "[" and text.startswith("]", _past_blanks(text, at)):
            at, mark = text.index("]", at) + 1, "]"
        while mark != "]" and not problem:
            try:
                line, end = _element(text, at)
            except (ValueError, RecursionError) as error:  # damage, or the element continues in the next chunk
                problem = str(getattr(error, "msg", error))
            else:
                lines.append(line)
                at, mark = end + 1, text[end]
        text, count = text[at:], count + len(lines)
        if mark == "]" and text.strip():
            problem = f"something follows its closing bracket: {text.strip()[:20]!r}"
        if problem and (mark == "]" or not chunk or len(text) > MAX_LINE_BYTES):
            raise InputError(
                f"{path}: begins as a JSON array but does not parse at element {count + 1:,} ({problem}); "
                "save it as JSON lines"
            )
        if lines:
            data = np.frombuffer("".join(lines).encode(), np.uint8)
            starts = np.concatenate((np.zeros(1, np.int64), _line_ends(data)))
            yield Block(data, starts, count - len(lines) + 1, None)


def _element(text: str, at: int) -> tuple[str, int]:
    """Return the next array element from `at` on as a line, and the position of the comma or bracket after it.

    Raises ValueError or RecursionError if it is damaged, too long, or incomplete in `text`.
    """
    start = _past_blanks(text, at)
    try:
        element, end = _DECODER.raw_decode(text, start)
        line = json.dumps(element)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError):  # too deep, or a number of thousands of digits; the parser of lines decides
        data = text[start:].encode()
        size = object_end(data, 0)
        if size is None:
            raise
        line = data[:size].decode()
        end = start + len(line)
        line = line.replace("\n", " ").replace("\r", " ")
    behind = _past_blanks(text, end)
    if text[behind : behind + 1] not in (",", "]"):  # also at the end of the text, where `12` may continue as `1234`
        raise ValueError("a comma or the closing bracket is missing")
    if end - start > MAX_LINE_BYTES:
        raise ValueError(f"the next is longer than {MAX_LINE_BYTES:,} characters")
    return line + "\n", behind


def _past_blanks(text: str, at: int) -> int:
    """Return the first position from `at` on that is not JSON white space."""
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at
