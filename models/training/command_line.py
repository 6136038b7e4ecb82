"""End a training that was started from the terminal: with an exit code, and one line that says why it failed."""

import argparse
import contextlib
import dataclasses
import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Generator
from typing import Any

from models.training import signals
from models.training.files import UnusableFileError
from models.training.progress import Progress

DONE, FAILED, WRONG_CALL = 0, 1, 2
EXIT_CODES = (
    "exit codes: 0 done; 1 training failed; 2 the call, the settings or the data are wrong; 130, 143, 129: stopped by "
    "Ctrl-C, TERM or HUP, and the same command goes on"
)
# errno: what is wrong with the file, and what to do
_REFUSALS = {
    errno.ENOENT: "no such file; correct the path",
    errno.EISDIR: "it is a folder, but a file was expected; correct the path",
    errno.ENOTDIR: "a file is where a folder is needed; give another folder, or move the file away",
    errno.EEXIST: "a file is where a folder is needed; give another folder, or move the file away",
    errno.EACCES: "permission denied; change its permissions",
    errno.EPERM: "permission denied; change its permissions",
    errno.EROFS: "its disk is mounted read-only; give another folder",
    errno.ENOSPC: "its disk is full; make room",
    errno.EFBIG: "the file exceeds the size limit; raise it (ulimit -f)",
    errno.EIO: "its disk reports errors; use another",
}


class UsageError(ValueError):
    """The call, the settings or the data are wrong."""


def add_settings(
    parser: argparse.ArgumentParser, defaults: Any, describe: Callable[[str], str], leave_out: str | None = None
) -> None:
    """Add an option for every field of the settings dataclass `defaults`; an option that is not given stays unset.

    `describe` returns the help text of a field. Fields whose name starts with `leave_out` get no option.
    """
    for setting in dataclasses.fields(defaults):
        if leave_out is not None and setting.name.startswith(leave_out):
            continue
        flag, default = "--" + setting.name.replace("_", "-"), getattr(defaults, setting.name)
        common: dict[str, Any] = {"dest": setting.name, "default": argparse.SUPPRESS, "help": describe(setting.name)}
        if isinstance(default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        elif isinstance(default, tuple):
            parser.add_argument(flag, type=type(default[0]), nargs="+", **common)
        else:
            parser.add_argument(flag, type=int if default is None else type(default), **common)


@contextlib.contextmanager
def reading() -> Generator[None]:
    """Turn errors of reading the input inside the block into UsageError."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise UsageError(_explain(error)) from error


def ended(name: str, work: Callable[[], int]) -> int:
    """Run `work` and return its exit code; print its error as one line on standard error, after `name`."""
    stopped_by = signals.ReceivedSignals()
    try:
        with signals.receiving() as stopped_by:
            return work()
    except BaseException as error:  # everything below raises; here every error becomes an exit code
        with signals.quiet():
            if os.environ.get("ATELIER_TRACEBACK"):
                traceback.print_exception(error)
            if stopped_by.first or isinstance(error, KeyboardInterrupt):
                _say("\nstopped; the same command goes on from here")
                return 128 + (stopped_by.first or signal.SIGINT)
            if not isinstance(error, BrokenPipeError):  # as in `| head`, where the reader wants no more
                _say(f"\n{name}: {_explain(error)}")
            return WRONG_CALL if isinstance(error, UsageError) else FAILED


def _explain(error: BaseException) -> str:
    if isinstance(error, OSError) and not isinstance(error, UnusableFileError) and error.errno:
        refused = _REFUSALS.get(error.errno, os.strerror(error.errno))
        text = f"{error.filename or 'a file'}: {refused}"
    elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        text = "memory ran out; lower batch_size"
    elif isinstance(error, ValueError | RuntimeError | OSError) and str(error):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = re.sub(r"(?<=[:;]); ", " ", "; ".join(lines))
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def print_ticks(progress: Progress) -> None:
    """Print a training's progress on one line, which is kept at the end of a tick and overwritten otherwise."""
    metrics = "  ".join(f"{name} {value:.4g}" for name, value in progress.metrics.items() if name != "step")
    end = "\n" if progress.note.startswith("tick") else ""
    print(f"\r{progress.done}/{progress.total}  {progress.seconds_left:.0f} s left  {metrics}", end=end, flush=True)
