"""`python -m pipeline.home`: opens a home and says where it lies; to be called once after it was moved or copied.

Every command opens a home in the same way. This one does nothing else, for who goes on with MLflow's own commands.
"""

import argparse
import sys

from rich.console import Console

from pipeline import environment, place
from pipeline.command import DONE, ended


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.home",
        description="Open the home (ATELIER_HOME): where it was moved or copied, what MLflow and Dagster know of its "
        "place is rewritten; where it is of an older format, it is brought up to date.",
        epilog="exit codes: 0 done; 1 it failed; 2 the home cannot be used, the message says what to do",
    )
    parser.parse_args(argv)
    console = Console()

    def work() -> int:
        before = place.recorded(environment.home())
        home = environment.writable_home()
        told = f"{home}: format {place.FORMAT}"
        if before not in (None, home):
            told += f"; it was at {before} before, and all that named that place names this one"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
        return DONE

    return ended(work, console)


if __name__ == "__main__":
    sys.exit(main())
