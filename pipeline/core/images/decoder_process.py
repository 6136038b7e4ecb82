"""Run the process that decodes strangers' pictures, under limits on CPU time and memory.

`decoder.py` starts it. To start fast, it imports only the decoders, and NumPy because they need it.
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

# Three times what the largest pictures need: 50 million pixels take up to 2.8 s of a core at 2.6 GHz (PNG, lossless
# WebP) and 820 MB (WebP, whose decoder holds the canvas twice).
_SECONDS, _SECONDS_A_PIXEL = 2.0, 2e-7
_MEMORY, _BYTES_A_PIXEL = 256_000_000, 26
_QUICK_SECONDS = 5.0  # for a batch of small pictures, which fit in _MEMORY

Row = list  # [sha256, format, width, height, plain_jpeg], or [reason, detail], or [] for a picture that is not quick


def serve() -> None:
    """Answer batches until the parent closes the socket or ends."""
    warnings.simplefilter("ignore")
    descriptor, max_pixels, min_side, quick = map(int, sys.argv[2:6])
    with socket.socket(fileno=descriptor) as parent, contextlib.suppress(ConnectionError, EOFError):
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_AS, _virtual() + _MEMORY + (0 if quick else _BYTES_A_PIXEL * max_pixels))
        parent.sendall(bytes(4))  # an empty frame says that the process has started
        while True:
            batch = unpacked(receive(parent))
            _limit_cpu(_QUICK_SECONDS if quick else _SECONDS)
            answer = json.dumps([_check_picture(data, max_pixels, min_side, quick) for data in batch]).encode()
            parent.sendall(len(answer).to_bytes(4, "little") + answer)
    os._exit(0)  # there is nothing to clean up


def _check_picture(data: bytes, max_pixels: int, min_side: int, quick: int) -> Row:
    try:
        header = read_header(data, max_pixels, min_side)
        # The stream in ISO boxes may cost more than they announce, so it is never decoded in a batch.
        if quick and (header.pixels > quick or header.format in ("AVIF", "HEIF")):
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
    """Let the system kill this process after `seconds` more of CPU time, rounded up to whole seconds."""
    _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds))


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # the system lacks this limit (RLIMIT_AS on macOS)
        resource.setrlimit(which, (value, hard))


def _virtual() -> int:
    """Return the bytes of address space in use; 0 if the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def unpacked(frame: bytes) -> list[bytes]:
    """Unpack the pictures of a frame from `decoder.py`."""
    (count,) = struct.unpack_from("<I", frame)
    at, batch = 4 + 4 * count, []
    for length in struct.unpack_from(f"<{count}I", frame, 4):
        batch.append(frame[at : at + length])
        at += length
    return batch


def receive(end: socket.socket) -> bytes:
    """Receive the next frame: its length, then its bytes. Raises EOFError if the other end is closed."""
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
