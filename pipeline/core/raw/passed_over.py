"""Store the list of raw files that failed repeatedly and are skipped until they change.

The list is `passed_over.json` in the home. `pipeline/upkeep/drops.py` decides which files to skip.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.core.durable import write_whole

LIST = "passed_over.json"  # under the home


@dataclass(frozen=True)
class GivenUp:
    """A skipped file, with its version at that time."""

    source: str  # the asset: raw_reviews, raw_products or raw_customers
    name: str  # its path, or its URL without secrets
    mark: str  # size and date, or the server's version; a file with another mark is read again
    error: str
    tries: int
    at: str  # ISO 8601
    passed_over: bool = True  # False: its source has no other file, so nothing new is read


def read(home: str | Path) -> tuple[GivenUp, ...]:
    """Read the list of a home; empty if there is none."""
    path = Path(home) / LIST
    if not str(home) or not path.is_file():
        return ()
    return tuple(GivenUp(**entry) for entry in json.loads(path.read_text()))


def write(home: str | Path, entries: Iterable[GivenUp]) -> None:
    """Replace the list of a home."""
    text = json.dumps([asdict(entry) for entry in entries], indent=2)
    write_whole(Path(home) / LIST, lambda temporary: temporary.write_text(text + "\n"))
