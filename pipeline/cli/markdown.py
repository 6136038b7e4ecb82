"""Render Markdown for the pages that are generated from the code."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

WIDTH = 118  # characters of a line of prose


def table(*head: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; a cell may hold anything."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


def prose(text: str) -> str:
    """Wrap paragraphs; lists and headings stay as they are."""
    wrap = textwrap.TextWrapper(WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n\n".join(each if each.startswith(("- ", "#")) else wrap.fill(each) for each in text.split("\n\n"))


def codes(names: Iterable[str]) -> str:
    """List names as code, with commas between."""
    return ", ".join(f"`{name}`" for name in names)
