"""Record how much of a shop's data a table was made from: k of the k-core, sample, image modes, candidates.

The interactions carry this in their schema's metadata, which Parquet keeps, and pass it on to the splits, the
addresses of pictures, the garments and the models. So whatever was made from a sample says so. Drawing the sample
belongs in `kcore.py`.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.core.schemas import IMAGE_MODES

CARRIED = b"atelier.extent"  # key in a table's schema metadata


@dataclass(frozen=True)
class Sample:
    """A sample of users to draw, with all their reviews: how many, and the seed of the draw.

    The users are those with the smallest hashes of seed and id among the users with k distinct items, so the same
    users are drawn whatever the order of the files, and a larger sample contains a smaller one of the same seed.
    """

    users: int
    seed: int = 0

    def rank(self, column: str) -> str:
        """Return SQL of the text that users are ordered by, from SQL of their id."""
        return f"md5('{self.seed:d}:' || {column})"


@dataclass(frozen=True)
class Extent:
    """How much of a shop's data was used. The default is everything, with the k of the paper."""

    k: int = 5
    iterative: bool = False
    users: int | None = None  # drawn; None: no sample was drawn
    of_users: int | None = None  # users with k distinct items, from whom they were drawn
    seed: int | None = None  # of the draw
    modes: tuple[str, ...] = IMAGE_MODES  # image modes whose pictures are listed
    candidates: str = "bought"  # one of candidates.CANDIDATES

    def __post_init__(self) -> None:
        object.__setattr__(self, "modes", tuple(self.modes))  # JSON has a list

    @property
    def sampled(self) -> bool:
        """Return whether a sample of the users was drawn."""
        return self.users is not None

    @property
    def label(self) -> str:
        """Describe what differs from the whole shop with the paper's k; empty if nothing does."""
        parts = []
        if self.users is not None:
            parts.append(f"sample: {self.users:,} of {self.of_users:,} users (seed {self.seed})")
        if parts or self.k != Extent.k or self.iterative:
            parts.append(f"k = {self.k}{' for users and items' if self.iterative else ''}")
        return ", ".join(parts)

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> "Extent":
        """Make an extent from its fields as JSON has them; None is an earlier version's and means everything."""
        return cls(**values) if values else cls()

    def plain(self) -> dict[str, Any]:
        """Return the fields, for JSON; `candidates` only if it is not the default, as an earlier version had none."""
        fields = dataclasses.asdict(self)
        return fields if self.candidates != Extent.candidates else {k: fields[k] for k in fields if k != "candidates"}

    def parameters(self) -> dict[str, int]:
        """Return the numbers for a tracked run's parameters."""
        found = {"data.k": self.k, "data.sample_users": self.users, "data.of_users": self.of_users}
        return {name: value for name, value in {**found, "data.sample_seed": self.seed}.items() if value is not None}

    def metadata(self) -> dict[str, str]:
        """Return the label as an asset's metadata; empty if there is no label."""
        return {"extent": self.label} if self.label else {}

    def tags(self) -> dict[str, str]:
        """Return the label as a tracked run's tag; empty if there is no label."""
        return {"data.extent": self.label} if self.label else {}


def carrying(table: pa.Table, extent: Extent | None) -> pa.Table:
    """Record an extent in the table's schema metadata; without one, return the table as it is."""
    if extent is None:
        return table
    text = json.dumps(extent.plain()).encode()
    return table.replace_schema_metadata({**(table.schema.metadata or {}), CARRIED: text})


def recorded(table: pa.Table) -> Extent | None:
    """Read the extent that `carrying` recorded; None for a table of an earlier version, and for one without users."""
    carried = (table.schema.metadata or {}).get(CARRIED)
    return None if carried is None else Extent.of(json.loads(carried))


def extent_of(table: pa.Table, k: int = Extent.k) -> Extent:
    """Read the extent that `carrying` recorded; for a table without, everything with this k."""
    return recorded(table) or Extent(k)
