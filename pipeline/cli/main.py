"""`atelier COMMAND`: one console script over every command. Each command is imported only when it is called."""

import importlib
import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command: the module whose `main(arguments)` runs it, and one line of help."""

    module: str
    help: str
    arguments: tuple[str, ...] = ()  # prepended to the caller's arguments
    home: str = ""  # the default of ATELIER_HOME


COMMANDS = {
    "demo": Command("pipeline.cli.run", "run everything on the embedded catalogue", ("--profile", "demo"), "var/demo"),
    "run": Command("pipeline.cli.run", "run everything on your own data, from raw reviews to the lookbook"),
    "inspect": Command("pipeline.cli.inspect", "say what your files hold and what would come of them, in seconds"),
    "ui": Command("pipeline.cli.ui", "serve Dagster's UI with its daemon, and MLflow's UI"),
    "study": Command("pipeline.study.grid", "compare recommenders on several splits and seeds"),
    "study-page": Command("pipeline.study.page", "write tables of studies into documents"),
    "tune": Command("pipeline.cli.tune", "search for better settings of recommenders"),
    "home": Command("pipeline.cli.home", "open a home that was moved or copied, and say where it is"),
    "generator-study": Command("pipeline.study.generator_presets", "compare the generator's presets and switches"),
    "picture-sources": Command(
        "pipeline.study.generator_sources", "compare a generator on vendor pictures with one on customers' too"
    ),
    "lookbook": Command("pipeline.lookbook.__main__", "rebuild the lookbook from what the home holds"),
    "check": Command("pipeline.upkeep.scrub", "verify every file of the home against its digest"),
    "erase": Command("pipeline.erase.erase", "remove a reviewer, a product or a picture from the home"),
    "mirror": Command("pipeline.mirror.__main__", "copy the home to an object store, or back"),
    "catalogue": Command("pipeline.sample.__main__", "draw the embedded catalogue into a folder"),
    "capacity": Command("pipeline.cli.capacity", "estimate what a shop of some size needs"),
    "reference": Command("pipeline.cli.reference", "print every asset, table, setting and variable"),
}


def usage() -> str:
    """Return the usage text with the list of commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: atelier COMMAND [arguments]",
            "",
            "From a shop's raw reviews and product pictures to a visual recommender and a garment generator.",
            "",
            *lines,
            "",
            "atelier COMMAND --help explains a command. ATELIER_HOME names where everything is written (default var/).",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code, 2 if the command is unknown."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if given else 2
    name, rest = given[0], given[1:]
    if name == "--version":
        from importlib.metadata import version

        print(f"atelier {version('atelier')}")
        return 0
    if name not in COMMANDS:
        print(f"atelier: there is no command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    command = COMMANDS[name]
    if command.home:
        os.environ.setdefault("ATELIER_HOME", command.home)
    return importlib.import_module(command.module).main([*command.arguments, *rest])


def console() -> None:
    """Run the console script `atelier`. A signal during the imports ends it with one line instead of a traceback."""
    from models.training import signals

    signals.leave_at_once()
    from pipeline.runtime.exits import leave

    try:
        code = main()
    except BrokenPipeError:  # as in `| head`, where the reader wants no more
        code = 1
    leave(code)


if __name__ == "__main__":
    console()
