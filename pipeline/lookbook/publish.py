"""Render the lookbook and write it: first the files, named by their content, then the pages; then delete old files.

Each page is written atomically, and after all files that it shows. A reader, or a kill at any moment, therefore finds
either the old page with its pictures or the new page with its own.
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
class PublishedPages:
    """The path of the first page, and the number and size of the files of all pages."""

    path: Path
    files: int
    size: int  # bytes of the pages and their files


def environment() -> jinja2.Environment:
    """Load the templates; they escape everything, and an unknown name is an error."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        lstrip_blocks=True,
    )
    # `drawing` inserts text without escaping. Only `plots.svg` and the cards may use it, because matplotlib and
    # markdown-it have already escaped their output.
    templates.filters |= {
        "count": _count,
        "share": _share,
        "day": _day,
        "decimals": _decimals,
        "drawing": Markup,
        "class_words": class_words,
    }
    return templates


def render(page: Page, style: str, script: str) -> dict[str, str]:
    """Render every page as HTML, keyed by file name, the first page last; `style` and `script` are addresses."""
    templates = environment()
    files = {"style": style, "script": script, "page": page}
    pages = {
        leaf.file: templates.get_template("leaf.html").render(**files, leaf=leaf, here=leaf.name)
        for leaf in page.leaves
    }
    for name in (SOURCES, INDEX):
        pages[f"{name}.html"] = templates.get_template(f"{name}.html").render(**files, here=name)
    return pages


def publish(page: Page, album: Album, reports: Path) -> PublishedPages:
    """Write the lookbook into `reports`, replacing an earlier one."""
    style, script = (album.add_file((TEMPLATES / f"browse.{e}").read_bytes(), e) for e in ("css", "js"))
    pages = {name: html.encode() for name, html in render(page, style, script).items()}
    folder = reports / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in album.files.items():
        if not (folder / name).is_file():  # files are named by content, so an existing one is correct
            write_whole(folder / name, lambda temporary, content=content: temporary.write_bytes(content))
    for name, html in pages.items():
        write_whole(reports / name, lambda temporary, html=html: temporary.write_bytes(html))
    for name in LEAVES:
        if f"{name}.html" not in pages:
            (reports / f"{name}.html").unlink(missing_ok=True)
    for other in folder.iterdir():
        if other.name not in album.files:
            other.unlink()
    return PublishedPages(reports / f"{INDEX}.html", len(album.files), sum(map(len, pages.values())) + album.size)


def _count(value: float | None) -> str:
    """Format a number with thousands separators; None is a dash."""
    return "–" if value is None else f"{value:,.0f}"


def _decimals(value: float | None, places: int = 3) -> str:
    """Format a decimal number with a true minus sign; None is a dash."""
    return "–" if value is None else f"{value:.{places}f}".replace("-", "−")


def _share(value: float | None, places: int = 0) -> str:
    """Format a share in per cent; None is a dash."""
    return "–" if value is None else f"{100 * value:.{places}f} %"


def _day(when: datetime) -> str:
    """Format a date and time in UTC."""
    return f"{when:%-d %B %Y, %H:%M} UTC"
