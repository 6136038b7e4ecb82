"""Render a table in Markdown, for the pages that are generated from the code."""

from collections.abc import Iterator, Sequence


def table(*head: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; a cell may hold anything."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
