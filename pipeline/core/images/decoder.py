"""Decode strangers' pictures in a process with limits on CPU time and memory.

The process receives batches over a socket and answers with the results of `validate`. A batch that takes too much time
or memory kills only this process; the parent sees the socket close. The process has no secrets: its environment is
nearly empty, and it imports only decoders. It ends when the socket closes, also when its parent is killed.
"""

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.core.images.decoder_process import Row, receive
from pipeline.core.images.pictures import MAX_PIXELS, MIN_SIDE, Header, PictureError, decode, read_header

QUICK_PIXELS = 1_000_000  # pictures up to this size take 10 ms at most
WALL_SECONDS = 60.0  # per batch, for when it uses no CPU time: the machine sleeps, or the process was stopped

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from pipeline.core.images.decoder_process import serve; serve()"
)
_HOME = str(Path(__file__).resolve().parents[3])  # an editable installation has no place in sys.path
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")

Validated = tuple[str, Header]  # sha256 and header of a good picture


class DecoderDiedError(Exception):
    """The process ended before it answered; `code` is its exit code, negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the process that decodes pictures ended with {code}")
        self.code = code

    @property
    def of_its_limit(self) -> bool:
        """Whether the CPU time limit ended it."""
        return self.code == -signal.SIGXCPU


class Decoder:
    """The parent's handle of one decoder process, which decodes one batch at a time; call `end` when done."""

    def __init__(self, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE, quick: bool = False) -> None:
        self.greeted = False
        self.socket, there = socket.socketpair()
        with there:
            settings = there.fileno(), max_pixels, min_side, QUICK_PIXELS if quick else 0
            # It gets its own session, because only the parent handles Ctrl-C.
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, json.dumps([*sys.path, _HOME]), *map(str, settings)],
                pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT if name in os.environ}
                | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )  # fmt: skip

    def end(self) -> int:
        """Kill the process if it runs; return its exit code."""
        self.socket.close()
        self.process.kill()
        return self.process.wait()

    async def ask(self, batch: Sequence[bytes]) -> list[Row]:
        """Validate a batch. Raises DecoderDiedError or TimeoutError; the decoder is unusable after either."""
        loop = asyncio.get_running_loop()
        self.socket.setblocking(False)
        try:
            async with asyncio.timeout(WALL_SECONDS):
                if not self.greeted:
                    await self._frame(loop)
                    self.greeted = True
                await loop.sock_sendall(self.socket, _packed(batch))
                return json.loads(await self._frame(loop))
        except (ConnectionError, EOFError):
            raise self._died(await asyncio.to_thread(self.end)) from None

    async def _frame(self, loop: asyncio.AbstractEventLoop) -> bytes:
        got = b""
        while len(got) < 4 or len(got) < 4 + int.from_bytes(got[:4], "little"):
            piece = await loop.sock_recv(self.socket, 65_536)
            if not piece:
                raise EOFError
            got += piece
        return got[4:]

    def ask_and_wait(self, batch: Sequence[bytes]) -> list[Row]:
        """Validate a batch like `ask`, for callers without an event loop."""
        self.socket.settimeout(WALL_SECONDS)
        try:
            if not self.greeted:
                receive(self.socket)
                self.greeted = True
            self.socket.sendall(_packed(batch))
            return json.loads(receive(self.socket))
        except (ConnectionError, EOFError):
            raise self._died(self.end()) from None

    def _died(self, code: int) -> Exception:
        if not self.greeted and code > 0:
            return RuntimeError(f"the process that decodes pictures does not start (exit code {code}); see above why")
        return DecoderDiedError(code)


def validated(row: Row) -> Validated:
    """Turn a row of the decoder into sha256 and header, or raise its PictureError."""
    if len(row) == 2:
        raise PictureError(*row)
    return row[0], Header(*row[1:])


def refusal(died: DecoderDiedError) -> Row:
    """Return the row of a picture that killed its decoder when it was decoded alone."""
    if died.code in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL, -signal.SIGFPE):
        return ["not_a_picture", f"its decoder died of {signal.Signals(-died.code).name}"]
    return ["too_costly", "decoding it takes more time or memory than a picture of its size may"]


def decode_posted(data: bytes, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> np.ndarray:
    """Validate a picture from a stranger under limits, then decode it to RGB uint8 [H, W, 3].

    Raises:
        PictureError: the fetch would refuse it too.
        TimeoutError: the machine is too busy.
    """
    header = read_header(data, max_pixels, min_side)
    if header.pixels > QUICK_PIXELS or not header.plain_jpeg:
        decoder = Decoder(max_pixels, min_side)
        try:
            validated(decoder.ask_and_wait([data])[0])
        except DecoderDiedError as died:
            validated(refusal(died))
        finally:
            decoder.end()
    return decode(data, max_pixels, min_side)


def _packed(batch: Sequence[bytes]) -> bytes:
    """Pack a frame: length of the rest, number of pictures, length of each, the pictures."""
    lengths = struct.pack(f"<{1 + len(batch)}I", len(batch), *map(len, batch))
    return b"".join([(len(lengths) + sum(map(len, batch))).to_bytes(4, "little"), lengths, *batch])
