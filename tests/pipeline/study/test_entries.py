"""What a study says of a split before a recommender trains on it."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.schemas import SPLIT_NAMES
from pipeline.study.entries import _held_out_later


def slow(rows: list[tuple[str, int | None]]) -> bool:
    """Compare every held-out row with every train row; a row without a time cannot be compared."""
    train = [time for split, time in rows if split == "train"]
    held_out = [time for split, time in rows if split != "train"]
    pairs = [(before, after) for before in train for after in held_out]
    return bool(pairs) and all(None not in pair and pair[0] < pair[1] for pair in pairs)


def found(rows: list[tuple[str, int | None]]) -> bool:
    split, time = zip(*rows, strict=True)
    return _held_out_later(pa.table({"split": split, "time": pa.array(time, pa.int64())}))


def test_held_out_rows_are_later_as_comparing_all_pairs_of_rows_says():
    rng, seen = np.random.default_rng(0), set()
    for _ in range(400):
        rows = []
        for split in rng.choice(SPLIT_NAMES, rng.integers(1, 6)):
            time = int(rng.integers(0, 3)) + (0 if split == "train" else 2)
            rows.append((str(split), None if rng.random() < 0.05 else time))
        assert found(rows) == slow(rows), rows
        seen.add(slow(rows))
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("rows", "later"),
    [
        ([("train", 1), ("validation", 2), ("test", 3)], True),
        ([("train", 2), ("test", 2)], False),  # at the same time is not later
        ([("train", 1), ("train", 5), ("test", 3)], False),
        ([("train", 1), ("test", None)], False),
        ([("train", None), ("test", 3)], False),
        ([("train", 1)], False),
        ([("test", 1)], False),
    ],
)
def test_only_what_is_known_to_be_later_counts(rows: list[tuple[str, int | None]], later: bool):
    assert found(rows) is later
