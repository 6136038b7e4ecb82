"""Recognise what a file is by its first bytes: JSON, CSV, Parquet or Arrow, how compressed; refuse others by name.

A file's name decides nothing, because names lie. `framing.py` and `tables.py` read what is recognised here.
"""

import codecs
import contextlib
import re
import zipfile
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw import database_urls
from pipeline.core.raw.copies import origin_name
from pipeline.core.raw.framing import DAMAGED, codec_of, inflated
from pipeline.core.raw.shapes import LINES, RefusedLayoutError, layout_of, wrapping_of
from pipeline.core.raw.text_encoding import checked_encoding, decoded, detected_encoding

STRAY = 4  # control characters that any text may hold, even a short one
HEAD_BYTES = 1 << 18  # of decompressed content that is looked at
MEMBER_RATIO = 200  # most bytes of a zip's member for each byte stored; tables stay under 100
SMALL_MEMBER = 64 << 20  # a member up to this size may have any ratio
MEMBERS_AT_MOST = 10_000
JSON, CSV, PARQUET, ARROW, STREAM = "JSON", "CSV", "Parquet", "Arrow", "Arrow stream"
# What reading damaged content raises; RuntimeError and NotImplementedError are zipfile's.
UNREADABLE = (*DAMAGED, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, pa.ArrowException)
TABLES = (CSV, PARQUET, ARROW, STREAM)
# Every form that is read: its name, how it is recognised, and what is read of it.
FORMS: tuple[tuple[str, str, str], ...] = (
    (
        "JSON",
        "text that begins with `{` or `[`",
        "objects one a line, in an array, over several lines or in an envelope",
    ),
    ("CSV, TSV", "other text, most lines of which one delimiter splits alike", "rows, with or without a header"),
    ("RecBole's atomic files", "a header of names with types, `user_id:token`", "rows; nothing is quoted"),
    ("Parquet", "`PAR1` at the beginning", "rows of all row groups"),
    ("Arrow file (Feather 2)", "`ARROW1` at the beginning", "rows of all batches"),
    ("Arrow stream", "the mark of a message, `FF FF FF FF`", "rows of all batches"),
    ("gzip, zstd", "their first bytes", "the JSON or CSV inside"),
    ("zip", "`PK` at the beginning", "the one JSON or CSV file inside; hidden files and `__MACOSX` do not count"),
)
_EXPORT = "in the spreadsheet choose Save as, CSV UTF-8, and name that file"
_UNPACK = "unpack it and name the file inside"

