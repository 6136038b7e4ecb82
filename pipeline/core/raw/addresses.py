"""Find the addresses of pictures in a field, however a shop writes them, and keep those that can be read.

A field may be one address, a list, an object with a key such as `url` or `large`, or a text with several of them
(`address_texts.py`). Web addresses stay as they were written. Paths are resolved against the folder of their
table, and become `file:///...` addresses. Everything that is dropped is counted by its kind, as `urls_<kind>`.
"""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

from pipeline.core.errors import InputError
from pipeline.core.local_address import ARCHIVE, INSIDE, LONGEST_PATH, file_address, local_place
from pipeline.core.raw import database_urls
from pipeline.core.raw.address_texts import PICTURES, VIDEOS, WEB, bare, is_single, list_in, pieces_of
from pipeline.core.raw.copies import origin_folder
from pipeline.core.raw.sources import named
from pipeline.core.raw.unusable import NOTHING, UnusableError
from pipeline.core.stored_address import S3, stored_path

URL_CHARACTERS = 8_000  # the length that RFC 9110 (4.1) asks everybody to support; longer ones are dropped
NESTED = 3  # lists in texts in lists are read up to this depth
# Sizes of a 2023 picture, the best first: small review photos have 256 px, more than the model's 224.
LOW_SIZES = ("thumb", "small_image_url", "medium_image_url", "large", "large_image_url", "hi_res")
HIGH_SIZES = ("hi_res", "large", "large_image_url", "medium_image_url", "thumb", "small_image_url")
REVIEW_SIZES = ("small_image_url", "medium_image_url", "large_image_url", "thumb", "large", "hi_res")
PLAIN_KEYS = ("url", "src", "href", "link", "image_url", "imageUrl", "image", "path")  # of an object with one size

