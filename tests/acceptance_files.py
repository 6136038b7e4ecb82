"""The H&M and Myntra samples as tables and folders of pictures: laid out, and compared with a run on the same as JSON.

Part of `tests/acceptance.py`. Rows are compared in the files' order, with the names of users, items and pictures in
place of their numbers.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

MODES = ("vendor_single", "vendor_all")
# What a right pipeline counts on the pictures of 224 px (the data sets' README).
COUNTS = {
    "vendor_single": {"users": 557, "items": 6885, "item_images": 6885, "interactions": 13996},
    "vendor_all": {"users": 557, "items": 6885, "item_images": 15276, "interactions": 13996},
}


def laid_out(datasets: Path, name: str, folder: Path) -> Path:
    """Lay a sample out as tables and pictures in a folder of its name; return that folder."""
    to = folder / name
    subprocess.run([sys.executable, str(datasets / "as_files.py"), "--to", str(to), name], check=True)
    return to


def differing_rows(home: Path, other: Path) -> Iterator[tuple[str, int]]:
    """Compare the tables of two homes up to the triplets; yield for each table its name and how many rows differ.

    A table that is longer in one home differs in every row that the other lacks.
    """
    for name, columns in (("interactions", ("user", "item", "time")), *_of_modes()):
        here, there = _named(home, name, columns), _named(other, name, columns)
        same = sum(a == b for a, b in zip(here, there, strict=False))
        yield name, max(len(here), len(there)) - same


def _of_modes() -> Iterator[tuple[str, tuple[str, ...]]]:
    for mode in MODES:
        yield f"splits/{mode}", ("user", "item", "split", "paired")
        yield f"triplets/{mode}", ("epoch", "user", "positive", "negative")


def _named(home: Path, name: str, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Read the rows of a table, with names in place of numbers."""
    tables = home / "tables"
    read = pq.read_table(tables / f"{name}.parquet").to_pydict()
    users = pq.read_table(tables / "users.parquet")["reviewer_id"].to_pylist()
    items = pq.read_table(tables / "items.parquet")["asin"].to_pylist()
    names = {"user": users, "item": items}
    if name.startswith("triplets/"):
        shown = pq.read_table(tables / "catalogue" / f"{name.partition('/')[2]}.parquet").to_pydict()
        names["positive"] = [(items[item], sha) for item, sha in zip(shown["item"], shown["sha256"], strict=True)]
        names["negative"] = names["positive"]
    return list(zip(*(_replaced(read[column], names.get(column)) for column in columns), strict=True))


def _replaced(values: list[Any], names: list[Any] | None) -> list[Any]:
    if names is None:
        return values
    return [tuple(names[n] for n in value) if isinstance(value, list) else names[value] for value in values]
