"""Write tables of studies into documents: `python -m pipeline.study.page`.

A document names each table in a pair of comments, and what lies between them is replaced:

    <!-- study NAME PROTOCOL MODE TABLE [MODEL ...] -->
    <!-- end of study -->

NAME is a folder of $ATELIER_HOME/studies, PROTOCOL a protocol or `weeks`, TABLE one of summary, ranking, lists,
differences, runs, ablation, skipped, and of weeks by_week or ageing. With models, only their rows are shown. Nothing
here computes a figure; all are read from report.json.
"""

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.core.durable import write_whole
from pipeline.core.errors import InputError
from pipeline.home import environment
from pipeline.runtime.arguments import command_parser
from pipeline.runtime.exits import DONE, ended, leave
from pipeline.study.tables import TABLES
from pipeline.study.weeks import WEEKS

DOCUMENTS = ("README.md", "docs/recommender-study.md")
MARKED = re.compile(r"(?m)^<!-- study (?P<words>.+) -->\n(?P<content>[\s\S]*?)^<!-- end of study -->$")


@dataclass(frozen=True)
class Marker:
    """A table that a document asks for."""

    study: str
    protocol: str
    mode: str
    table: str
    models: tuple[str, ...] = ()

    @classmethod
    def parse(cls, words: str) -> "Marker":
        """Read the words of a marker. Raises InputError if some are missing or the table is unknown."""
        study, protocol, mode, table, *models = [*words.split(), *[""] * 4][: max(4, len(words.split()))]
        if table not in TABLES:
            raise InputError(
                f"<!-- study {words} -->: write a study, a protocol, a mode and one of the tables {', '.join(TABLES)}."
            )
        return cls(study, protocol, mode, table, tuple(models))


def markers(text: str) -> list[Marker]:
    """List the tables that a document asks for."""
    return [Marker.parse(found["words"]) for found in MARKED.finditer(text)]


def filled(text: str, reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Replace the tables of the studies in `reports` (name -> its report.json); others stay as they are.

    Raises:
        InputError: a study has no such protocol, mode or model, or its table would be empty.
    """

    def replaced(found: re.Match[str]) -> str:
        marker = Marker.parse(found["words"])
        if marker.study not in reports:
            return found[0]
        lines = _lines(marker, reports[marker.study])
        if not lines:
            raise InputError(f"<!-- study {found['words']} -->: the study has nothing for this table.")
        return "\n".join([f"<!-- study {found['words']} -->", *lines, "<!-- end of study -->"])

    return MARKED.sub(replaced, text)


def _lines(marker: Marker, report: Mapping[str, Any]) -> list[str]:
    of_weeks, table = TABLES[marker.table]
    if of_weeks != (marker.protocol == WEEKS):
        raise InputError(f"table {marker.table}: it is of {WEEKS}, not of a protocol, or the other way round.")
    by_mode = report["weeks"] if of_weeks else report["protocols"].get(marker.protocol, {})
    if marker.mode not in by_mode:
        raise InputError(
            f"study {marker.study} has no finished cells of {marker.protocol}, {marker.mode}; run it with them first."
        )
    figures = dict(by_mode[marker.mode])
    for name in ("by_week", "ageing") if of_weeks else ("models",):
        absent = [model for model in marker.models if model not in figures[name]]
        if absent:
            raise InputError(f"study {marker.study}: no model {', '.join(absent)} in {marker.protocol}, {marker.mode}.")
        if marker.models:
            figures[name] = {model: figures[name][model] for model in marker.models}
    return table(figures)


def reports_of(home: Path, names: set[str]) -> dict[str, dict[str, Any]]:
    """Read report.json of those of the studies that the home has."""
    paths = {name: home / "studies" / name / "report.json" for name in sorted(names)}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}


def write(documents: list[Path], home: Path, console: Console) -> None:
    """Write the tables of the home's studies into documents.

    Raises:
        InputError: a document is missing or asks for no table, or the home has none of the studies.
    """
    texts: dict[Path, str] = {}
    for path in documents:
        if not path.is_file():
            raise InputError(f"{path}: no such file; call this in the folder of the project, or name the documents.")
        texts[path] = path.read_text()
    asked = {path: {marker.study for marker in markers(text)} for path, text in texts.items()}
    wanted = set().union(*asked.values())
    reports = reports_of(home, wanted)
    if not reports:
        missing = (
            f"{home / 'studies'} has no report of {', '.join(sorted(wanted))}: run python -m pipeline.study first."
        )
        raise InputError(missing if wanted else f"no table of a study is asked for in {', '.join(map(str, texts))}.")
    for path, text in texts.items():
        made = filled(text, reports)
        if made != text:
            write_whole(path, lambda temporary, made=made: temporary.write_text(made))
        for name in sorted(asked[path]):
            state = "written" if name in reports else "not in this home; its tables stay as they are"
            console.print(f"{path}: study {name}: {state}", highlight=False, soft_wrap=True)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("pipeline.study.page", __doc__)
    parser.add_argument("documents", nargs="*", type=Path, help=f"default {' and '.join(DOCUMENTS)}")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options, console = arguments(argv), Console()

    def work() -> int:
        write(options.documents or [Path(name) for name in DOCUMENTS], environment.home(), console)
        return DONE

    return ended(work, console)


if __name__ == "__main__":
    leave(main())
