"""`python -m pipeline.mirror`: push a home to its copy in an object store, pull it from there, or compare the two."""

import argparse

from rich.console import Console

from pipeline.core.errors import InputError
from pipeline.home import environment
from pipeline.mirror import sync
from pipeline.mirror.store import Store
from pipeline.runtime.arguments import command_parser
from pipeline.runtime.exits import DONE, EXIT_CODES, ended, leave


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(
        "pipeline.mirror",
        "Synchronise the home (ATELIER_HOME) with its copy (ATELIER_STORE: a folder, or s3://bucket/prefix).\n"
        "pipeline.run and pipeline.ui do so by themselves when ATELIER_STORE is set.",
        f"{EXIT_CODES}  here 0 means: synchronised; 1: the store failed; 2: the call is wrong, or both sides changed",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("push", help="copy what is new in the home to the store")
    pull = commands.add_parser("pull", help="copy what is new in the store to the home")
    pull.add_argument("--over", action="store_true", help="overwrite files that were changed in the home, too")
    commands.add_parser("show", help="print the snapshot numbers of the home and the store")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options, console = arguments(argv), Console()

    def work() -> int:
        if not environment.store():
            raise InputError("ATELIER_STORE is not set: name a folder, or s3://bucket/prefix.")
        home, store = environment.writable_home(), Store(environment.store())
        if options.command == "show":
            index, latest = sync.state(home, store)
            size = sum(stored.size for stored in latest.files.values()) / 1e6
            message = (
                f"{store.address}: snapshot {latest.number}, {len(latest.files)} files, {size:.1f} MB\n"
                f"{home}: synchronised with snapshot {index.snapshot}"
            )
        else:
            copied = sync.push(home, store) if options.command == "push" else sync.pull(home, store, options.over)
            message = str(copied) if copied else "synchronised: nothing to copy"
        console.print(message, highlight=False, markup=False, soft_wrap=True)
        return DONE

    return ended(work, console)


if __name__ == "__main__":
    leave(main())
