"""Input files: which ones a specification means, their digest, and their lines with number and byte offset.

Knows compression and framing only. What a line means belongs to `ingest.py`; pictures to `fetch.py`.
"""

import glob
import hashlib
import json
from collections.abc import Iterator, Sequence
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


def resolve(spec: str) -> list[Path]:
    """The files that `spec` means, in order and each once: paths, globs or folders, separated by commas.

    A folder means the .json, .jsonl and .ndjson files in it (also .gz and .zst), not those of its subfolders.
    Raises BadInput for an empty specification, a missing or empty file, a glob or folder without files, a URL.
    """
    # A path may itself hold a comma, so the whole text is tried first.
    parts = [spec] if Path(spec).expanduser().exists() and spec.strip() else spec.split(",")
    found: dict[Path, Path] = {}
    for part in (p.strip() for p in parts):
        for path in _resolve_one(part) if part else ():
            found.setdefault(path.resolve(), path)
    if not found:
        raise BadInput(f"no input named in {spec!r}: give a path, a glob or a folder")
    return list(found.values())


def _resolve_one(part: str) -> list[Path]:
    if "://" in part:
        raise BadInput(f"{part}: only local files are read; download it first and give its path")
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
    for file in files:
        try:
            size = file.stat().st_size
        except OSError as error:
            raise BadInput(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
        if size == 0:
            raise BadInput(f"{file}: the file is empty; fetch it again or take it out of the input")
    return files


def digest(paths: Sequence[Path]) -> str:
    """sha256 over the sorted sha256 of the files' bytes: contents only, whatever their names and order. Streamed."""
    parts = []
    for path in paths:
        with path.open("rb") as file:
            parts.append(hashlib.file_digest(file, "sha256").hexdigest())
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
        yield from _array_blocks(path, b"".join((first, *chunks)))
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


def _array_blocks(path: Path, data: bytes) -> Iterator[Block]:
    """One element a line. The array is held in memory whole: JSON lines are the format for large inputs."""
    try:
        elements = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: begins as a JSON array but does not parse ({error}); save it as JSON lines") from error
    lines = "".join(json.dumps(element) + "\n" for element in elements).encode()
    if lines:
        yield _block(lines, 1, None)
