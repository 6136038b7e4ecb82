"""Handle Ctrl-C, TERM and HUP from a command's first import to its last message, and record which one arrived.

A signal that is ignored when the command starts (`nohup`, a background job) stays ignored.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from types import FrameType

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
PATIENCE = 1.5  # seconds for threads and exit handlers to finish after a command has failed


class ReceivedSignals:
    """The signals that arrived while a command ran, whichever library handled them."""

    def __init__(self, reads: int | None = None) -> None:
        self.reads = reads
        self._numbers: list[int] = []

    @property
    def first(self) -> int | None:
        """Return the first signal that should stop the command, or None."""
        if self.reads is not None:
            with contextlib.suppress(BlockingIOError):
                arrived = [n for n in os.read(self.reads, 4096) if n in STOPPING]
                self._numbers += [n for n in arrived if n not in _process.ignored]
        return self._numbers[0] if self._numbers else None

    def close(self) -> None:
        """Record the last signals; later ones are not recorded."""
        _ = self.first
        self.reads = None


@dataclass
class _Process:
    """The state of this process's command. Global, because signal handlers are."""

    begun: bool = False  # the command has started
    finished: bool = False  # it has printed its last message
    ignored: frozenset[int] = frozenset()  # signals that were ignored when it started
    received: ReceivedSignals = field(default_factory=ReceivedSignals)
    forks_die: bool = False  # the hook for forked processes is registered


_process = _Process()


def leave_at_once() -> None:
    """End the process with one line at any of the signals, for the time of its imports: nothing needs closing yet."""
    for number in STOPPING:
        if not _watched() and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def _watched() -> bool:
    """Return whether this is a rank that torchrun ends; one that waits for other ranks must not handle signals."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def _leave(number: int, _: FrameType | None) -> None:
    if not _process.finished:
        with contextlib.suppress(OSError):
            os.write(2, b"stopped\n" if _process.begun else b"stopped before it began\n")
    os._exit(128 + number)


def check() -> None:
    """Raise KeyboardInterrupt if a signal arrived that a library swallowed."""
    if _process.received.first is not None:
        raise KeyboardInterrupt


@contextlib.contextmanager
def receiving() -> Generator[ReceivedSignals]:
    """Make each of the signals raise KeyboardInterrupt in the block, or do what a library makes Ctrl-C do meanwhile.

    Works in the main thread only, like all signal handlers; in other threads nothing is recorded. Processes forked in
    the block end silently at a signal.
    """
    _process.begun = True
    if _watched() or threading.current_thread() is not threading.main_thread():
        yield ReceivedSignals()
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    _process.ignored = frozenset(number for number, handler in before.items() if handler is signal.SIG_IGN)
    reads, writes = os.pipe()
    for end in (reads, writes):
        os.set_blocking(end, False)
    # Dagster handles TERM like Ctrl-C and forgets which one arrived, so every signal writes its number to this pipe.
    woken = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    outer, _process.received = _process.received, ReceivedSignals(reads)
    ours = _process.received
    _die_in_forks()
    try:
        for number in STOPPING:
            signal.signal(number, _raise)
        yield ours
    finally:
        ours.close()
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        signal.set_wakeup_fd(woken)
        _process.received = outer
        for end in (reads, writes):
            os.close(end)


def _raise(number: int, frame: FrameType | None) -> None:
    if number in _process.ignored:
        return
    as_ctrl_c = signal.getsignal(signal.SIGINT)
    if callable(as_ctrl_c) and as_ctrl_c is not _raise:
        as_ctrl_c(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt


def _die_in_forks() -> None:
    if _process.forks_die or not hasattr(os, "register_at_fork"):
        return
    _process.forks_die = True

    def child() -> None:
        if _process.received.reads is not None:
            signal.set_wakeup_fd(-1)
            for number in STOPPING:
                if number not in _process.ignored:
                    signal.signal(number, signal.SIG_DFL)

    os.register_at_fork(after_in_child=child)


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Ignore the signals in the block, so that the last message is printed whole."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in STOPPING} if main else {}
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        _process.finished = True
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def leave(code: int) -> None:
    """End the process with this exit code, without waiting longer than `PATIENCE` for threads and exit handlers."""

    def end() -> None:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)

    if code:
        watch = threading.Timer(PATIENCE, end)
        watch.daemon = True
        watch.start()
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # as in `| head`, where the reader wants no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError:  # the output's disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = code or 1
    sys.exit(code)
