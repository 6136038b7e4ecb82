"""The content of the lookbook as plain values: pages, sections, and the materialisations that they came from.

Section builders make these values and templates show them. Neither files nor HTML belong here.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from pipeline.views.sources import Source


@dataclass(frozen=True)
class Picture:
    """A picture file, with the size that a browser reserves for it and a text for readers who cannot see it."""

    src: str  # relative to the page
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Section:
    """A section of a page; its template reads `content`."""

    id: str  # the anchor, and the name of the template
    title: str
    short: str  # the title in the table of contents
    content: dict[str, Any]
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class LeftOut:
    """A section that could not be made, and why."""

    title: str
    reason: str


@dataclass(frozen=True)
class Leaf:
    """A page of the lookbook, in a file of its own."""

    name: str
    title: str  # the title in the table of contents
    sections: tuple[Section, ...]

    @property
    def file(self) -> str:
        """Return the name of its file."""
        return f"{self.name}.html"


@dataclass(frozen=True)
class Fact:
    """A figure at the head of the lookbook."""

    value: str
    words: str
    asset: str  # the asset that it came from
    partition: str | None = None


@dataclass(frozen=True)
class Door:
    """A link from the first page to another page."""

    leaf: str  # name of the other page
    words: str
    pictures: list[Picture]
    lines: list[tuple[str, str]]  # for a page without pictures: a line, and the smaller line below it


# Page -> its title and sections. The first page and the page of sources use all sections.
LEAVES = {
    "data": ("Data", ("data",)),
    "recommender": ("Recommender", ("recommender",)),
    "people": ("People", ("people",)),
    "garments": ("Garments", ("garments",)),
    "designs": ("Designs", ("designs", "restyled")),
    "cards": ("Cards", ("cards",)),
}
INDEX, SOURCES = "index", "sources"


@dataclass(frozen=True)
class Page:
    """The whole lookbook."""

    label: str  # names the data
    extent: str  # how much of it was used; empty: all, with k = 5
    embedded: bool  # whether the data was drawn by Atelier itself
    files: tuple[str, ...]  # names of the raw files
    facts: tuple[Fact, ...]
    commit: str
    profile: str | None
    built: datetime
    sections: tuple[Section, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]  # caveats
    doors: tuple[Door, ...]
    popularity: Any = None  # where popularity is served: that, and what would help
    lists: tuple[Any, ...] = ()  # of each image mode: whose lists are served, and how they compare with popularity

    @property
    def leaves(self) -> list[Leaf]:
        """List the pages with at least one section, in order, without the first page and the page of sources."""
        by_id = {section.id: section for section in self.sections}
        chosen = [(n, title, tuple(by_id[i] for i in ids if i in by_id)) for n, (title, ids) in LEAVES.items()]
        return [Leaf(name, title, sections) for name, title, sections in chosen if sections]

    def content(self, section: str) -> dict[str, Any] | None:
        """Return the content of a section; None if it was left out."""
        return next((other.content for other in self.sections if other.id == section), None)

    def source(self, asset: str, partition: str | None = None) -> Source | None:
        """Return the materialisation of an asset that the lookbook shows; None if it shows none."""
        return next((s for s in self.sources if (s.asset, s.partition) == (asset, partition)), None)

    @cached_property
    def sources(self) -> list[Source]:
        """List every materialisation behind the lookbook once, oldest first."""
        by_asset = {(s.asset, s.partition): s for section in self.sections for s in section.sources}
        return sorted(by_asset.values(), key=lambda source: (source.when, source.asset, source.partition or ""))

    def designs_for(self, user: int) -> list[Any]:
        """List the designs for a person from the section of designs."""
        return [one for one in (self.content("designs") or {}).get("made", []) if one.id == f"design-{user}"]

    @property
    def people(self) -> int:
        """Count the people shown."""
        return sum(len(section.content["people"]) for section in self.sections if section.id == "people")
