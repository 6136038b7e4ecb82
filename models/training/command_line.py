"""How a training that is called from the terminal ends: its exit code, and one line that says why.

What it trains is its own module's; who calls it from a pipeline has ends of its own.
"""

import contextlib
import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Generator

from models.training import signals
from models.training.files import UnusableFileError

DONE, FAILED, WRONG_CALL = 0, 1, 2
EXIT_CODES = (
    "exit codes: 0 done; 1 training failed; 2 the call, the settings or the data are wrong; 130, 143, 129: stopped by "
    "Ctrl-C, TERM or HUP, and the same command goes on"
)
# What a machine refuses, in words, and the mend.
_REFUSALS = {
    errno.ENOENT: "it is not there; mend the path",
    errno.EISDIR: "it is a folder, and a file was expected; mend the path",
    errno.ENOTDIR: "a file stands where a folder belongs; give another folder, or move it away",
    errno.EEXIST: "a file stands where a folder belongs; give another folder, or move it away",
    errno.EACCES: "it may not be used; mend its permissions",
    errno.EPERM: "it may not be used; mend its permissions",
    errno.EROFS: "its disk is mounted read-only; give another folder",
    errno.ENOSPC: "its disk is full; make room",
    errno.EFBIG: "a file may not grow so large here; raise the limit (ulimit -f)",
    errno.EIO: "its disk reports errors; use another",
}


class UsageError(ValueError):
    """The call, the settings or the data are wrong."""


@contextlib.contextmanager
def reading() -> Generator[None]:
    """What goes wrong in the block is the call's fault: UsageError, with the reason."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise UsageError(_explained(error)) from error


def ended(name: str, work: Callable[[], int]) -> int:
    """Run `work`, return its exit code, and print what it raises as one line on standard error, after `name`."""
    heard = signals.Heard()
    try:
        with signals.heard() as heard:
            return work()
    except BaseException as error:  # the edge: everything below has been told to raise
        with signals.quiet():
            if os.environ.get("ATELIER_TRACEBACK"):
                traceback.print_exception(error)
            if heard.first or isinstance(error, KeyboardInterrupt):
                _say("\nstopped; the same command goes on from here")
                return 128 + (heard.first or signal.SIGINT)
            if not isinstance(error, BrokenPipeError):  # `| head`: whoever read has read enough
                _say(f"\n{name}: {_explained(error)}")
            return WRONG_CALL if isinstance(error, UsageError) else FAILED


def _explained(error: BaseException) -> str:
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
