"""Read an input file's lines in blocks of a few megabytes, with their numbers and byte offsets.

This module handles compression and framing; `sources.py` chooses the files, `parsing.py` parses the lines.
"""

import codecs
import itertools
import queue
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
from isal import igzip
from isal.isal_zlib import IsalError

from pipeline.core.errors import InputError
from pipeline.core.raw.copies import origin_name
from pipeline.core.raw.documents import DamagedDocumentError, Row, Source, documents, envelopes, whole_array
from pipeline.core.raw.shapes import ARRAY, DOCUMENTS, ENVELOPE, LINES, RefusedLayoutError, layout_of

BLOCK_BYTES = 16 << 20  # read and parsed at once: large enough for vectorised parsing, small enough to hold several
MAX_LINE_BYTES = 16 << 20  # a longer line is damage, not a review; it is skipped without being held in memory
HEAD_BYTES = 2000  # kept of such a line, enough for 500 characters of any script
CARRIED_BYTES = 1 << 16  # room before a chunk for the incomplete last line of the previous chunk
SEARCHED_BYTES = 1 << 18  # searched for newlines at once, so that intermediate arrays fit the processor's cache
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DAMAGED = (OSError, EOFError, cast(type[Exception], IsalError))  # what decompressors raise
_INDENTED = re.compile(rb'\{\r?\n[ \t]*"[^"\n]*"[ \t]*:')
LOOKED_AT = 1 << 20  # bytes by which a layout is recognised
_ROWS = {ARRAY: whole_array, DOCUMENTS: documents, ENVELOPE: envelopes}


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

    A line over MAX_LINE_BYTES comes cut, in its own block. Gzip, zstd, UTF-16 and UTF-32 are recognised by their first
    bytes; JSON that is not a line each (`shapes.py`) becomes lines: an element of an array or of an envelope's list has
    its place as number, an object over several lines the number of its first line.

    Raises:
        InputError: the file cannot be read, is cut short or damaged, or has a layout that cannot be read; discard the
            blocks yielded before.
    """
    try:
        with path.open("rb") as raw:
            magic = raw.read(4)
    except OSError as error:
        raise InputError(f"{origin_name(path)}: cannot be read ({error.strerror}); check its permissions") from error
    chunks = _chunks(path, codec_of(magic), block_bytes, meter or Meter())
    first = next(chunks, None)
    while first is not None and first.end - first.start < 8 and (longer := _followed(first, chunks)):
        first = longer
    if first is None:
        return
    encoding = encoding_of(first.text(8))
    if encoding:
        chunks = _recoded(itertools.chain((first,), chunks), encoding)
        first = next(chunks, None)
        if first is None:
            return
    skipped = len(BYTE_ORDER_MARK) if first.text(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK else 0
    first.start += skipped
    try:
        layout, first = _layout(first, chunks)
        whole = itertools.chain((first,), chunks)
        if layout == LINES:
            of_lines = _line_blocks(whole, skipped)
            for block in of_lines:
                if _is_indented(block):
                    rest = itertools.chain((block,), of_lines)
                    source = Source(_texts_of_blocks(rest), MAX_LINE_BYTES, block.first_line)
                    yield from _row_blocks(documents(source), block_bytes)
                    return
                yield replace(block, offset=None) if encoding else block
        else:
            yield from _row_blocks(_ROWS[layout](Source(_texts(whole), MAX_LINE_BYTES)), block_bytes)
    except (RefusedLayoutError, DamagedDocumentError) as error:
        raise InputError(f"{origin_name(path)}: {error}") from error


def _layout(first: "_Chunk", chunks: Iterator["_Chunk"]) -> tuple[str, "_Chunk"]:
    """Recognise the layout by the first chunk, or if it is short by more; return what was read of the file as well."""
    while True:
        head = first.text(LOOKED_AT)
        layout = layout_of(head.decode("utf-8", "replace"), whole=len(head) == LOOKED_AT)
        if layout is not None:
            return layout, first
        longer = _followed(first, chunks)
        if longer is None:
            return layout_of(head.decode("utf-8", "replace"), whole=True) or LINES, first
        first = longer


def _followed(first: "_Chunk", chunks: Iterator["_Chunk"]) -> "_Chunk | None":
    """Join a chunk and the next."""
    following = next(chunks, None)
    if following is not None:
        following.put_before(first.content().tobytes())
        first.release()
    return following


class _Chunk:
    """Decompressed bytes in `memory` from `start` to `end`, with room before them."""

    def __init__(self, memory: np.ndarray, free: queue.SimpleQueue) -> None:
        self.memory, self._free = memory, free
        self.start = self.end = CARRIED_BYTES

    @classmethod
    def of(cls, data: bytes) -> "_Chunk":
        """Make a chunk of bytes, whose memory is not reused."""
        chunk = cls(np.frombuffer(data, np.uint8), queue.SimpleQueue())
        chunk.start, chunk.end = 0, len(data)
        return chunk

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
                    f"{origin_name(path)}: the compressed file is cut short or damaged ({error}); it was readable"
                    f" for about {read:,} decompressed bytes, and nothing of it was kept. Fetch the file again"
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


def encoding_of(magic: bytes) -> str | None:
    """Recognise UTF-16 and UTF-32 by a file's first eight bytes, with or without a byte-order mark; None for UTF-8."""
    if magic[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return "utf-32"
    if magic[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    zeros = tuple(byte == 0 for byte in magic[:4])  # JSON begins with characters of ASCII
    if tuple(byte == 0 for byte in magic[4:8]) != zeros:
        return None
    return {
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
    }.get(zeros)


def _recoded(chunks: Iterator[_Chunk], encoding: str) -> Iterator[_Chunk]:
    """Convert chunks from `encoding` to UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for chunk in itertools.chain(chunks, (None,)):
        text = decoder.decode(chunk.content().tobytes() if chunk else b"", final=not chunk)
        if chunk:
            chunk.release()
        if text:
            yield _Chunk.of(text.encode("utf-8", "replace"))


def _texts(chunks: Iterator[_Chunk]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for chunk in chunks:
        data = chunk.content().tobytes()
        chunk.release()
        yield decoder.decode(data)
    yield decoder.decode(b"", final=True)


def _texts_of_blocks(blocks_of_lines: Iterator[Block]) -> Iterator[str]:
    for block in blocks_of_lines:
        text = block.data.tobytes().decode("utf-8", "replace")
        block.release()
        yield text


def _is_indented(block: Block) -> bool:
    """Return whether an object over several lines begins in a block, as where a file of lines was joined with another.

    Such an object has a brace on a line of its own and a key on the next.
    """
    starts = block.starts
    short = np.flatnonzero((np.diff(starts) <= 3) & (block.data[starts[:-1]] == ord("{")))
    return any(_INDENTED.match(block.data[starts[row] : starts[row] + 1000].tobytes()) for row in short.tolist())


def _row_blocks(rows: Iterator[Row], block_bytes: int) -> Iterator[Block]:
    """Collect rows to blocks, in which each is a line."""
    lines: list[bytes] = []
    numbers: list[int] = []
    size = 0
    for row in itertools.chain(rows, (None,)):
        if row is not None:
            lines.append(row.text.encode())
            numbers.append(row.number)
            size += len(lines[-1])
        if lines and (row is None or size >= block_bytes):
            starts = np.cumsum([0, *map(len, lines)])
            places = np.stack([np.array(numbers), np.full(len(numbers), -1)], axis=1)
            yield Block(np.frombuffer(b"".join(lines), np.uint8), starts, numbers[0], None, places=places)
            lines, numbers, size = [], [], 0
