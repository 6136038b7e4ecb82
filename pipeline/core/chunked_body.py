"""Find where a chunked HTTP body ends (RFC 9112, 7.1) without decoding it.

It is strict on purpose: a body whose framing another parser might read differently is `ambiguous`, and its end must not
be trusted. `connections.py` decides what to do with such a response.
"""

import re

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n\0]*)?\r\n")
_LONGEST_LINE = 8190  # bytes; aiohttp's own bound
_LINES = 1000  # size and trailer lines allowed in any body, and one more per so many bytes:
_BYTES_A_LINE = 256

_SIZE_LINE, _DATA, _DATA_END, _TRAILER = range(4)


class ChunkedBody:
    """The chunked body of one response; pass its bytes to `take` in order."""

    def __init__(self) -> None:
        self.ended = False
        self.ambiguous = False
        self.excessive = False  # more size lines than a body of its size needs: a flood
        self._expects = _SIZE_LINE
        self._left = 0  # bytes left of the current chunk
        self._line = b""  # the received part of an incomplete line
        self._lines = self._bytes = 0

    def take(self, data: bytes, start: int = 0) -> int:
        """Read `data` from `start`; return the position of the body's end in it, or its length."""
        at = start
        while at < len(data) and not (self.ended or self.ambiguous or self.excessive):
            if self._expects == _DATA:
                step = min(self._left, len(data) - at)
                at, self._left = at + step, self._left - step
                if not self._left:
                    self._expects = _DATA_END
                continue
            end = data.find(b"\n", at) + 1
            if not end:
                self._line += data[at:]
                self.excessive = len(self._line) > _LONGEST_LINE
                return len(data)
            line, self._line, at = self._line + data[at:end], b"", end
            self._read(line)
        return at if self.ended else len(data)

    def _read(self, line: bytes) -> None:
        if self._expects == _DATA_END:
            self._expects, self.ambiguous = _SIZE_LINE, line != b"\r\n"
        elif self._expects == _TRAILER:
            self.ended, self.ambiguous = line == b"\r\n", not line.endswith(b"\r\n")
            self._count(0)
        elif found := _SIZE.fullmatch(line):
            self._left = int(found[1], 16)
            self._expects = _DATA if self._left else _TRAILER
            self._count(self._left)
        else:
            self.ambiguous = True

    def _count(self, size: int) -> None:
        self._lines, self._bytes = self._lines + 1, self._bytes + size
        self.excessive = self._lines > _LINES + self._bytes // _BYTES_A_LINE
