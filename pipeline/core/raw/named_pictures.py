"""Find the pictures on this machine that a rejected line may name, in a text that could not be read as a row.

The text is a line of JSON or the values of a row, cut off somewhere, so every piece between its marks is tried. What is
no picture's path gives an address that nobody asks about.
"""

import re
from collections import Counter
from pathlib import Path

from pipeline.core.local_address import is_local
from pipeline.core.raw.addresses import base_of, clean_addresses

_PIECES = (re.compile(r"[^\"'<>,;|\[\]{}\t\r\n]+"), re.compile(r"[^\s\"'<>,;|\[\]{}]+"), re.compile(r"[^\"\t\r\n]+"))
_UNICODE = re.compile(r"\\u([0-9A-Fa-f]{4})")


def named_pictures(text: str, file: Path) -> set[str]:
    """List the addresses of local pictures that a rejected line of a file may name."""
    base, counts = base_of(file), Counter[str]()
    plain = _UNICODE.sub(lambda found: chr(int(found[1], 16)), text.replace("\\/", "/"))
    pieces = {piece for spelt in {text, plain} for pattern in _PIECES for piece in pattern.findall(spelt)}
    # A path has a dot or a slash; to ask that first saves most of the time.
    paths = [piece for piece in pieces if "." in piece or "/" in piece]
    return set(filter(is_local, clean_addresses(paths, counts, base)))
