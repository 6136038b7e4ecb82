"""Exit codes of terminal commands, and the one-line message when a command fails.

`models/training/signals.py` handles signals; `pipeline/home/damage.py` finds damaged files.
"""

import contextlib
import errno
import io
import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from models.training import signals
from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.home import damage

DONE, FAILED, WRONG_CALL = 0, 1, 2
STOPPED = 128  # plus the signal's number: 130 after Ctrl-C, 143 after TERM, 129 after HUP
EXIT_CODES = """\
exit codes: 0 done; 1 the work failed, the message says what to do; 2 the call or the configuration is wrong;
  130 (Ctrl-C), 143 (TERM), 129 (HUP) stopped, the same command goes on from there
"""
ROOT = Path(__file__).resolve().parents[1]
_LONGEST = 2000  # characters of a message

leave = signals.leave  # exits with the code that main() returned


def ended(work: Callable[[], int], console: Console, after_failure: str = "") -> int:
    """Run `work` and return its exit code; if it raises, print the reason on `console` and return the code for that.

    `after_failure` is another line to print after a failure. With ATELIER_TRACEBACK set, the traceback is printed too.
    A signal that stops the command is reported too, whenever it arrives; further signals make it end sooner.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot print a character gets its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    stopped_by = signals.ReceivedSignals()
    try:
        with signals.receiving() as stopped_by:
            return work()
    except BaseException as error:  # the outermost handler: everything below raises
        with signals.quiet():
            return _report(error, stopped_by.first, console, after_failure)


def _report(error: BaseException, stopped_by: int | None, console: Console, after_failure: str) -> int:
    if os.environ.get("ATELIER_TRACEBACK"):
        traceback.print_exception(error)
    chain = list(_chain(error))
    if stopped_by or any(_is_interrupt(one) for one in chain):
        _say(console, "stopped; the same command goes on from here")
        return STOPPED + (stopped_by or signal.SIGINT)
    if console.quiet or (isinstance(error, BrokenPipeError | SystemExit) and _is_stdout_closed()):
        return FAILED  # `| head`: the reader has closed the pipe
    if _is_wrong_call(chain):
        _say(console, f"[red]error:[/] {escape(explained(error))}")
        return WRONG_CALL
    _say(console, f"[red]failed:[/] {escape(explained(error))}")
    if after_failure:
        _say(console, after_failure)
    return FAILED


def _say(console: Console, line: str) -> None:
    try:
        console.print(line, highlight=False, soft_wrap=True)
    except (OSError, SystemExit):  # the disk of the output is full, or its reader has closed the pipe
        with contextlib.suppress(OSError):
            os.write(2, console.render_str(line).plain.encode(errors="backslashreplace") + b"\n")


def _is_stdout_closed() -> bool:
    """Return whether the reader of the standard output has closed it."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(happened & select.POLLERR for _, happened in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


def _is_interrupt(error: BaseException) -> bool:
    # Dagster's interrupt is no subclass of KeyboardInterrupt. Compared by name: most commands do not import Dagster.
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "DagsterExecutionInterruptedError"


def _is_wrong_call(chain: list[BaseException]) -> bool:
    wrong = ("DagsterInvalidConfigError", "DagsterInvalidSubsetError", "DagsterInvalidAssetSelectionError")
    return any(isinstance(one, InputError) or type(one).__name__ in wrong for one in chain)


# What to do about an error of the machine, by errno. None of them loses data, because files are written atomically.
REMEDIES = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "the quota is used up: make room",
    errno.EFBIG: "files of this size are not allowed here: raise the limit (ulimit -f), or use another disk",
    errno.EROFS: "the disk is mounted read-only: mount it for writing, or name another ATELIER_HOME",
    errno.EACCES: "fix the permissions, or name another ATELIER_HOME",
    errno.EPERM: "fix the permissions, or name another ATELIER_HOME",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.EIO: "the disk reports errors: look at it, restore the home from its copy",
    errno.EEXIST: "something else is in the place of a folder of the home: move it away",
    errno.ENOTDIR: "a file is in the place of a folder of the home: move it away",
    errno.EISDIR: "a folder is in the place of a file of the home: move it away",
    errno.ENOENT: "it was deleted or never made: `python -m pipeline.run` makes what a home lacks",
    errno.ECONNREFUSED: "nothing answers there: start it, or correct the address in the environment",
}