_NO_VALUES = {
    *("-", "--", ".", "?", "0", "n/a", "na", "nan", "nil", "no", "no image", "none", "null", "<na>"),
    *("undefined", "unknown", "false"),
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//)?")
_SCHEMES_WITHOUT_SLASHES = ("about", "blob", "cid", "javascript", "mailto", "tel", "urn")
_DRIVE = re.compile(r"[A-Za-z]:(?:[\\/]|[^/:]*\.)")
_HOST_FIRST = re.compile(
    r"(?:www\.|[a-z0-9.-]+\.(?:com|net|org|info|io|shop|store|co|cn|de|fr|in|jp|uk)/)", re.IGNORECASE
)
_MISSPELT = re.compile(r"https?(?::/?[^/]|:///|//|;//|%3a)", re.IGNORECASE)
_WITHIN = re.compile(r"https?:/|https?%3a%2f", re.IGNORECASE)
_LIST = re.compile(r"""\s*[\[({]\s*(?:['"{\[(]|https?:)""")
_BASE64 = re.compile(r"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR)[A-Za-z0-9+/\s]*={0,2}")  # JPEG, PNG, GIF, WebP


def picture_urls(value: object, sizes: Sequence[str] = REVIEW_SIZES, depth: int = 0) -> list[object]:
    """Extract one address per picture from a field, the `MAIN` variant first.

    The field is an address, a text with several, a list of either, a list of {size: address}, or {size: [addresses]}.
    `depth` is the number of lists and texts around the value.
    """
    if value is None:
        return []
    if isinstance(value, str):
        return list(_split(value, sizes, depth))
    if isinstance(value, dict):
        columns = [value[size] for size in (*sizes, *PLAIN_KEYS) if isinstance(value.get(size), list)]
        if not columns:
            return picture_urls([value], sizes, depth)
        longest = max(map(len, columns))
        rows = [[column[i] for column in columns if i < len(column)] for i in range(longest)]
        found = [next((url for url in row if url), None) for row in rows]
        variants = value.get("variant")
        return _main_first(found, variants) if isinstance(variants, list) else found
    if isinstance(value, list):
        if any(isinstance(entry, dict) and entry.get("variant") == "MAIN" for entry in value):
            value = _main_first(value, [entry.get("variant") if isinstance(entry, dict) else None for entry in value])
        found = []
        for entry in value:
            if isinstance(entry, str):
                found += _split(entry, sizes, depth)
            elif isinstance(entry, list) and depth < NESTED:
                found += picture_urls(entry, sizes, depth + 1)
            else:
                found.append(_of_sizes(entry, sizes) if isinstance(entry, dict) else entry)
        return found
    return [value]


def vendor_pictures(value: dict) -> tuple[list[object], list[object]]:
    """Extract a product's (low, high) resolution pictures by any vintage's keys; either may be empty."""
    low = picture_urls(next((value[key] for key in ("imageURL", "image", "imUrl") if value.get(key)), None))
    high = picture_urls(value.get("imageURLHighRes"))
    if not low and not high and value.get("images"):
        low, high = picture_urls(value["images"], LOW_SIZES), picture_urls(value["images"], HIGH_SIZES)
    return low, high


def base_of(table: Path) -> Path | None:
    """Return the folder against which a table's paths are resolved; None for a fetched table, which may name none.

    The paths in a local SQLite database are resolved against its folder.
    """
    return origin_folder(table)


def table_folders(*specs: str) -> tuple[str, ...]:
    """List the folders of the local files of specifications: pictures may be read inside them.

    A specification that names a file which is gone adds none: `sources.named` has said so when it was read.
    """
    folders: dict[str, None] = {}
    for spec in specs:
        with contextlib.suppress(InputError):
            for entry in named(spec) if spec else ():
                file = database_urls.local_file(entry)
                if file is not None:
                    folders[os.path.dirname(os.path.abspath(file))] = None  # noqa: PTH100, PTH120
    return tuple(folders)


def clean_addresses(
    values: Sequence[object], counts: Counter[str], base: Path | None, refused: list[str] | None = None
) -> list[str]:
    """Keep the addresses that can be read, in order and each once; count the others under `urls_<kind>`.

    Web addresses are kept as they are, and `//host/...` becomes https. Paths and `file://` become `file:///...`, and
    those inside archives `archive:///...`; without `base`, the table's folder, they and `s3://` are dropped. The kinds
    of the dropped ones (`unusable.KINDS`) are appended to `refused`, except where no address is given.
    """
    kept: dict[str, None] = {}
    for value in values:
        if isinstance(value, str) and value not in kept and is_plain(value):
            kept[value] = None
            continue
        for piece in _split(value, REVIEW_SIZES) if isinstance(value, str) else (value,):
            try:
                if not isinstance(piece, str):
                    raise UnusableError(_kind_of(piece))
                address = _address(encodable(piece).strip(), base)
            except UnusableError as error:
                kind = str(error)
                counts[f"urls_{kind}"] += 1
                if refused is not None and kind not in NOTHING and piece is not None:
                    refused.append(kind)
                continue
            if address in kept:
                counts["urls_repeated"] += 1
            kept[address] = None
    return list(kept)


def is_plain(text: str) -> bool:
    """Return whether the text is one web address of a picture, of which nothing needs to be split off or dropped."""
    return len(text) < URL_CHARACTERS and is_single(text) and not _is_video(text)


def encodable(text: str) -> str:
    """Replace lone surrogates, which JSON may hold but UTF-8 and Arrow cannot."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def _main_first(values: list, variants: list) -> list:
    first = [value for value, variant in zip(values, variants, strict=False) if variant == "MAIN"]
    rest = [value for value, variant in zip(values, variants, strict=False) if variant != "MAIN"]
    return [*first, *rest, *values[len(variants) :]]


def _of_sizes(entry: dict, sizes: Sequence[str]) -> object:
    """Choose the address of an object with several sizes; an object that names none stays as it is."""
    if entry.get("bytes"):
        return b""  # Hugging Face's {bytes, path}: the path is a name alone
    nothing = None if not entry or any(size in entry for size in (*sizes, *PLAIN_KEYS)) else entry
    return next((entry[size] for size in (*sizes, *PLAIN_KEYS) if entry.get(size)), nothing)


def _kind_of(value: object) -> str:
    """Return the kind of a value that is no text."""
    if isinstance(value, bytes):
        return "embedded"
    return "unknown_keys" if isinstance(value, dict) else "not_text"


def _split(text: str, sizes: Sequence[str], depth: int = 0) -> Sequence[object]:
    """Split a text into its addresses; one address, or whatever else it is, stays as it is."""
    if is_plain(text):
        return (text,)
    text = bare(text)
    listed = list_in(text) if depth < NESTED else None
    return pieces_of(text) if listed is None else picture_urls(listed, sizes, depth + 1)


def _is_video(text: str) -> bool:
    return text.partition("?")[0].partition("#")[0].lower().endswith(VIDEOS)


def _address(text: str, base: Path | None) -> str:
    """Return the address that a trimmed text gives. Raises UnusableError."""
    if not text:
        raise UnusableError("empty")
    if len(text) > URL_CHARACTERS:
        raise UnusableError("too_long")
    start = text[:8].lower()
    if not start.startswith((*WEB, "//")):
        return _local(text, base)
    if _is_video(text):
        raise UnusableError("video")
    if start.startswith(WEB):
        if text.partition("//")[2][:1] in ("", "/", "?", "#"):
            raise UnusableError("not_an_address")
        return text
    if not re.match(r"//[^/\s?#]+(?:[/?#]|$)", text):
        raise UnusableError("not_an_address")
    return f"https:{text}"


def _local(text: str, base: Path | None) -> str:
    """Return the address of a path on this machine, or in an object store. Raises UnusableError."""
    if text.startswith(S3):
        if base is None:
            raise UnusableError("local_refused")
        if stored_path(text) is None:
            raise UnusableError("not_an_address")
        return text
    if text[:5].lower() == "file:":
        path = _path_of_file_url(text)
    elif text[: len(ARCHIVE)].lower() == ARCHIVE:
        place = local_place(ARCHIVE + text[len(ARCHIVE) :])
        if place is None:
            raise UnusableError("not_an_address")
        path = f"{place.path}{INSIDE}{place.member}"
    else:
        _expect_path(text)
        path = text
    if any(character < " " or character == "\x7f" for character in path):
        raise UnusableError("not_an_address")
    if path.lower().endswith(VIDEOS):
        raise UnusableError("video")
    if base is None:
        raise UnusableError("local_refused")
    path = os.path.normpath(os.path.join(base, path))  # noqa: PTH118  (pathlib takes five times as long)
    if len(path.encode("utf-8", "replace")) > LONGEST_PATH:
        raise UnusableError("too_long")
    return file_address(path if not path.startswith("//") else path[1:])


def _path_of_file_url(text: str) -> str:
    """Return the absolute path of a `file:` URL, without its escapes. Raises UnusableError."""
    rest = text[5:]
    if rest.startswith("//"):
        host, slash, rest = rest[2:].partition("/")
        if not slash or host.lower() not in ("", "localhost"):
            raise UnusableError("file_host")
        path = "/" + rest
    else:
        path = rest
    if not path.startswith("/"):
        raise UnusableError("not_an_address")
    # Some write the path as it is. One with a percent sign that begins no escape was not encoded.
    if "%" in path and not re.search(r"%(?![0-9A-Fa-f]{2})", path):
        path = unquote_to_bytes(path).decode("utf-8", "replace")
    if _DRIVE.match(path[1:]):
        raise UnusableError("windows_path")
    return path


def _expect_path(text: str) -> None:
    """Raise UnusableError unless the text may be a path on this machine."""
    if text[:5].lower() == "data:":
        raise UnusableError("data")
    if text.lower() in _NO_VALUES:
        raise UnusableError("no_value")
    if _LIST.match(text):
        raise UnusableError("list_unread")
    if text.startswith(("b'", 'b"')) or (_BASE64.fullmatch(text) and not text.lower().endswith(PICTURES)):
        raise UnusableError("embedded")
    if "http" in text.lower():
        if _MISSPELT.match(text):
            raise UnusableError("misspelt")
        if _WITHIN.search(text):
            raise UnusableError("in_text")
    if _DRIVE.match(text) or "\\" in text:
        raise UnusableError("windows_path")
    scheme = _SCHEME.match(text)
    if scheme and (scheme[2] or scheme[1].lower() in _SCHEMES_WITHOUT_SLASHES):
        raise UnusableError("other_scheme")
    if _HOST_FIRST.match(text):
        raise UnusableError("without_scheme")
    if "<" in text or not ("/" in text or text.lower().endswith((*PICTURES, *VIDEOS))):
        raise UnusableError("not_an_address")
