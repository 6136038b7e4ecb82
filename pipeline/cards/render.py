"""Render cards as Markdown: fill the templates, format numbers, and escape text that comes from the user."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from pipeline.core.durable import write_whole

TEMPLATES = Path(__file__).parent / "templates"
MODEL_CARD, DATA_CARD = "model_card.md", "data_card.md"


@dataclass(frozen=True)
class Card:
    """A template and its content; `front` is the metadata at the head of a model card, for the Hugging Face hub."""

    template: str
    content: Mapping[str, Any]
    front: Mapping[str, Any] | None = None


def render(card: Card) -> str:
    """Render the card as Markdown; equal content gives equal text."""
    # No HTML escaping, because this is Markdown; templates apply `plain` to text that is not ours.
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    templates.filters |= {
        "count": _count,
        "decimals": _decimals,
        "interval": _interval,
        "share": _share,
        "plain": plain,
        "code": _code,
    }
    front = yaml.safe_dump(card.front, sort_keys=False, allow_unicode=True) if card.front else ""
    text = templates.get_template(f"{card.template}.md").render(it=card.content, front=front)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"\n(?=## )", "\n\n", text))


def write(folder: Path, name: str, card: Card) -> str:
    """Write a card beside its model, atomically, and return its text; an equal card is not written again."""
    text = render(card)
    path = folder / name
    if not path.is_file() or path.read_text() != text:
        write_whole(path, lambda temporary: temporary.write_text(text))
    return text


def body(text: str) -> str:
    """Remove the metadata at the head of a card."""
    return text.split("---\n", 2)[2].lstrip() if text.startswith("---\n") else text


def plain(value: object) -> str:
    """Escape foreign text for Markdown, in one line."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*_\[\]|~<>&#])", r"\\\1", text)


def _code(value: object) -> str:
    """Clean foreign text for use between backticks, also inside a table."""
    return " ".join(str(value).replace("`", "'").replace("|", "/").split())


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _decimals(value: float | None, places: int) -> str:
    return "–" if value is None else f"{value:.{places}f}".replace("-", "−")


def _interval(ends: Sequence[float | None] | None) -> str:
    if ends is None or any(end is None for end in ends):
        return "–"
    return " to ".join(_decimals(end, 3) for end in ends)


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"
