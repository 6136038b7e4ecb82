"""What stops a command: Ctrl-C, TERM and HUP, from its first import to its last word, and which of them it was.

Whoever starts the command may have it ignore one of them (`nohup`, a job in the background): that stays so.
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
PATIENCE = 1.5  # seconds that threads and exit handlers have, once a command has said why it failed


class Heard:
    """The signals that arrived while a command was at work, whoever handled them."""

    def __init__(self, reads: int | None = None) -> None:
        self.reads = reads
        self._numbers: list[int] = []

    @property
    def first(self) -> int | None:
        """The first that was to stop the command; None where none arrived."""
        if self.reads is not None:
            with contextlib.suppress(BlockingIOError):
                heard = [n for n in os.read(self.reads, 4096) if n in STOPPING]
                self._numbers += [n for n in heard if n not in _process.ignored]
        return self._numbers[0] if self._numbers else None

    def close(self) -> None:
        """Take note of what came last; nothing is heard afterwards."""
        _ = self.first
        self.reads = None


@dataclass
class _Process:
    """What is known of this process's command: handlers are the process's, so this is too."""

    begun: bool = False  # it is at work, or was
    told: bool = False  # it has had its last word
    ignored: frozenset[int] = frozenset()  # as it was started
    heard: Heard = field(default_factory=Heard)
    forks_die: bool = False  # what is forked from it has been seen to


_process = _Process()


def leave_at_once() -> None:
    """End this process in one line at any of them: while it imports, there is nothing to close."""
    for number in STOPPING:
        if not _watched() and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def _watched() -> bool:
    """Whether this is one of torchrun's ranks, which torchrun ends: one that waits for the others must not hear."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def _leave(number: int, _: FrameType | None) -> None:
    if not _process.told:
        with contextlib.suppress(OSError):
            os.write(2, b"stopped\n" if _process.begun else b"stopped before it began\n")
    os._exit(128 + number)


def check() -> None:
    """Raise KeyboardInterrupt where a signal has arrived that a library has swallowed."""
    if _process.heard.first is not None:
        raise KeyboardInterrupt


@contextlib.contextmanager
def heard() -> Generator[Heard]:
    """Have each of them raise KeyboardInterrupt in the block, or whatever a library has Ctrl-C raise meanwhile.

    In the main thread alone, as handlers are; elsewhere nothing is heard. Processes that are forked in the block end
    at once at a signal, without a word.
    """
    _process.begun = True
    if _watched() or threading.current_thread() is not threading.main_thread():
        yield Heard()
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    _process.ignored = frozenset(number for number, handler in before.items() if handler is signal.SIG_IGN)
    reads, writes = os.pipe()
    for end in (reads, writes):
        os.set_blocking(end, False)
    # Dagster handles TERM like Ctrl-C and forgets which one arrived; every signal writes its number to this descriptor.
    woken = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    outer, _process.heard = _process.heard, Heard(reads)
    ours = _process.heard
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
        _process.heard = outer
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
        if _process.heard.reads is not None:
            signal.set_wakeup_fd(-1)
            for number in STOPPING:
                if number not in _process.ignored:
                    signal.signal(number, signal.SIG_DFL)

    os.register_at_fork(after_in_child=child)


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Let none of them disturb the block: a last word that is said whole."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in STOPPING} if main else {}
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        _process.told = True
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def leave(code: int) -> None:
    """End the process with this exit code: as usual, or where a thread or an exit handler holds it up, without them."""

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
    except BrokenPipeError:  # what nobody reads (`| head`) is nobody's trouble
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError:  # the output's disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = code or 1
    sys.exit(code)
