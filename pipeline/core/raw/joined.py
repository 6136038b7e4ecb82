"""Trim lines to their canonical text, and take apart lines that hold several objects.

A file joined from others has such lines where one of them lacked its last newline, and byte-order marks within.
"""

import json
import re
from itertools import pairwise

import numpy as np

from pipeline.core.raw.framing import BYTE_ORDER_MARK, Block
from pipeline.core.raw.spans import object_end

# Around a line: white space, the NULs of a crashed writer, and the separator of RFC 7464.
AROUND = b" \t\r\n\f\v\0\x1e"
OBJECTS_AT_MOST = 100_000  # in one line
_IRREGULAR = np.zeros(256, bool)  # a first or last byte that may be trimmed
_IRREGULAR[[*AROUND, ord(","), BYTE_ORDER_MARK[0], BYTE_ORDER_MARK[-1]]] = True
_SEVERAL = re.compile(rb"\}(?:[ \t\r,\0\x1e]|\xef\xbb\xbf)*\{")
_BETWEEN = re.compile(rb"(?:[ \t\r\n,\0\x1e]|\xef\xbb\xbf)*")


def canonical(line: bytes) -> bytes:
    """Remove white space, NULs and byte-order marks around a line, and a comma after its object."""
    trimmed = line.strip(AROUND)
    while trimmed.startswith(BYTE_ORDER_MARK) or trimmed.endswith(BYTE_ORDER_MARK):
        trimmed = trimmed.removeprefix(BYTE_ORDER_MARK).removesuffix(BYTE_ORDER_MARK).strip(AROUND)
    return trimmed[:-1].rstrip(AROUND) if trimmed.startswith(b"{") and trimmed.endswith(b",") else trimmed


def framed_lines(data: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make each line canonical and end it with one newline; mostly without copying."""
    irregular = _IRREGULAR[data[starts[:-1]]] | _IRREGULAR[data[np.maximum(starts[1:] - 2, 0)]]
    if data[-1] == ord("\n") and not irregular.any():
        return data, starts
    whole = data.tobytes()
    lines = [canonical(whole[a:b]) + b"\n" for a, b in pairwise(starts.tolist())]
    return np.frombuffer(b"".join(lines), np.uint8), np.cumsum([0, *map(len, lines)])


def separated(block: Block, rows: np.ndarray) -> Block | None:
    """Give every object of the lines at `rows` a line of its own; None if each holds one at most.

    The objects keep the number of their line. What follows the last whole object of a line becomes a line too.
    """
    found = {}
    for row in rows.tolist():
        line = block.data[block.starts[row] : block.starts[row + 1]].tobytes()
        spans = _objects(line) if _SEVERAL.search(line) else []
        if len(spans) > 1:
            found[row] = [(at, line[at:end].rstrip(b"\n") + b"\n") for at, end in spans]
    if not found:
        return None
    pieces: list[bytes] = []
    places: list[tuple[int, int]] = []
    whole = block.data.tobytes()
    for row, (start, end) in enumerate(pairwise(block.starts.tolist())):
        line, offset = block.place(row)
        for at, piece in found.get(row, [(0, whole[start:end])]):
            pieces.append(piece)
            places.append((line, -1 if offset is None else offset + at))
    starts = np.cumsum([0, *map(len, pieces)])
    return Block(
        np.frombuffer(b"".join(pieces), np.uint8), starts, block.first_line, block.offset, places=np.array(places)
    )


def _objects(line: bytes) -> list[tuple[int, int]]:
    """Find the objects of a line, all of which are valid JSON except for the rest after the last."""
    spans: list[tuple[int, int]] = []
    at = 0
    while len(spans) < OBJECTS_AT_MOST:
        blanks = _BETWEEN.match(line, at)
        at = blanks.end() if blanks else at
        end = object_end(line, at) if line[at : at + 1] == b"{" else None
        try:
            value = json.loads(line[at:end].decode("utf-8", "replace")) if end else None
        except (ValueError, RecursionError):
            value = None
        if end is None or not isinstance(value, dict) or not value:
            return [*spans, (at, len(line))] if at < len(line) and spans else spans
        spans.append((at, end))
        at = end
    return []
