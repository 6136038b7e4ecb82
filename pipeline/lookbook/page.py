"""What the lookbook says, as plain values: sections with their content and where each came from, and on which page.

Builders (`data.py`, `recommender.py`, ...) make these, templates show them; neither files nor HTML belong here.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from pipeline.views.sources import Source


@dataclass(frozen=True)
class Picture:
    """A picture beside the page, with the size a browser keeps free for it and the words for who cannot see it."""

    src: str  # relative to the page
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Section:
    """One part of the page: `content` is what its template reads."""

    id: str  # anchor, and the template's name
    title: str
    short: str  # the title in the contents
    content: dict[str, Any]
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class LeftOut:
    """A part that could not be made, and why."""

    title: str
    reason: str


@dataclass(frozen=True)
class Leaf:
    """One page of the lookbook, a file of this name."""

    name: str
    title: str  # in the contents
    sections: tuple[Section, ...]

    @property
    def file(self) -> str:
        """Its address, relative to its neighbours."""
        return f"{self.name}.html"


@dataclass(frozen=True)
class Fact:
    """A figure at the head of the lookbook."""

    value: str
    words: str
    asset: str  # that it came from
    partition: str | None = None


@dataclass(frozen=True)
class Door:
    """What the first page shows of another page."""

    leaf: str  # its name
    words: str
    pictures: list[Picture]
    lines: list[tuple[str, str]]  # in the pictures' place, where it has none: a line and what stands below it


# Page -> title and the sections on it. The page of sources and the first page are made of all of them.
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

    label: str  # which data
    embedded: bool  # drawn by Atelier itself
    files: tuple[str, ...]  # the raw files
    facts: tuple[Fact, ...]
    commit: str
    profile: str | None
    built: datetime
    sections: tuple[Section, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]  # what these numbers cannot say
    doors: tuple[Door, ...]

    @property
    def leaves(self) -> list[Leaf]:
        """The pages of which something could be made, in order; the first page and the sources are not among them."""
        made = {section.id: section for section in self.sections}
        chosen = [(n, title, tuple(made[i] for i in ids if i in made)) for n, (title, ids) in LEAVES.items()]
        return [Leaf(name, title, sections) for name, title, sections in chosen if sections]

    def content(self, section: str) -> dict[str, Any] | None:
        """What a section holds; None where it was left out."""
        return next((made.content for made in self.sections if made.id == section), None)

    def source(self, asset: str, partition: str | None = None) -> Source | None:
        """The materialisation of an asset that the lookbook shows."""
        return next((s for s in self.sources if (s.asset, s.partition) == (asset, partition)), None)

    @cached_property
    def sources(self) -> list[Source]:
        """Every materialisation behind the lookbook, once, oldest first."""
        found = {(s.asset, s.partition): s for section in self.sections for s in section.sources}
        return sorted(found.values(), key=lambda source: (source.when, source.asset, source.partition or ""))

    def designs_for(self, user: int) -> list[Any]:
        """What was designed for a person, of the section of designs."""
        return [made for made in (self.content("designs") or {}).get("made", []) if made.id == f"design-{user}"]

    @property
    def people(self) -> int:
        """How many people the page shows."""
        return sum(len(section.content["people"]) for section in self.sections if section.id == "people")
