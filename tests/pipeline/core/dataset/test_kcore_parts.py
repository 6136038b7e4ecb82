"""The 5-core by parts: whatever their number, and whoever works on them, the same tables as in one piece."""

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import schemas
from pipeline.core.dataset import kcore
from pipeline.core.errors import InputError
from pipeline.core.shards import HERE
from pipeline.core.tables import StoredTable
from tests.pipeline.core.dataset.test_kcore import named, reviews_of, slow_core
from tests.pipeline.core.in_turn import InTurn

# Some that read alike when reviewer and item stand side by side; letters of several bytes, no letter, a quote, a null.
NAMES = ["a", "b", "ab", "bc", "c", "", "é", "日本", "\U0001f457", "a'b", "a\0b", "Z" * 40]
rows_of_shop = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.none() | st.integers(-3, 9)), min_size=1, max_size=80
)


def stored(folder: Path, rows, row_group: int = 7) -> StoredTable:
    pq.write_table(reviews_of(rows), folder / "reviews.parquet", row_group_size=row_group)
    return StoredTable(folder / "reviews.parquet", schemas.REVIEWS)


def random_rows(count: int, seed: int = 3):
    """Reviews of a shop with regulars and passers-by, some said twice, some without a time."""
    rng = np.random.default_rng(seed)
    users, items = (rng.zipf(1.5, count) % count).tolist(), (60 * rng.power(0.6, count)).astype(int).tolist()
    times = rng.integers(-5, 50, count).tolist()
    return [
        (f"u{user}", f"i{item}", time if time >= 0 else None)
        for user, item, time in zip(users, items, times, strict=True)
    ]


def same(one: kcore.FiveCore, other: kcore.FiveCore) -> bool:
    tables = ("interactions", "users", "items")
    return one.counts == other.counts and all(getattr(one, name).equals(getattr(other, name)) for name in tables)


def slow_counts(rows, k, iterative):
    of_user, pairs = defaultdict(list), {(user, item) for user, item, _ in rows}
    for user, item, _ in rows:
        of_user[user].append(item)
    often = {user: items for user, items in of_user.items() if len(items) >= k}
    left = slow_core(rows, k, iterative)
    return {
        "reviews": len(rows),
        "users": len(of_user),
        "items": len({item for _, item in pairs}),
        "users_with_k_reviews": len(often),
        "items_of_users_with_k_reviews": len(set().union(*often.values())),
        "reviews_of_users_with_k_reviews": sum(map(len, often.values())),
        "distinct_pairs": len(pairs),
        "duplicate_reviews": len(rows) - len(pairs),
        "five_core_users": len({user for user, _, _ in left}),
        "five_core_items": len({item for _, item, _ in left}),
        "interactions": len(left),
    }


@given(rows_of_shop, st.integers(1, 4), st.booleans(), st.integers(2, 5), st.sampled_from([1, 3]))
@settings(max_examples=25, deadline=None)
def test_any_number_of_parts_gives_what_a_slow_obvious_one_and_one_piece_give(rows, k, iterative, parts, workers):
    runner, part_rows = HERE if workers == 1 else InTurn(workers), -(-len(rows) // parts)
    expected = slow_core(rows, k, iterative)
    with tempfile.TemporaryDirectory() as folder:
        reviews = stored(Path(folder), rows)
        if not expected:
            with pytest.raises(InputError):
                kcore.five_core(reviews, k, iterative=iterative, part_rows=part_rows, runner=runner)
            return
        core = kcore.five_core(reviews, k, iterative=iterative, part_rows=part_rows, runner=runner)
        assert named(core) == expected
        assert core.counts == slow_counts(rows, k, iterative)
        assert same(core, kcore.five_core(reviews, k, iterative=iterative))
    assert same(core, kcore.five_core(reviews_of(rows), k, iterative=iterative))
    assert core.interactions.schema == schemas.INTERACTIONS


@pytest.mark.parametrize("iterative", [False, True])
def test_a_shop_of_thousands_of_reviews_keeps_its_ids_counts_and_bytes_however_it_is_cut(tmp_path, iterative):
    rows = random_rows(3000)
    reviews = stored(tmp_path, rows, row_group=400)
    before = kcore.five_core(reviews_of(rows[1500:]), 3)
    whole = kcore.five_core(reviews, 3, before.users, before.items, iterative=iterative)
    assert whole.counts == slow_counts(rows, 3, iterative)
    assert whole.counts["interactions"] > 300
    assert whole.interactions["time"].null_count
    for part_rows, workers in ((1600, 1), (500, 4)):
        cut = kcore.five_core(
            reviews, 3, before.users, before.items, iterative=iterative, part_rows=part_rows, runner=InTurn(workers)
        )
        assert same(cut, whole), (part_rows, workers)
        assert as_file(cut.interactions) == as_file(whole.interactions)


def as_file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def test_what_a_killed_run_left_is_cleared_and_nothing_is_left_behind(tmp_path):
    reviews, folder = stored(tmp_path, random_rows(300)), tmp_path / "work"
    whole = kcore.five_core(reviews, 2)
    with pytest.raises(KeyboardInterrupt):  # between two parts of users
        kcore.five_core(reviews, 2, part_rows=100, runner=InTurn(3, dies=1), folder=folder)
    assert not folder.exists()
    folder.mkdir()
    (folder / "reviews-0.arrow").write_bytes(b"half a file")
    (folder / "of-another-cut.arrow").write_bytes(b"")
    assert same(kcore.five_core(reviews, 2, part_rows=100, runner=InTurn(3), folder=folder), whole)
    assert not folder.exists()


def test_small_tables_are_not_cut_and_large_ones_into_a_bounded_number_of_parts():
    assert [kcore.parts_of(reviews) for reviews in (0, 1, kcore.UNDEALT)] == [1, 1, 1]
    assert kcore.parts_of(kcore.UNDEALT + 1) == 3
    assert kcore.parts_of(10**10) == kcore.PARTS
