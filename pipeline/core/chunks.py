"""Where a chunked body ends (RFC 9112, 7.1), found without decoding it, while its bytes go on to the parser.

Strict on purpose: a body whose marks another parser might read differently is `doubtful`, and whoever asks must not
trust in its end. What becomes of such an answer belongs to `lines.py`.
"""

import re

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n\0]*)?\r\n")
_LONGEST_LINE = 8190  # bytes; aiohttp's own bound
_LINES = 1000  # sizes and trailers in any case, and one more for so many bytes:
_BYTES_A_LINE = 256

_SIZE_LINE, _DATA, _DATA_END, _TRAILER = range(4)


class Chunks:
    """The body of one answer; `take` is given its bytes in order."""

    def __init__(self) -> None:
        self.ended = False
        self.doubtful = False
        self.excessive = False  # more marks than a body of its size can need: a flood
        self._expects = _SIZE_LINE
        self._left = 0  # bytes of the chunk at hand
        self._line = b""  # what came of a line that is not whole
        self._lines = self._bytes = 0

    def take(self, data: bytes, start: int = 0) -> int:
        """Read on in `data` from `start`; how many bytes of it there are until the body's end, or all."""
        at = start
        while at < len(data) and not (self.ended or self.doubtful or self.excessive):
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
            self._expects, self.doubtful = _SIZE_LINE, line != b"\r\n"
        elif self._expects == _TRAILER:
            self.ended, self.doubtful = line == b"\r\n", not line.endswith(b"\r\n")
            self._count(0)
        elif found := _SIZE.fullmatch(line):
            self._left = int(found[1], 16)
            self._expects = _DATA if self._left else _TRAILER
            self._count(self._left)
        else:
            self.doubtful = True

    def _count(self, size: int) -> None:
        self._lines, self._bytes = self._lines + 1, self._bytes + size
        self.excessive = self._lines > _LINES + self._bytes // _BYTES_A_LINE
