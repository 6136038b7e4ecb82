"""Purchases of something owned are counted apart from the split, which keeps the first purchase of a pair alone."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import schemas
from pipeline.core.dataset.bought_again import bought_again
from pipeline.core.tables import StoredTable
from tests.pipeline.core.shops import items_table, users_table

DAY = 86_400


def stored(path: Path, *rows):
    """REVIEWS of (reviewer, asin, time), in a file."""
    full = [
        {"reviewer_id": who, "asin": what, "time": when, "image_urls": [], "review_id": str(n)}
        for n, (who, what, when) in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(full, schema=schemas.REVIEWS), path)
    return StoredTable(path, schemas.REVIEWS)


def test_only_later_purchases_of_what_a_user_trains_on_are_bought_again(tmp_path: Path):
    rows = [(0, 0, "train", DAY), (0, 1, "train", DAY), (0, 2, "test", 9 * DAY + 500), (1, 0, "train", None)]
    names = ("user", "item", "split", "time")
    splits = pa.Table.from_pylist(
        [{"paired": True, **dict(zip(names, row, strict=True))} for row in rows], schema=schemas.SPLITS
    )
    reviews = stored(
        tmp_path / "reviews.parquet",
        ("u0", "i0", DAY), ("u0", "i1", DAY), ("u0", "i1", 8 * DAY),  # before the first test day
        ("u0", "i2", 9 * DAY + 500), ("u0", "i2", 9 * DAY + 600),  # not in train
        ("u0", "i0", 9 * DAY), ("u0", "i0", 9 * DAY + 3), ("u1", "i0", 10 * DAY),  # again
        ("u1", "gone", 10 * DAY), ("u2", "i0", 10 * DAY), ("stranger", "i0", 10 * DAY), ("u1", "i0", None),
    )  # fmt: skip
    assert bought_again(reviews, splits, users_table(), items_table()) == {
        "from": 9 * DAY, "purchases": 6, "again": 3, "pairs": 2, "share": 0.5,
    }  # fmt: skip
