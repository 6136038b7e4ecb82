"""How a command of the terminal ends: exit codes, and the one line that a person reads when it did not go well.

Signals are handled in `models/training/signals.py`, damaged files of a home in `pipeline/home/damage.py`.
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
_LONGEST = 2000  # characters of a reason

leave = signals.leave  # what a module does with the exit code of its main()


def ended(work: Callable[[], int], console: Console, after_failure: str = "") -> int:
    """The exit code of `work`, which returns its own when it gets to its end; what it raises is told on `console`.

    `after_failure` is a further line where the work failed. With ATELIER_TRACEBACK set, the traceback is printed too.
    Signals that stop a command are told too, wherever they arrive in `work`; a further one hurries its end.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter of ours gets its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    stopped_by = signals.Heard()
    try:
        with signals.heard() as stopped_by:
            return work()
    except BaseException as error:  # the edge: everything below has been told to raise
        with signals.quiet():
            return _report(error, stopped_by.first, console, after_failure)


def _report(error: BaseException, stopped_by: int | None, console: Console, after_failure: str) -> int:
    if os.environ.get("ATELIER_TRACEBACK"):
        traceback.print_exception(error)
    chain = list(_chain(error))
    if stopped_by or any(_is_interrupt(one) for one in chain):
        _say(console, "stopped; the same command goes on from here")
        return STOPPED + (stopped_by or signal.SIGINT)
    if console.quiet or (isinstance(error, BrokenPipeError | SystemExit) and _nobody_reads()):
        return FAILED  # `| head`: whoever read has read enough
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
    except (OSError, SystemExit):  # there is no room where the output goes, or nobody reads it
        with contextlib.suppress(OSError):
            os.write(2, console.render_str(line).plain.encode(errors="backslashreplace") + b"\n")


def _nobody_reads() -> bool:
    """Whether the other end of the standard output is closed."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(happened & select.POLLERR for _, happened in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


def _is_interrupt(error: BaseException) -> bool:
    # Dagster's own stands beside KeyboardInterrupt, not under it. By name: most commands do without Dagster.
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "DagsterExecutionInterruptedError"


def _is_wrong_call(chain: list[BaseException]) -> bool:
    wrong = ("DagsterInvalidConfigError", "DagsterInvalidSubsetError", "DagsterInvalidAssetSelectionError")
    return any(isinstance(one, InputError) or type(one).__name__ in wrong for one in chain)


# What a person does about the trouble of a machine, by its errno. Nothing is lost in any of them: files appear whole.
MENDS = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "the quota is used up: make room",
    errno.EFBIG: "files of this size are not allowed here: raise the limit (ulimit -f), or use another disk",
    errno.EROFS: "the disk is mounted read-only: mount it for writing, or name another ATELIER_HOME",
    errno.EACCES: "mend the permissions, or name another ATELIER_HOME",
    errno.EPERM: "mend the permissions, or name another ATELIER_HOME",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.EIO: "the disk reports errors: look at it, restore the home from its copy",
    errno.EEXIST: "something else stands where a folder of the home belongs: move it away",
    errno.ENOTDIR: "a file stands where a folder of the home belongs: move it away",
    errno.EISDIR: "a folder stands where a file of the home belongs: move it away",
    errno.ENOENT: "it is gone, or was never made: `python -m pipeline.run` makes what is missing in a home",
    errno.ECONNREFUSED: "nothing answers there: start it, or mend the address in the environment",
}


def explained(error: BaseException) -> str:
    """What went wrong in one line, and how to mend it where that is known; looks through what wraps an error."""
    chain = list(_chain(error))
    known = next((told for told in map(_with_mend, chain) if told), None)
    text = known or _own_words(chain)
    step = next((one.step_key for one in _chain(error, hidden=True) if hasattr(one, "step_key")), "")
    if step and not _is_wrong_call(chain):
        text = f"{step}: {text}"
    return one_line(text)


def one_line(text: str) -> str:
    """A message of ours, or of a library, in one line without a traceback in it; what a terminal obeys is escaped."""
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
    """The error and what it came from, the outermost first, each once: Dagster's point at each other.

    hidden: also what a traceback would not show, as it was raised `from` something else.
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


def _with_mend(error: BaseException) -> str:
    """What is known to help against one error of a chain; empty where nothing is."""
    text, first = str(error), (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, InputError):
        told = text
    elif isinstance(error, OSError) and error.errno in MENDS:
        told = f"{error}: {MENDS[error.errno]}, and run again."
    elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        said = f" ({first})" if first else ""
        told = f"memory ran out{said}: lower batch_size or image_bank's size, and run again."
    elif type(error).__module__.startswith("pyarrow") and (broken := damage.tables()):
        makes = ", ".join(path.relative_to(damage.TABLES).with_suffix("").as_posix() for path in broken)
        told = (
            f"{', '.join(map(str, broken))}: cut off or damaged; delete it and materialise {makes} again "
            "(python -m pipeline.run does), or restore it."
        )
    else:
        told = _of_a_database(text, first)
    return told


def _of_a_database(text: str, first: str) -> str:
    """The same of what SQLite and PostgreSQL say, whatever library wraps it."""
    if "database is locked" in text:
        return (
            f"{first}: another process holds a SQLite file under ATELIER_HOME. Run again when "
            "that has ended; where many write at once, use PostgreSQL (docs/operations.md)."
        )
    if any(sign in text for sign in ("disk I/O error", "database or disk is full")):
        return (
            f"{first}: a SQLite file under ATELIER_HOME cannot be written: make room on that "
            "disk (or raise the limit, ulimit -f), and run again."
        )
    if any(sign in text for sign in ("file is not a database", "database disk image is malformed")):
        named = ", ".join(map(str, damage.databases())) or "a SQLite file under ATELIER_HOME"
        return f"{named}: damaged ({first}); restore it from a copy, or move it away to begin a new one, and run again."
    if "psycopg" in first:
        return f"{first}: PostgreSQL did not do it; start it, or mend ATELIER_DATABASE, and run again."
    return ""


def _own_words(chain: list[BaseException]) -> str:
    """The outermost error of a chain that is nobody's wrapping, in its own words."""
    own = [one for one in chain if not _wraps(one)] or chain[-1:]
    error = own[0]
    text = str(error).strip()
    if isinstance(error, SystemExit):
        return f"the work left by sys.exit({error.code!r})"
    if not text:
        text = next((f" (after {_named(one)})" for one in own[1:] if str(one).strip()), "")
        return f"{type(error).__name__} without a word{text}{_place(error)}"
    return text if _speaks(error) else f"{_named(error)}{_place(error)}"


def _wraps(error: BaseException) -> bool:
    inside = error.__cause__ or error.__context__
    retried = type(error).__name__ == "RetryRequested"
    return isinstance(error, BaseExceptionGroup) or (bool(inside) and (retried or _is_dagsters(error)))


def _is_dagsters(error: BaseException) -> bool:
    return type(error).__module__.startswith("dagster.") and type(error).__name__ != "Failure"


def _speaks(error: BaseException) -> bool:
    """Whether an error's text is a sentence to a person: bugs raise what says little without its name."""
    return type(error).__module__ != "builtins" or isinstance(error, OSError | RuntimeError | ValueError)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip()}"


def _place(error: BaseException) -> str:
    """Where in the project an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT) and ".venv" not in frame.filename]
    return f" ({Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno})" if ours else ""
