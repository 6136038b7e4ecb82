"""The process in which strangers' pictures are decoded: what it runs, and its limits of CPU time and memory.

It is started by `decoder.py` and imports little, so that it starts soon: the decoders, and NumPy for theirs.
"""

import contextlib
import hashlib
import json
import math
import os
import resource
import socket
import struct
import sys
import time
import warnings
from pathlib import Path

from pipeline.core.images.pictures import PictureError, read_header, validate

# What the largest pictures need, three times over: 50 million pixels take up to 2.8 s of a core at 2.6 GHz (PNG,
# lossless WebP) and 820 MB (WebP, whose decoder holds the canvas twice).
_SECONDS, _SECONDS_A_PIXEL = 2.0, 2e-7
_MEMORY, _BYTES_A_PIXEL = 256_000_000, 26
_QUICK_SECONDS = 5.0  # for a batch of small pictures, which need no more memory than the first of both

Row = list  # [sha256, format, width, height, plain_jpeg], or [reason, detail], or [] for one that is not quick


def serve() -> None:
    """Answer batches until the parent closes the socket or is gone."""
    warnings.simplefilter("ignore")
    descriptor, max_pixels, min_side, quick = map(int, sys.argv[2:6])
    with socket.socket(fileno=descriptor) as parent, contextlib.suppress(ConnectionError, EOFError):
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_AS, _virtual() + _MEMORY + (0 if quick else _BYTES_A_PIXEL * max_pixels))
        parent.sendall(bytes(4))  # an empty frame: it has started
        while True:
            batch = unpacked(receive(parent))
            _limit_cpu(_QUICK_SECONDS if quick else _SECONDS)
            answer = json.dumps([_judged(data, max_pixels, min_side, quick) for data in batch]).encode()
            parent.sendall(len(answer).to_bytes(4, "little") + answer)
    os._exit(0)  # nothing to tidy up


def _judged(data: bytes, max_pixels: int, min_side: int, quick: int) -> Row:
    try:
        header = read_header(data, max_pixels, min_side)
        # What an AVIF's boxes say of its size need not be what its AV1 stream makes a decoder do: it goes alone.
        if quick and (header.pixels > quick or header.format == "AVIF"):
            return []
        if not quick:
            _limit_cpu(_SECONDS + _SECONDS_A_PIXEL * header.pixels)
        validate(data, header)
    except PictureError as error:
        return [error.reason, error.detail[:200]]
    except MemoryError:
        return ["too_costly", "it does not fit in the memory that a picture may take"]
    return [hashlib.sha256(data).hexdigest(), header.format, header.width, header.height, header.plain_jpeg]


def _limit_cpu(seconds: float) -> None:
    """End this process after so many more seconds of CPU time (whole ones: the system counts no finer)."""
    _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds))


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # a system that does not have this limit (RLIMIT_AS on macOS)
        resource.setrlimit(which, (value, hard))


def _virtual() -> int:
    """Bytes of address space in use, where the system says."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def unpacked(frame: bytes) -> list[bytes]:
    """The pictures of a frame that `decoder.py` made."""
    (count,) = struct.unpack_from("<I", frame)
    at, batch = 4 + 4 * count, []
    for length in struct.unpack_from(f"<{count}I", frame, 4):
        batch.append(frame[at : at + length])
        at += length
    return batch


def receive(end: socket.socket) -> bytes:
    """The next frame: its length, then as many bytes. Raises EOFError where the other end is closed."""
    length = int.from_bytes(_exactly(end, 4), "little")
    return _exactly(end, length)


def _exactly(end: socket.socket, length: int) -> bytes:
    data = bytearray(length)
    view, at = memoryview(data), 0
    while at < length:
        got = end.recv_into(view[at:])
        if not got:
            raise EOFError
        at += got
    return bytes(data)
