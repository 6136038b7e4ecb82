"""What the page says, as plain values: sections with their content and where each came from.

Builders (`data.py`, `recommender.py`, ...) make these, templates show them; neither files nor HTML belong here.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Picture:
    """A picture beside the page, with the size a browser keeps free for it and the words for who cannot see it."""

    src: str  # relative to the page
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Source:
    """The materialisation that a figure came from."""

    asset: str
    partition: str | None
    dagster_run: str
    mlflow_run: str | None
    when: datetime


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
class Page:
    """The whole page."""

    label: str  # which data
    embedded: bool  # drawn by Atelier itself
    files: tuple[str, ...]  # the raw files
    facts: tuple[tuple[str, str], ...]  # figure, what it counts
    commit: str
    profile: str | None
    built: datetime
    sections: tuple[Section, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]  # what these numbers cannot say

    @property
    def sources(self) -> list[Source]:
        """Every materialisation behind the page, once, oldest first."""
        found = {(s.asset, s.partition): s for section in self.sections for s in section.sources}
        return sorted(found.values(), key=lambda source: (source.when, source.asset, source.partition or ""))

    @property
    def designed(self) -> set[str]:
        """The anchors of the people for whom the page shows designs."""
        return {made.id for section in self.sections if section.id == "designs" for made in section.content["made"]}

    @property
    def people(self) -> int:
        """How many people the page shows."""
        return sum(len(section.content["people"]) for section in self.sections if section.id == "people")
