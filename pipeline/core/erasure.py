"""Keep the list of erased names, and filter them out of tables.

The list must outlive the erased data, or the next ingest would read it again. So it holds keyed digests, not names: a
person with the list can confirm a guessed name, and learn nothing else. `pipeline/erase/erase.py` finds and removes
what a home already holds.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import signatures
from pipeline.core.durable import write_whole

KINDS = ("reviewer", "asin", "url")
LIST = "erased.json"  # under the home
_WORDS = re.compile(r"(?:https?|s3)://[^\s\"'<>\\]+|[\w.-]+")  # candidates for a name in a rejected line


@dataclass(frozen=True)
class Erasures:
    """The names erased from a home, as keyed digests."""

    salt: str
    entries: tuple[dict[str, str], ...] = ()  # kind, digest, at; of: digest of the name that a URL was erased with
    _digests: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, home: Path) -> "Erasures":
        """Read the list of a home; it is empty if nothing was ever erased."""
        path = home / LIST
        if not path.is_file():
            return cls.none()
        stored = json.loads(path.read_text())
        entries = tuple(stored["erased"])
        return cls(stored["salt"], entries, frozenset(entry["digest"] for entry in entries))

    @classmethod
    def none(cls) -> "Erasures":
        """Create an empty list with a new salt."""
        return cls(secrets.token_hex(16))

    def __bool__(self) -> bool:
        return bool(self.entries)

    def digest_of(self, kind: str, name: str) -> str:
        """Compute the keyed digest of a name, 32 hex digits; a URL is digested without its signature."""
        return self._digest(kind, signatures.key(name) if kind == "url" else name)

    def _digest(self, kind: str, name: str) -> str:
        return hashlib.blake2b(f"{kind}\0{name}".encode(), key=bytes.fromhex(self.salt), digest_size=16).hexdigest()

    @property
    def version(self) -> str:
        """Return a text that changes with the list; empty for an empty list."""
        if not self.entries:
            return ""
        return hashlib.sha256("\n".join(sorted(self._digests)).encode()).hexdigest()[:16]

    def holds(self, kind: str, name: str) -> bool:
        """Return whether this name was erased."""
        # Earlier versions stored the digest of a URL with its signature.
        return self.digest_of(kind, name) in self._digests or self._digest(kind, name) in self._digests

    def with_more(self, kind: str, name: str, urls: Iterable[str]) -> "Erasures":
        """Return a list that also has this name and the URLs erased with it."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        first = self.digest_of(kind, name)
        more = [{"kind": kind, "digest": first, "at": now}]
        more += [{"kind": "url", "digest": self.digest_of("url", url), "at": now, "of": first} for url in sorted(urls)]
        new = [entry for entry in more if entry["digest"] not in self._digests]
        entries = (*self.entries, *new)
        return Erasures(self.salt, entries, frozenset(entry["digest"] for entry in entries))

    def write(self, home: Path) -> None:
        """Write this as the home's list."""
        text = json.dumps({"salt": self.salt, "erased": list(self.entries)}, indent=1) + "\n"
        write_whole(home / LIST, lambda temporary: temporary.write_text(text))

    def mask(self, kind: str, column: pa.ChunkedArray | pa.Array) -> np.ndarray:
        """Mark the values of a string column that were erased: bool [rows]."""
        if not self.entries or not len(column):
            return np.zeros(len(column), bool)
        encoded = (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).dictionary_encode()
        hit = np.array([name is not None and self.holds(kind, name) for name in encoded.dictionary.to_pylist()], bool)
        codes = encoded.indices.fill_null(-1).to_numpy()
        return np.append(hit, False)[codes]  # the last is for null

    def from_reviews(self, reviews: pa.Table) -> pa.Table:
        """Remove erased reviewers, products and photos from REVIEWS."""
        gone = self.mask("reviewer", reviews["reviewer_id"]) | self.mask("asin", reviews["asin"])
        return self._without_urls(reviews.filter(pa.array(~gone)) if gone.any() else reviews, ("image_urls",))

    def from_products(self, products: pa.Table) -> pa.Table:
        """Remove erased products and pictures from PRODUCTS."""
        gone = self.mask("asin", products["asin"])
        kept = products.filter(pa.array(~gone)) if gone.any() else products
        return self._without_urls(kept, ("vendor_urls", "vendor_urls_high"))

    def from_customers(self, customers: pa.Table) -> pa.Table:
        """Remove erased persons from CUSTOMERS."""
        gone = self.mask("reviewer", customers["reviewer_id"])
        return customers.filter(pa.array(~gone)) if gone.any() else customers

    def from_rejects(self, rejects: pa.Table, pictures: Callable[[str, Path], Iterable[str]]) -> pa.Table:
        """Blank the text of REJECTS lines that contain an erased name.

        `pictures` lists the addresses of local pictures that a text of a file may name (`raw/named_pictures.py`).
        """
        texts, files = rejects["text"].to_pylist(), rejects["file"].to_pylist()
        names = [
            any(self.holds(kind, word) for word in _WORDS.findall(text) for kind in KINDS)
            or any(self.holds("url", address) for address in pictures(text, Path(file)))
            for text, file in zip(texts, files, strict=True)
        ]
        if not any(names):
            return rejects
        column = pa.array(["" if named else text for text, named in zip(texts, names, strict=True)], pa.string())
        return rejects.set_column(rejects.schema.get_field_index("text"), rejects.schema.field("text"), column)

    def from_names(self, table: pa.Table, kind: str) -> pa.Table:
        """Replace erased names in USERS or ITEMS by tombstones; the rows stay, because numbers never change."""
        number, name = table.schema.names
        gone = self.mask(kind, table[name])
        if not gone.any():
            return table
        stones = [f"(erased {n})" for n in table[number].filter(pa.array(gone)).to_pylist()]
        column = pc.replace_with_mask(table[name].combine_chunks(), pa.array(gone), pa.array(stones, pa.string()))
        return table.set_column(1, table.schema.field(name), column)

    def _without_urls(self, table: pa.Table, columns: Iterable[str]) -> pa.Table:
        for name in columns:
            lists = table[name].combine_chunks()
            gone = self.mask("url", lists.flatten())
            if gone.any():
                kept = [
                    [url for url in urls or () if not self.holds("url", url)] if hit else urls
                    for urls, hit in zip(lists.to_pylist(), _rows_hit(lists, gone), strict=True)
                ]
                at = table.schema.get_field_index(name)
                table = table.set_column(at, table.schema.field(name), pa.array(kept, lists.type))
        return table


def _rows_hit(lists: pa.ListArray, gone: np.ndarray) -> list[bool]:
    """Mark the rows of a list column that hold an erased value: bool [rows]."""
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
    rows = np.repeat(np.arange(len(lengths)), lengths)
    hit = np.zeros(len(lengths), bool)
    hit[rows[gone]] = True
    return hit.tolist()
