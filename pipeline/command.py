"""How a command of the terminal ends: exit codes, and what a person reads when it did not go well.

What a command does is its own module's.
"""

import errno
import os
import traceback
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from pipeline.core.quoting import printable_lines
from pipeline.core.raw.sources import BadInput

DONE, FAILED, WRONG_CALL = 0, 1, 2


def ended(work: Callable[[], int], console: Console, after_failure: str = "") -> int:
    """The exit code of `work`, which returns its own when it gets to its end; what it raises is told on `console`.

    `after_failure` is a further line where the work failed. With ATELIER_TRACEBACK set, the traceback is printed too.
    """
    try:
        return work()
    except BadInput as error:
        console.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return WRONG_CALL
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here")
        return FAILED
    except Exception as error:  # the edge: everything below has been told to raise
        if os.environ.get("ATELIER_TRACEBACK"):
            traceback.print_exc()
        console.print(f"[red]failed:[/] {escape(printable_lines(explained(error)))}", highlight=False, soft_wrap=True)
        if after_failure:
            console.print(after_failure)
        return FAILED


# What a person does about the trouble of a machine, by its errno. Nothing is lost in any of them: files appear whole.
MENDS = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "the quota is used up: make room",
    errno.EFBIG: "files of this size are not allowed here: raise the limit (ulimit -f), or use another disk",
    errno.EROFS: "the disk is mounted read-only: mount it for writing, or name another ATELIER_HOME",
    errno.EACCES: "mend the permissions, or name another ATELIER_HOME",
    errno.EPERM: "mend the permissions, or name another ATELIER_HOME",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
}


def explained(error: BaseException) -> str:
    """What went wrong, and where it is the machine's trouble, how to mend it; looks through what wraps an error."""
    known: BaseException | None = error
    while known is not None:
        if isinstance(known, OSError) and known.errno in MENDS:
            return f"{known}: {MENDS[known.errno]}, and run again."
        if "database is locked" in str(known):
            return (
                f"{str(known).splitlines()[0]}: another process holds a SQLite file under ATELIER_HOME. Run again when "
                "that has ended; where many write at once, use PostgreSQL (docs/operations.md)."
            )
        if any(sign in str(known) for sign in ("disk I/O error", "database or disk is full")):
            return (
                f"{str(known).splitlines()[0]}: a SQLite file under ATELIER_HOME cannot be written: make room on that "
                "disk (or raise the limit, ulimit -f), and run again."
            )
        known = known.__cause__ or known.__context__
    return str(error)
