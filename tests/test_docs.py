"""The documents say what is so: links lead somewhere, commands exist, the reference is the code's.

That commands run and snippets are read is tests/documents.
"""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from pipeline.cli import reference

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_to_a_file(page: Path):
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_exists(page: Path):
    text = page.read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^    |`)(?:\w+=\S+ )*make ([a-z]+)", text, re.MULTILINE)) <= targets
    for module in re.findall(r"python -m ((?:pipeline|models|benchmarks|tests)(?:\.\w+)*)", text):
        assert importlib.util.find_spec(module), f"{page.name}: python -m {module}"


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_generated_page_is_what_the_code_says(name: str):
    written = (reference.DOCS / name).read_text()
    assert written == reference.PAGES[name](), "run python -m pipeline.cli.reference --write"


def test_every_path_that_a_docstring_names_exists():
    stale = []
    for package in ("atelier", "models", "pipeline", "benchmarks"):
        for module in sorted((ROOT / package).rglob("*.py")):
            around = (ROOT, module.parent, ROOT / "pipeline")
            for node in ast.walk(ast.parse(module.read_text())):
                if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    named = re.findall(r"`([\w./-]+\.(?:py|md|toml|yaml))`", ast.get_docstring(node) or "")
                    named += re.findall(r"docs/[\w-]+\.md", ast.get_docstring(node) or "")
                    stale += [
                        f"{module.relative_to(ROOT)}: {n}" for n in named if not any((a / n).exists() for a in around)
                    ]
    assert stale == []
