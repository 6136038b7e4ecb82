"""`python -m pipeline.cli.reference`: print or write the pages of docs/ that are generated from the code.

docs/reference.md lists assets, tables, settings, environment variables and profiles; `input_formats.py` renders
docs/input-formats.md. Explanations belong in the other pages.
"""

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from pipeline.build import build_definitions
from pipeline.cli import input_formats
from pipeline.cli.markdown import table
from pipeline.core import column_docs
from pipeline.home import environment
from pipeline.runtime.exits import DONE, EXIT_CODES, ended, leave
from pipeline.settings import method, profiles
from pipeline.settings.launchpad import help_texts
from pipeline.settings.ops import OPS
from pipeline.settings.presets import describe_default

GROUPS = ("ingest", "images", "dataset", "recommender", "generator", "report")
DOCS = Path(__file__).parents[2] / "docs"
UNOWNED = {"PICTURES": "a shard of the picture store", "BANK_INDEX": "the bank's index"}  # tables that no asset returns


def page() -> str:
    """Render the reference as Markdown."""
    parts = [_opening(), _assets(), _tables(), _settings(), _environment(), _profiles()]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _opening() -> Iterator[str]:
    yield "# Reference"
    yield ""
    yield "Generated from the code by `python -m pipeline.cli.reference --write`; a test compares them."


def _assets() -> Iterator[str]:
    graph = build_definitions().resolve_asset_graph()
    nodes = {node.key.to_user_string(): node for node in graph.asset_nodes}
    yield "## Assets"
    for group in GROUPS:
        of_group = {name: node for name, node in nodes.items() if node.group_name == group}
        yield f"\n### {group}\n"
        rows = [
            (
                f"`{name}`",
                _first_paragraph(node.description, of_mode=node.partitions_def is not None),
                ", ".join(f"`{key.to_user_string()}`" for key in sorted(node.parent_keys)),
            )
            for name, node in sorted(of_group.items())
        ]
        yield from table("asset", "what it is", "made from", rows=rows)


def _first_paragraph(description: str | None, *, of_mode: bool) -> str:
    first = " ".join((description or "").split("\n\n")[0].split())
    return f"{first} One for each image mode." if of_mode else first


def _tables() -> Iterator[str]:
    yield "## Tables"
    yield ""
    yield "Parquet, one file per table, or per image mode. Columns that may be null say so."
    for name, schema in sorted(column_docs.known().items()):
        meaning, of_column = f" ({UNOWNED[name]})" if name in UNOWNED else "", column_docs.of(name)
        yield f"\n### {name.lower()}{meaning}\n"
        rows = [
            (f"`{field.name}`", f"{field.type}{', nullable' if field.nullable else ''}", of_column.get(field.name, ""))
            for field in schema
        ]
        yield from table("column", "type", "meaning", rows=rows)


def _settings() -> Iterator[str]:
    yield "## Settings"
    yield ""
    yield "By op, as in a profile's `ops` section and in Dagster's launchpad. A setting that is not set comes from the"
    yield "profile, then from the preset."
    for op, classes in OPS.items():
        yield f"\n### {op}\n"
        rows = [
            (f"`{name}`", text, f"`{describe_default(cls, name)}`")
            for cls in classes
            for name, text in help_texts(cls).items()
        ]
        yield from table("setting", "meaning", "value unless set", rows=rows)


def _environment() -> Iterator[str]:
    yield "## Environment"
    yield ""
    rows = []
    for _, function in inspect.getmembers(environment, inspect.isfunction):
        found = re.match(r"`([A-Z_]+)`(?: \((.+?)\))?[:.]?\s*(.*)", inspect.getdoc(function) or "")
        if found and function.__module__ == environment.__name__:
            meaning = ". ".join(filter(None, (found[3].strip().rstrip("."), found[2])))
            rows.append((f"`{found[1]}`", " ".join(meaning.split())))
    yield from table("variable", "meaning", rows=sorted(rows))


def _profiles() -> Iterator[str]:
    yield "## Profiles"
    yield ""
    rows = []
    for name in profiles.names():
        text = (profiles.FOLDER / f"{name}.yaml").read_text()
        comment = re.match(r"(?:#.*\n)+", text)
        about = " ".join(line.lstrip("# ") for line in comment[0].splitlines()) if comment else ""
        rows.append((f"`{name}`", f"`{method.Method(profile=name).chosen_preset()}`", about))
    yield from table("profile", "preset", "what it is for", rows=rows)


PAGES: dict[str, Callable[[], str]] = {"reference.md": page, "input-formats.md": input_formats.page}


def main(arguments: list[str] | None = None) -> int:
    """Print the pages, or write them to docs/; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.cli.reference",
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help=f"write {' and '.join(PAGES)} instead of printing")
    options = parser.parse_args(arguments)

    def work() -> int:
        for name, render in PAGES.items():
            if options.write:
                (DOCS / name).write_text(render())
            else:
                sys.stdout.write(render())
        return DONE

    return ended(work, Console(stderr=True))


if __name__ == "__main__":
    leave(main())
