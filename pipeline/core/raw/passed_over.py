"""Raw files given up on: what could not be read, time and again, is passed over until it is another file.

A home keeps the list in `passed_over.json`. Who decides to give up is `pipeline/upkeep/drops.py`.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.core.durable import write_whole

LIST = "passed_over.json"  # under the home


@dataclass(frozen=True)
class GivenUp:
    """One file, as it was when it was given up on."""

    source: str  # the asset: raw_reviews or raw_products
    name: str  # its path, or its URL as it may be shown
    mark: str  # size and date, or the server's version: with another mark it is another file
    error: str
    tries: int
    at: str  # ISO 8601
    passed_over: bool = True  # False: nothing of its source would be left without it, so nothing new is read


def read(home: str | Path) -> tuple[GivenUp, ...]:
    """The list of a home; empty where there is none."""
    path = Path(home) / LIST
    if not str(home) or not path.is_file():
        return ()
    return tuple(GivenUp(**entry) for entry in json.loads(path.read_text()))


def write(home: str | Path, entries: Iterable[GivenUp]) -> None:
    """Replace the list of a home."""
    text = json.dumps([asdict(entry) for entry in entries], indent=2)
    write_whole(Path(home) / LIST, lambda temporary: temporary.write_text(text + "\n"))
