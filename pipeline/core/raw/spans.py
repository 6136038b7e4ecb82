"""Where a JSON object ends, by its brackets and texts alone: for objects that Python's parser will not build, and for
those that nobody needs parsed. In time in proportion to the bytes, whatever they hold, and at any depth.
"""

import re

# Possessive, so that a text that never ends is looked at once; the last branch is the quote that begins such a text.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]"]', re.DOTALL)
_OPENING, _CLOSING = b"{[", b"}]"


def object_end(data: bytes, at: int, limit: int | None = None) -> int | None:
    """The position behind the object or list that begins at `at`; None where it does not end before `limit`.

    That its inside is JSON is not said.
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
