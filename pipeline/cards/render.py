"""Cards as text: templates filled, one style of numbers, nothing of the user's read as Markdown or HTML.

What a card says is `recommender.py`'s, `generator.py`'s and `data.py`'s.
"""

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
    """What a template needs; `front` is the model card's head for machines, as the Hugging Face hub reads it."""

    template: str
    content: Mapping[str, Any]
    front: Mapping[str, Any] | None = None


def render(card: Card) -> str:
    """The card as Markdown: equal content, equal text."""
    # Markdown, so HTML's escaping would be wrong; `plain` guards what is not ours.
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {
        "count": _count,
        "decimals": _decimals,
        "interval": _interval,
        "share": _share,
        "plain": plain,
        "code": _code,
    }
    front = yaml.safe_dump(card.front, sort_keys=False, allow_unicode=True) if card.front else ""
    text = made.get_template(f"{card.template}.md").render(it=card.content, front=front)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"\n(?=## )", "\n\n", text))


def write(folder: Path, name: str, card: Card) -> str:
    """Write a card beside its model, whole; returns its text. One that says the same already stays untouched."""
    text = render(card)
    path = folder / name
    if not path.is_file() or path.read_text() != text:
        write_whole(path, lambda temporary: temporary.write_text(text))
    return text


def body(text: str) -> str:
    """A card without its head for machines."""
    return text.split("---\n", 2)[2].lstrip() if text.startswith("---\n") else text


def plain(value: object) -> str:
    """A text of somebody else's as Markdown that shows it, in one line."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*_\[\]|~<>&#])", r"\\\1", text)


def _code(value: object) -> str:
    """A text of somebody else's to stand between backticks, in a table perhaps."""
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
