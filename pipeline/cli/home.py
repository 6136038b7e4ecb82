"""`python -m pipeline.cli.home`: open a home and print its path, once after the home was moved or copied.

Every command opens a home in the same way. This one does nothing else; use it before you run MLflow's own commands.
"""

import argparse
import sys

from rich.console import Console

from pipeline.home import environment, place
from pipeline.runtime.exits import DONE, ended


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.cli.home",
        description="Open the home (ATELIER_HOME). If it was moved or copied, rewrite its path in MLflow's and "
        "Dagster's records. If it has an older format, bring it up to date.",
        epilog="exit codes: 0 done; 1 it failed; 2 the home cannot be used, the message says what to do",
    )
    parser.parse_args(argv)
    console = Console()

    def work() -> int:
        before = place.recorded(environment.home())
        home = environment.writable_home()
        message = f"{home}: format {place.FORMAT}"
        if before not in (None, home):
            message += f"; it was at {before} before, and every record of that path now names this one"
        console.print(message, highlight=False, markup=False, soft_wrap=True)
        return DONE

    return ended(work, console)


if __name__ == "__main__":
    sys.exit(main())
