"""What the documents hold beside prose: commands and snippets, each with the page it stands on."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = ("reference.md", "input-formats.md")  # tests/test_docs.py and test_examples.py read them
PAGES = sorted(path for folder in (ROOT, ROOT / "docs") for path in folder.glob("*.md") if path.name not in GENERATED)
SHELL = re.compile(
    r"(\w+=\S+ +)*(make|pip|python|atelier|\.venv/bin/python|mlflow|dagster|curl|echo|export|ssh|\d+ \d+ \* \* \*) "
)
INLINE = re.compile(r"`((?:\w+=\S+ )*(?:make \w+ |python -m |mlflow |dagster )[^`…]*)`|`(\w+=\S+ make \w+)`")


@dataclass(frozen=True)
class Block:
    """Lines of code between blank lines of a page."""

    page: str
    kind: str  # shell, python, yaml, toml, environment or text
    text: str


def blocks(page: Path) -> list[Block]:
    """The indented and fenced blocks of a page, in order; a blank line ends one."""
    found: list[list[str]] = []
    fence, before = "", ""
    fences: list[str] = []
    for line in [*page.read_text().splitlines(), ""]:
        if line.startswith("```"):
            fence = "" if fence else line[3:] or "text"
            if fence:
                found.append([])
                fences.append(fence)
        elif fence:
            found[-1].append(line)
        elif line.startswith("    "):
            if not before.startswith("    "):
                found.append([])
                fences.append("")
            found[-1].append(line)
        before = line
    texts = [(textwrap.dedent("\n".join(lines)), name) for lines, name in zip(found, fences, strict=True) if lines]
    return [Block(page.name, name or _kind(text), text) for text, name in texts if name != "mermaid"]


def _kind(text: str) -> str:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    if all(re.fullmatch(r"[A-Z_0-9]+=\S+( +#.*)?", line) for line in lines):
        return "environment"
    if re.match(r"(resources|ops):", lines[0]):
        return "yaml"
    return "shell" if SHELL.match(lines[0] + " ") else "python"


def commands(page: Path) -> list[str]:
    """The commands of a page in order: lines of its shell blocks without comments, and what stands in a sentence.

    A command that a sentence only names, without an argument, is no command to run.
    """
    found = []
    for block in blocks(page):
        if block.kind == "shell":
            joined = re.sub(r" *\\\n +", " ", block.text)
            lines = (re.sub(r"(^|  +)#.*", "", line).strip() for line in joined.splitlines())
            found += [line for line in lines if line and not re.fullmatch(r"[A-Z_]+=\S+", line)]
    prose = re.sub(r"^(    |```).*$", "", page.read_text(), flags=re.MULTILINE)
    inline = [" ".join((match[1] or match[2]).split()) for match in INLINE.finditer(prose)]
    return found + [
        command for command in inline if re.sub(r"^(python -m \S+|make \w+|mlflow models \w+)", "", command)
    ]


def everything() -> dict[str, list[str]]:
    """Command -> the pages that it stands on."""
    found: dict[str, list[str]] = {}
    for page in PAGES:
        for command in commands(page):
            found.setdefault(command, []).append(page.name)
    return found