# The first bytes of what is known and not read, its name, and what to do.
REFUSED: tuple[tuple[bytes, str, str], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel file (xls)", _EXPORT),
    (b"BZh", "a bzip2 file", f"run `bunzip2` on it: {_UNPACK}"),
    (b"\xfd7zXZ\x00", "an xz file", f"run `unxz` on it: {_UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x04\x22\x4d\x18", "an lz4 file", f"run `lz4 -d` on it: {_UNPACK}"),
    (b"\x1f\x9d", "a file of `compress` (Z)", f"run `uncompress` on it: {_UNPACK}"),
    (b"%PDF", "a PDF document", "export the table behind it as CSV"),
    (database_urls.MAGIC, "a SQLite database under another name", "name its table: sqlite:////path/FILE?table=NAME"),
    (b"PARE", "an encrypted Parquet file", "write it without encryption"),
    (b"ORC", "an ORC file", "write it as Parquet"),
    (b"Obj\x01", "an Avro file", "write it as Parquet or as JSON lines"),
    (b"FEA1", "a Feather file of version 1", "write it as Parquet: pandas.read_feather(...).to_parquet(...)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "write its table as Parquet or CSV"),
    (b"\x93NUMPY", "a NumPy array", "write it as a table with named columns, as Parquet or CSV"),
    (b"\x80\x03", "a Python pickle", "write its table as Parquet or CSV; pickles are not read, they can run code"),
    (b"\x80\x04", "a Python pickle", "write its table as Parquet or CSV; pickles are not read, they can run code"),
    (b"\x80\x05", "a Python pickle", "write its table as Parquet or CSV; pickles are not read, they can run code"),
    (b"\xff\xd8\xff", "a JPEG picture", "name the table; pictures are found by the addresses in it"),
    (b"\x89PNG", "a PNG picture", "name the table; pictures are found by the addresses in it"),
    (b"GIF8", "a GIF picture", "name the table; pictures are found by the addresses in it"),
    (b"RIFF", "a picture, sound or film (RIFF)", "name the table; pictures are found by the addresses in it"),
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a]")
_JSON_LINE = re.compile(r"^\s*(\{\s*(\"|'|\}|$)|\[\s*(\{|\]|$))", re.MULTILINE)


@dataclass(frozen=True)
class Form:
    """What a file is."""

    kind: str  # one of the constants above
    codec: str | None = None  # gzip, zstd or zip
    encoding: str = "utf-8"  # of CSV
    member: str | None = None  # of a zip
    head: str = ""  # the beginning of a CSV's text


def form_of(path: Path, encoding: str | None = None) -> Form:
    """Recognise the form of a file. `encoding` is that of its text; None to detect it.

    Raises:
        InputError: it cannot be read, is damaged, or is of a kind that is not read; the message names the kind and
            says what to do, and quotes no bytes.
    """
    try:
        with path.open("rb") as raw:
            magic = raw.read(64)
    except OSError as error:
        raise InputError(f"{origin_name(path)}: cannot be read ({error.strerror}); check its permissions") from error
    _refuse(path, magic, "")
    codec, member = codec_of(magic), None
    if magic[:4] == b"PK\x03\x04":
        codec, member = "zip", _member(path)
    if codec is None and (whole := _binary_table(magic)):
        return Form(whole)
    head = _head(path, codec, member)
    if codec:
        inside = f"{codec} of "
        _refuse(path, head, inside)
        if _binary_table(head) or codec_of(head[:4]) or head[:4] == b"PK\x03\x04":
            what = _binary_table(head) or "another compressed file"
            raise InputError(f"{origin_name(path)}: is a {inside}{what}, which is compressed twice; decompress it once")
    if head[257:262] == b"ustar":
        raise InputError(f"{origin_name(path)}: is a tar archive; unpack it and name the files inside, or their folder")
    said = checked_encoding(origin_name(path), head, encoding) if encoding else detected_encoding(head)
    text = decoded(head, said)
    if _is_json(text, path):
        return Form(JSON, codec, said, member)
    if wrapped := wrapping_of(text):
        raise InputError(f"{origin_name(path)}: {wrapped}")
    text = text.rstrip("\0")  # padding of a crashed writer
    if _is_text(text):
        if len(head) >= HEAD_BYTES and not re.search("[\r\n]", text):
            raise InputError(
                f"{origin_name(path)}: its first line is longer than {HEAD_BYTES:,} bytes, where a table has the names"
                " of its columns; write one row a line"
            )
        return Form(CSV, codec, said, member, text)
    raise InputError(
        f"{origin_name(path)}: is neither text nor Parquet, Arrow, gzip, zstd or zip; give JSON lines, CSV or Parquet"
        " (a text in another encoding: name it in shop.toml, encoding = ...)"
    )


@contextlib.contextmanager
def opened(path: Path, form: Form) -> Generator[tuple[Any, BinaryIO]]:
    """Open a file; yield a stream of its decompressed bytes, and the file on disk, whose `tell` counts its bytes."""
    with path.open("rb") as raw:
        if form.codec == "zip":
            with zipfile.ZipFile(raw) as archive, archive.open(form.member or "") as stream:
                yield stream, raw
        else:
            with contextlib.closing(inflated(raw, form.codec)) as stream:
                yield stream, raw


def damaged(path: Path, error: Exception) -> InputError:
    """Make the error for compressed data that does not decompress."""
    return InputError(
        f"{origin_name(path)}: the compressed file is cut short or damaged ({printable(error, 100)}), and nothing of"
        " it was kept. Fetch the file again"
    )


def _refuse(path: Path, head: bytes, inside: str) -> None:
    for magic, name, mend in REFUSED:
        # A column may be named ORCID or PARENT_ID: a magic of letters alone wants a byte behind it that no text has.
        if head.startswith(magic) and (not magic.isalnum() or _CONTROL.search(head[:64])):
            raise InputError(f"{origin_name(path)}: is {inside and f'a {inside}'}{name}, which is not read; {mend}")
    start = head[:64].lstrip(codecs.BOM_UTF8 + b" \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<")) and b"\x00" not in start:
        raise InputError(
            f"{origin_name(path)}: is a page or document with markup (HTML, XML), and no table; perhaps a server"
            " answered with a page where a file was asked for. Fetch it again, or export it as CSV"
        )


