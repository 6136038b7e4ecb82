"""Detect how a text is encoded from its first bytes, and check the encoding that shop.toml names."""

import codecs

from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw.framing import encoding_of

NOT_ASCII = 8  # characters of valid UTF-8 that no other encoding has by chance


def detected_encoding(head: bytes) -> str:
    """Detect the encoding of a text: by its mark, by its NUL bytes, else UTF-8."""
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if marked := encoding_of(head[:8]):
        return marked
    sample = head[:4096]
    if len(sample) >= 4:
        even, odd = sample[0::2].count(0), sample[1::2].count(0)
        if odd > len(sample) // 3 and even < len(sample) // 50:
            return "utf-16-le"
        if even > len(sample) // 3 and odd < len(sample) // 50:
            return "utf-16-be"
    return "utf-8"


def decoded(head: bytes, encoding: str) -> str:
    """Decode the beginning of a text, of which the last character may be cut.

    Lines that should be UTF-8 and are not are read as cp1252, as `table_rows.py` does with values.
    """
    text = _replaced(head, encoding)
    if encoding != "utf-8" or "\ufffd" not in text:
        return text
    lines = head.splitlines(keepends=True)
    return "".join(_replaced(line, encoding) if _is_utf8(line) else line.decode("cp1252", "replace") for line in lines)


def _replaced(head: bytes, encoding: str) -> str:
    return codecs.getincrementaldecoder(encoding)("replace").decode(head)


def checked_encoding(name: str, head: bytes, said: str) -> str:
    """Check the encoding that shop.toml names for the file of this name; return it, with the order of bytes.

    Raises:
        InputError: the bytes contradict it, or Python does not know it.
    """
    try:
        detected, wanted = detected_encoding(head), codecs.lookup(said).name
    except LookupError as error:
        raise InputError(f"encoding: {printable(said)}: Python knows no such encoding") from error
    if wanted.startswith(("utf-16", "utf-32")):
        refused = bool(head) and b"\0" not in head
    else:
        of_bytes = detected == "utf-8-sig" or _is_surely_utf8(head)
        refused = detected.startswith(("utf-16", "utf-32")) or (of_bytes and not wanted.startswith("utf"))
    if refused:
        raise InputError(
            f'{name}: shop.toml: encoding = "{printable(said, 40)}": the text is {detected.upper()}; take'
            " that line out, or name the encoding that the file has"
        )
    if wanted in ("utf-16", "utf-32") and head[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"\0\0"):
        return detected if detected.startswith(wanted) else f"{wanted}-le"  # without a mark, Python refuses it
    return said


def _is_surely_utf8(head: bytes) -> bool:
    """Return whether a text has characters outside of ASCII, too many to be UTF-8 by chance."""
    text = _replaced(head, "utf-8")
    return "\ufffd" not in text and sum(character > "\x7f" for character in text) >= NOT_ASCII


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
