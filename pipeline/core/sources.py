"""Input files: which ones a specification means, their digest, and their lines with number and byte offset.

Knows compression and framing only. What a line means belongs to `ingest.py`; pictures to `fetch.py`.
"""

import codecs
import glob
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
from isal import igzip
from isal.isal_zlib import IsalError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz", ".json.zst", ".jsonl.zst")
BLOCK_BYTES = 8 << 20  # read and parsed at once: large enough for vectorised parsing, small enough to hold several
MAX_LINE_BYTES = 16 << 20  # a longer line is damage, not a review: it is passed over without being held in memory
HEAD_BYTES = 2000  # what is kept of such a line, enough for 500 characters of any script
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DAMAGED = (OSError, EOFError, cast(type[Exception], IsalError))  # what decompressors raise
_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"[ \t\r\n]*")


class BadInput(ValueError):  # noqa: N818  what a person reads: this input is bad
    """The input cannot be used; the message names what is wrong, where, and how to mend it."""


@dataclass
class Meter:
    """How much of a file has been read, in bytes as they lie on disk."""

    bytes: int = 0


@dataclass(frozen=True)
class Block:
    """Whole lines of one file: line k is data[starts[k]:starts[k + 1]], its newline included."""

    data: bytes
    starts: np.ndarray  # [lines + 1] int64
    first_line: int  # 1-based number of the first line in the file
    offset: int | None  # byte offset of `data` in the decompressed file; None for elements of a JSON array
    too_long: bool = False  # `data` is only the head of one line over MAX_LINE_BYTES


def resolve(spec: str, fetch: Callable[[str], Path] | None = None) -> list[Path]:
    """The files that `spec` means, in order and each once; `fetch` brings a URL's file here (`remote.py`).

    Raises BadInput as `named` does, for a URL where there is no `fetch`, and what `fetch` raises.
    """
    found = []
    for entry in named(spec):
        if isinstance(entry, Path):
            found.append(entry)
        elif fetch is None:
            raise BadInput(f"{shown(entry)}: only local files are read here; download it first and give its path")
        else:
            found.append(fetch(entry))
    return found


def named(spec: str) -> list[Path | str]:
    """Local files as paths and URLs as text, in order and each once: what paths, globs, folders and URLs mean.

    They are separated by commas. A folder means the .json, .jsonl and .ndjson files in it (also .gz and .zst), not
    those of its subfolders; empty files among others are passed over. A comma inside a URL belongs to the URL, unless a blank, `/`, `./`, `../`, `~`, another
    URL or the name of a file that is there follows it; written as %2C it always does.
    Raises BadInput for an empty specification, a missing or empty file, a glob or folder without files, a URL that is
    neither http nor https. Nothing is fetched.
    """
    found: dict[Path | str, Path | str] = {}
    for part in (p.strip() for p in _parts(spec)):
        if "://" in part:
            if not part.lower().startswith(("http://", "https://")):
                raise BadInput(f"{shown(part)}: only http and https URLs are read; download it and give its path")
            found.setdefault(part, part)
        else:
            for path in _resolve_one(part) if part else ():
                found.setdefault(path.resolve(), path)
    if not found:
        raise BadInput(f"no input named in {spec!r}: give a path, a glob, a folder or a URL")
    return list(found.values())


def shown(url: str) -> str:
    """A URL as it may be printed and kept: without user name, password and query, which may hold a secret."""
    bare, *rest = re.split(r"[?#]", url, maxsplit=1)
    scheme, _, place = bare.partition("://")
    authority, slash, path = place.partition("/")
    host = authority.rpartition("@")[2]
    if not re.fullmatch(r"(\[[^]]*\]|[^:]*)(:\d*)?", host):
        return f"{scheme}://..."  # `user:pass/word@host`, perhaps: what follows the colon is no port
    return f"{scheme}://{host}{slash}{path}" + ("?..." if rest else "")