def _binary_table(head: bytes) -> str | None:
    if head[:4] == b"PAR1" and _CONTROL.search(head[:64]):
        return PARQUET
    if head[:6] == b"ARROW1":
        return ARROW
    return STREAM if head[:4] == b"\xff\xff\xff\xff" and head[7:8] == b"\x00" else None


def _member(path: Path) -> str:
    """Find the one table of a zip, bounded in size and ratio."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise damaged(path, error) from error
    names = {member.filename for member in members}
    if names & {"[Content_Types].xml", "xl/workbook.xml"}:
        raise InputError(
            f"{origin_name(path)}: is an Excel file (xlsx) or another Office document, which is not read; {_EXPORT}"
        )
    if "META-INF/manifest.xml" in names and "content.xml" in names:
        raise InputError(f"{origin_name(path)}: is an OpenDocument spreadsheet, which is not read; {_EXPORT}")
    if len(members) > MEMBERS_AT_MOST:
        raise InputError(f"{origin_name(path)}: is a zip of {len(members):,} files; unpack it and name its tables")
    tables = [
        member
        for member in members
        if not member.is_dir()
        and not member.filename.startswith("__MACOSX/")
        and not member.filename.rpartition("/")[2].startswith(".")
        and member.file_size
    ]
    if len(tables) != 1:
        listed = ", ".join(printable(member.filename, 60) for member in tables[:5]) or "none"
        raise InputError(
            f"{origin_name(path)}: is a zip of {len(tables):,} files ({listed}), where one table is read; unpack it"
            " and name the table"
        )
    table = tables[0]
    if table.flag_bits & 1:
        raise InputError(f"{origin_name(path)}: is a zip with a password; {_UNPACK}")
    if table.file_size > max(SMALL_MEMBER, MEMBER_RATIO * table.compress_size):
        raise InputError(
            f"{origin_name(path)}: its file says to grow from {table.compress_size:,} to {table.file_size:,} bytes,"
            f" more than a table does; if you trust it, {_UNPACK}"
        )
    return table.filename


def _head(path: Path, codec: str | None, member: str | None) -> bytes:
    """Read the beginning of the decompressed content, up to any damage; a full read raises an error for the damage."""
    head = b""
    try:
        with opened(path, Form("", codec, member=member)) as (stream, _):
            while len(head) < HEAD_BYTES and (piece := stream.read(min(HEAD_BYTES - len(head), 1 << 14))):
                head += piece
    except UNREADABLE as error:
        if codec == "zip":
            raise damaged(path, error) from error
    return head


def _is_json(text: str, path: Path) -> bool:
    """Return whether this is JSON: it begins so, or is named so and has such lines after damage."""
    start = text.lstrip("\ufeff\x00 \t\r\n")
    if not start:
        return True  # nothing to read; the reader of lines raises the error
    if start[0] in "{[":
        return True
    try:
        if layout_of(text, whole=True) != LINES:
            return True
    except RefusedLayoutError:
        return True  # the reader of lines names it
    names = path.name.lower().split(".")
    named = bool({"json", "jsonl", "ndjson"} & set(names[1:]))
    return bool(_JSON_LINE.search(text)) if named else bool(_JSON_LINE.match(start))


def _is_text(text: str) -> bool:
    """Return whether almost all characters are those of a text."""
    sample = text[:20_000]
    odd = sum(1 for c in sample if (c < " " and c not in "\t\r\n\f\v\x1c\x1d\x1e\x1f\x01") or c == "\x7f")
    return odd <= STRAY + len(sample) // 200
