"""How a command of the terminal ends: exit codes, and what a person reads when it did not go well.

What a command does is its own module's.
"""

import os
import traceback
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from pipeline.core.sources import BadInput

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
        console.print(f"[red]failed:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        if after_failure:
            console.print(after_failure)
        return FAILED