def _parts(spec: str) -> list[str]:
    """The specification cut at the commas that separate."""
    if "://" not in spec:
        # A path may itself hold a comma, so the whole text is tried first.
        return [spec] if Path(spec).expanduser().exists() and spec.strip() else spec.split(",")
    parts: list[str] = []
    for piece in spec.split(","):
        in_url = bool(parts) and "://" in parts[-1] and not parts[-1][-1:].isspace()
        if in_url and not _begins_an_entry(piece):
            parts[-1] += "," + piece
        else:
            parts.append(piece)
    return parts


def _begins_an_entry(piece: str) -> bool:
    """Whether what follows a URL's comma is an entry of its own (see `named`)."""
    if not piece or piece[0].isspace() or piece.startswith(("/", "./", "../", "~")):
        return True
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", piece) is not None or bool(glob.glob(piece.strip()))  # noqa: PTH207


def _resolve_one(part: str) -> list[Path]:
    path = Path(part).expanduser()
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and p.name.lower().endswith(SUFFIXES))
        if not files:
            raise BadInput(f"{path}: the folder holds no {', '.join(SUFFIXES)} file; give the folder that does")
    elif path.exists():
        files = [path]
    elif glob.has_magic(part):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
        files = sorted(p for p in map(Path, matches) if p.is_file())
        if not files:
            raise BadInput(f"{part}: the pattern matches no file; check it against the folder's contents")
    else:
        raise BadInput(f"{path}: no such file; check the path (relative paths start at {Path.cwd()})")
    sizes = {}
    for file in files:
        try:
            sizes[file] = file.stat().st_size
        except OSError as error:
            raise BadInput(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    filled = [file for file, size in sizes.items() if size]
    if not filled:
        raise BadInput(f"{files[0]}: the file is empty; fetch it again or take it out of the input")
    return filled  # an empty file among others is a day without anything, or a file that is still to be written


def digest(paths: Sequence[Path]) -> str:
    """sha256 over the sorted sha256 of the files' bytes: contents only, each once, whatever their names and order."""
    parts = set()
    for path in paths:
        with path.open("rb") as file:
            parts.add(hashlib.file_digest(file, "sha256").hexdigest())
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def blocks(path: Path, block_bytes: int = BLOCK_BYTES, meter: Meter | None = None) -> Iterator[Block]:
    """The lines of `path` in order, in blocks of about `block_bytes`; a line over MAX_LINE_BYTES comes alone, cut.

    .gz and .zst are told by their first bytes, and a JSON array by its opening `[{`: each element counts as a line.
    Raises BadInput when a compressed file is cut short or damaged, with how far it was readable: what was yielded
    before must then not be kept.
    """
    try:
        with path.open("rb") as raw:
            magic = raw.read(4)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    codec = "gzip" if magic[:2] == b"\x1f\x8b" else "zstd" if magic == b"\x28\xb5\x2f\xfd" else None
    chunks = _chunks(path, codec, block_bytes, meter or Meter())
    first = next(chunks, b"")
    skipped = len(BYTE_ORDER_MARK) if first.startswith(BYTE_ORDER_MARK) else 0
    first = first[skipped:]
    opening = first[:HEAD_BYTES].lstrip()
    if opening[:1] == b"[" and opening[1:].lstrip()[:1] in (b"{", b""):
        yield from _array_blocks(path, _with_first(first, chunks))
        return
    yield from _line_blocks(first, chunks, skipped)


def _chunks(path: Path, codec: str | None, block_bytes: int, meter: Meter) -> Iterator[bytes]:
    """Decompressed bytes; the next chunk is inflated in a thread while the caller parses this one."""
    read = 0
    with path.open("rb") as raw, _inflated(raw, codec) as stream, ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(stream.read, block_bytes)
        while True:
            try:
                chunk = pending.result()
            except DAMAGED as error:
                raise BadInput(
                    f"{path}: the compressed file is cut short or damaged ({error}); it was readable for about"
                    f" {read:,} decompressed bytes, and nothing of it was kept. Fetch the file again"
                ) from error
            meter.bytes = raw.tell()
            if not chunk:
                return
            pending = ahead.submit(stream.read, block_bytes)
            read += len(chunk)
            yield chunk


def _inflated(raw: BinaryIO, codec: str | None) -> Any:
    """A binary stream of what is in `raw`."""
    if codec == "gzip":
        return igzip.IGzipFile(fileobj=raw, mode="rb")
    return pa.CompressedInputStream(raw, codec) if codec else raw


def _line_blocks(first: bytes, chunks: Iterator[bytes], offset: int) -> Iterator[Block]:
    line, rest, passed = 1, b"", 0  # passed: bytes already let go of an overlong line
    for chunk in _with_first(first, chunks):
        data = rest + chunk if rest else chunk
        if passed:  # inside an overlong line: its head waits in `rest`
            newline = chunk.find(b"\n")
            if newline < 0:
                passed += len(chunk)
                continue
            yield _block(rest, line, offset, too_long=True)
            line, offset, passed = line + 1, offset + passed + newline + 1, 0
            data = chunk[newline + 1 :]
        cut = data.rfind(b"\n") + 1
        if cut:
            block = _block(data[:cut], line, offset)
            yield block
            line, offset = line + len(block.starts) - 1, offset + cut
        rest = data[cut:]
        if len(rest) > MAX_LINE_BYTES:
            rest, passed = rest[:HEAD_BYTES], len(rest)
    if rest:  # a last line without its newline
        yield _block(rest, line, offset, too_long=bool(passed))


def _with_first(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks


def _block(data: bytes, line: int, offset: int | None, *, too_long: bool = False) -> Block:
    if too_long:
        return Block(data, np.array([0, len(data)], np.int64), line, offset, too_long=True)
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    if not len(ends) or ends[-1] != len(data):
        ends = np.append(ends, len(data))
    return Block(data, np.concatenate(([0], ends)).astype(np.int64), line, offset)


def _array_blocks(path: Path, chunks: Iterator[bytes]) -> Iterator[Block]:
    """One element a line, as `json` writes it; one block for the elements that each chunk completes.

    Held are a chunk and one element at most, which therefore may not pass MAX_LINE_BYTES characters. `json` itself
    parses: a streaming parser (ijson) refuses NaN and integers over 64 bits, which JSON lines may hold, and needs
    memory in the square of an element's depth.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, count, mark = "", 0, ""  # mark: the bracket or comma before what comes next
    for chunk in itertools.chain(chunks, (b"",)):
        text += decoder.decode(chunk, final=not chunk)
        at, lines, problem = 0, list[str](), ""
        if not mark:
            at, mark = text.index("[") + 1, "["
        if mark == "[" and text.startswith("]", _past_blanks(text, at)):
            at, mark = text.index("]", at) + 1, "]"
        while mark != "]" and not problem:
            try:
                line, end = _element(text, at)
            except (ValueError, RecursionError) as error:  # damage, or the element goes on in the next chunk
                problem = str(getattr(error, "msg", error))
            else:
                lines.append(line)
                at, mark = end + 1, text[end]
        text, count = text[at:], count + len(lines)
        if mark == "]" and text.strip():
            problem = f"something follows its closing bracket: {text.strip()[:20]!r}"
        if problem and (mark == "]" or not chunk or len(text) > MAX_LINE_BYTES):
            raise BadInput(
                f"{path}: begins as a JSON array but does not parse at element {count + 1:,} ({problem}); "
                "save it as JSON lines"
            )
        if lines:
            yield _block("".join(lines).encode(), count - len(lines) + 1, None)


def _element(text: str, at: int) -> tuple[str, int]:
    """The array element that begins at or after `at`, as a line, and where the comma or bracket behind it stands.

    Raises ValueError or RecursionError where it is damaged, too long, or not whole in `text`.
    """
    start = _past_blanks(text, at)
    element, end = _DECODER.raw_decode(text, start)
    behind = _past_blanks(text, end)
    if text[behind : behind + 1] not in (",", "]"):  # also where the text ends: `12` may go on with `34`
        raise ValueError("a comma or the closing bracket is missing")
    if end - start > MAX_LINE_BYTES:
        raise ValueError(f"the next is longer than {MAX_LINE_BYTES:,} characters")
    return json.dumps(element) + "\n", behind


def _past_blanks(text: str, at: int) -> int:
    """The first position from `at` on that is not JSON's white space."""
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at
