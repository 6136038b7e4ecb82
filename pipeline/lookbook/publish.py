"""The lookbook rendered and put in its place: files first, each named by its content, then the pages, then the broom.

Each page is written whole and after everything that it shows, so a reader, or a kill at any moment, finds the old page
with its pictures or the new one with its own. What the pages say is `build.py`'s.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import jinja2
from markupsafe import Markup

from pipeline.core.durable import write_whole
from pipeline.lookbook.album import FOLDER, Album
from pipeline.lookbook.page import INDEX, LEAVES, SOURCES, Page
from pipeline.views.words import class_words

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Published:
    """Where the first page lies, and what a browser loads to show all of them."""

    path: Path
    files: int
    size: int  # bytes, the pages and their files


def environment() -> jinja2.Environment:
    """The templates: everything escaped, an unknown name is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        lstrip_blocks=True,
    )
    # Only `plots.svg` and the cards make text that stands in a page as it is; matplotlib and markdown-it have escaped
    # what they wrote.
    made.filters |= {
        "count": _count,
        "share": _share,
        "day": _day,
        "decimals": _decimals,
        "drawing": Markup,
        "class_words": class_words,
    }
    return made


def render(page: Page, style: str, script: str) -> dict[str, str]:
    """Every page as HTML, by its file's name, the first page last; style sheet and script are addresses."""
    templates = environment()
    files = {"style": style, "script": script, "page": page}
    made = {
        leaf.file: templates.get_template("leaf.html").render(**files, leaf=leaf, here=leaf.name)
        for leaf in page.leaves
    }
    for name in (SOURCES, INDEX):
        made[f"{name}.html"] = templates.get_template(f"{name}.html").render(**files, here=name)
    return made


def publish(page: Page, album: Album, reports: Path) -> Published:
    """Write the lookbook into `reports`, in place of the one that is there."""
    style, script = (album.add_file((TEMPLATES / f"browse.{e}").read_bytes(), e) for e in ("css", "js"))
    pages = {name: html.encode() for name, html in render(page, style, script).items()}
    folder = reports / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in album.files.items():
        if not (folder / name).is_file():  # a name is a content, so what is there is right
            write_whole(folder / name, lambda temporary, content=content: temporary.write_bytes(content))
    for name, html in pages.items():
        write_whole(reports / name, lambda temporary, html=html: temporary.write_bytes(html))
    for name in LEAVES:
        if f"{name}.html" not in pages:
            (reports / f"{name}.html").unlink(missing_ok=True)
    for other in folder.iterdir():
        if other.name not in album.files:
            other.unlink()
    return Published(reports / f"{INDEX}.html", len(album.files), sum(map(len, pages.values())) + album.size)


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
