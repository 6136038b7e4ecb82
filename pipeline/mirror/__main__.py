"""`python -m pipeline.mirror`: a home and its copy in an object store, brought in step by hand."""

import argparse

from rich.console import Console

from pipeline.core.errors import InputError
from pipeline.home import environment
from pipeline.mirror import sync
from pipeline.mirror.store import Store
from pipeline.runtime.exits import DONE, EXIT_CODES, ended, leave


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.mirror",
        description="Bring the home (ATELIER_HOME) and its copy (ATELIER_STORE: a folder, or s3://bucket/prefix) in "
        "step. pipeline.run and pipeline.ui do so by themselves where ATELIER_STORE is set.",
        epilog=f"{EXIT_CODES}  here 0 means: in step; 1: the store failed; 2: the call is wrong, or both have changed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("push", help="copy what is new in the home to the store")
    taking = commands.add_parser("pull", help="take what is new in the store into the home")
    taking.add_argument("--over", action="store_true", help="also over files that were changed here since")
    commands.add_parser("show", help="say which snapshot each is at")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    options, console = arguments(argv), Console()

    def work() -> int:
        if not environment.store():
            raise InputError("ATELIER_STORE is not set: name a folder, or s3://bucket/prefix.")
        home, store = environment.writable_home(), Store(environment.store())
        if options.command == "show":
            index, latest = sync.state(home, store)
            size = sum(stored.size for stored in latest.files.values()) / 1e6
            told = (
                f"{store.address}: snapshot {latest.number}, {len(latest.files)} files, {size:.1f} MB\n"
                f"{home}: in step with snapshot {index.snapshot}"
            )
        else:
            moved = sync.push(home, store) if options.command == "push" else sync.pull(home, store, options.over)
            told = str(moved) if moved else "in step: nothing to copy"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
        return DONE

    return ended(work, console)


if __name__ == "__main__":
    leave(main())
