"""The page rendered and put in its place, whole: files first, each named by its content, then the page, then the broom.

A reader, or a kill at any moment, finds the old page with its pictures or the new one with its own. What the page
says is `build.py`'s.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import jinja2

from pipeline.core.durable import write_whole
from pipeline.lookbook.album import FOLDER, Album
from pipeline.lookbook.page import Page

TEMPLATES = Path(__file__).parent / "templates"
INDEX = "index.html"


@dataclass(frozen=True)
class Published:
    """Where the page lies, and what a browser loads to show all of it."""

    path: Path
    files: int
    size: int  # bytes, the page and its files


def environment() -> jinja2.Environment:
    """The templates: everything escaped, an unknown name is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        lstrip_blocks=True,
    )
    made.filters |= {"count": _count, "share": _share, "day": _day, "decimals": _decimals}
    return made


def render(page: Page, style: str) -> str:
    """The page as HTML; `style` is the address of its style sheet."""
    return environment().get_template("page.html").render(page=page, style=style)


def publish(page: Page, album: Album, reports: Path) -> Published:
    """Write the page into `reports`, in place of the one that is there."""
    html = render(page, album.add_file((TEMPLATES / "style.css").read_bytes(), "css")).encode()
    folder = reports / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in album.files.items():
        if not (folder / name).is_file():  # a name is a content, so what is there is right
            write_whole(folder / name, lambda temporary, content=content: temporary.write_bytes(content))
    write_whole(reports / INDEX, lambda temporary: temporary.write_bytes(html))
    for other in folder.iterdir():
        if other.name not in album.files:
            other.unlink()
    return Published(reports / INDEX, len(album.files), len(html) + album.size)


def _count(value: float | None) -> str:
    """A number with separators; a dash where there is none."""
    return "–" if value is None else f"{value:,.0f}"


def _decimals(value: float | None, places: int = 3) -> str:
    """A figure with a true minus; a dash where there is none."""
    return "–" if value is None else f"{value:.{places}f}".replace("-", "−")


def _share(value: float | None, places: int = 0) -> str:
    """A share in per cent."""
    return "–" if value is None else f"{100 * value:.{places}f} %"


def _day(when: datetime) -> str:
    """A moment, in UTC."""
    return f"{when:%-d %B %Y, %H:%M} UTC"
