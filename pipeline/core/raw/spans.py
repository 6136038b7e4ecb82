"""Find where a JSON object ends by its brackets and strings, in linear time and at any depth.

Use it for objects that Python's parser refuses, or that need no parsing.
"""

import re

# Possessive, so that an unterminated string is scanned once; the last branch is the quote that begins such a string.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]"]', re.DOTALL)
_OPENING, _CLOSING = b"{[", b"}]"


def object_end(data: bytes, at: int, limit: int | None = None) -> int | None:
    """Return the position after the object or list that begins at `at`; None if it does not end before `limit`.

    Its content may still be invalid JSON.
    """
    depth = 0
    for token in _TOKENS.finditer(data, at, len(data) if limit is None else limit):
        first = data[token.start()]
        if first in _OPENING:
            depth += 1
        elif first in _CLOSING:
            depth -= 1
            if not depth:
                return token.end()
        elif token.end() - token.start() == 1:
            return None
    return None