def explained(error: BaseException) -> str:
    """Describe an error in one line, with a remedy if one is known; looks inside wrapping errors."""
    chain = list(_chain(error))
    known = next((text for text in map(_with_remedy, chain) if text), None)
    text = known or _own_message(chain)
    step = next((one.step_key for one in _chain(error, hidden=True) if hasattr(one, "step_key")), "")
    if step and not _is_wrong_call(chain):
        text = f"{step}: {text}"
    return one_line(text)


def one_line(text: str) -> str:
    """Join a message's lines, without tracebacks and SQL; escape control characters."""
    text = re.split(r"\n?\[SQL: |\n?\(Background on this error", text)[0]
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    begins = next((n for n, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")), None)
    if begins is not None:
        lines = [*lines[:begins], lines[-1]]
    joined = ""
    for line in lines:
        joined += ("" if not joined else " " if joined[-1] in ":;,." else "; ") + line
    return printable(joined, _LONGEST)


def _chain(error: BaseException | None, hidden: bool = False) -> Iterator[BaseException]:
    """Yield the error and its causes, outermost first, each once, because Dagster's errors form a cycle.

    hidden: also yield contexts that a traceback would not show.
    """
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        if one.__cause__ is not None:
            waiting.append(one.__cause__)
        if hidden or (one.__cause__ is None and not one.__suppress_context__):
            waiting.append(one.__context__)


def _with_remedy(error: BaseException) -> str:
    """Describe one error of a chain with its remedy; empty if none is known."""
    text, first = str(error), (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, InputError):
        message = text
    elif isinstance(error, OSError) and error.errno in REMEDIES:
        message = f"{error}: {REMEDIES[error.errno]}, and run again."
    elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        detail = f" ({first})" if first else ""
        message = f"memory ran out{detail}: lower batch_size or image_bank's size, and run again."
    elif type(error).__module__.startswith("pyarrow") and (broken := damage.tables()):
        makes = ", ".join(path.relative_to(damage.TABLES).with_suffix("").as_posix() for path in broken)
        message = (
            f"{', '.join(map(str, broken))}: cut off or damaged; delete it and materialise {makes} again "
            "(python -m pipeline.run does), or restore it."
        )
    else:
        message = _database_remedy(text, first)
    return message


def _database_remedy(text: str, first: str) -> str:
    """Describe an error of SQLite or PostgreSQL with its remedy, whichever library raised it; empty if unknown."""
    if "database is locked" in text:
        return (
            f"{first}: another process holds a SQLite file under ATELIER_HOME. Run again when "
            "it has ended; if many write at once, use PostgreSQL (docs/operations.md)."
        )
    if any(sign in text for sign in ("disk I/O error", "database or disk is full")):
        return (
            f"{first}: a SQLite file under ATELIER_HOME cannot be written: make room on that "
            "disk (or raise the limit, ulimit -f), and run again."
        )
    if any(sign in text for sign in ("file is not a database", "database disk image is malformed")):
        named = ", ".join(map(str, damage.databases())) or "a SQLite file under ATELIER_HOME"
        return f"{named}: damaged ({first}); restore it from a copy, or move it away to start a new one, and run again."
    if "psycopg" in first:
        return f"{first}: PostgreSQL failed; start it, or correct ATELIER_DATABASE, and run again."
    return ""


def _own_message(chain: list[BaseException]) -> str:
    """Describe the outermost error of a chain that does not wrap another one."""
    own = [one for one in chain if not _wraps(one)] or chain[-1:]
    error = own[0]
    text = str(error).strip()
    if isinstance(error, SystemExit):
        return f"the work called sys.exit({error.code!r})"
    if not text:
        text = next((f" (after {_with_type(one)})" for one in own[1:] if str(one).strip()), "")
        return f"{type(error).__name__} without a word{text}{_place(error)}"
    return text if _is_sentence(error) else f"{_with_type(error)}{_place(error)}"


def _wraps(error: BaseException) -> bool:
    inside = error.__cause__ or error.__context__
    retried = type(error).__name__ == "RetryRequested"
    return isinstance(error, BaseExceptionGroup) or (bool(inside) and (retried or _is_dagsters(error)))


def _is_dagsters(error: BaseException) -> bool:
    return type(error).__module__.startswith("dagster.") and type(error).__name__ != "Failure"


def _is_sentence(error: BaseException) -> bool:
    """Return whether an error's text is a message to a person; the text of a bug needs its type beside it."""
    return type(error).__module__ != "builtins" or isinstance(error, OSError | RuntimeError | ValueError)


def _with_type(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip()}"


def _place(error: BaseException) -> str:
    """Format the file and line of the project that an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT) and ".venv" not in frame.filename]
    return f" ({Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno})" if ours else ""
