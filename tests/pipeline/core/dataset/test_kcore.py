"""The 5-core: NAF's order, ids that never change, and equality with a slow obvious version for any partitioning."""

import os
import signal
import subprocess
import sys
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
from pipeline.core.raw import ingest
from pipeline.core.tables import StoredTable

DATASETS = Path(__file__).parents[4] / "../shared/datasets"


def reviews_of(rows):
    """REVIEWS of (reviewer, asin, time)."""
    return pa.Table.from_pylist(
        [{"reviewer_id": u, "asin": i, "time": t, "image_urls": [], "review_id": str(n)}
         for n, (u, i, t) in enumerate(rows)],
        schema=schemas.REVIEWS,
    )  # fmt: skip


def named(core):
    users, items = core.users["reviewer_id"].to_pylist(), core.items["asin"].to_pylist()
    return [(users[r["user"]], items[r["item"]], r["time"]) for r in core.interactions.to_pylist()]


def slow_core(rows, k, iterative):
    pairs = {}
    for user, item, time in rows:
        known = [t for t in (pairs.get((user, item)), time) if t is not None]
        pairs[user, item] = min(known) if known else None
    while True:
        of_user, of_item = defaultdict(set), defaultdict(set)
        for user, item in pairs:
            of_user[user].add(item)
            of_item[item].add(user)
        left = {
            (u, i): t for (u, i), t in pairs.items() if len(of_user[u]) >= k and (not iterative or len(of_item[i]) >= k)
        }
        if len(left) == len(pairs) or not iterative:
            return [(u, i, t) for (u, i), t in left.items()]
        pairs = left


def test_repeated_reviews_count_towards_reviews_but_not_towards_distinct_items():
    rows = [("a", "1", 5), ("a", "1", 3), ("a", "2", None), ("b", "1", 1), ("b", "1", 2), ("c", "3", 1)]
    core = kcore.five_core(reviews_of(rows), k=2)
    assert named(core) == [("a", "1", 3), ("a", "2", None)]
    assert core.counts == {
        "reviews": 6, "users": 3, "items": 3, "users_with_k_reviews": 2, "items_of_users_with_k_reviews": 2,
        "reviews_of_users_with_k_reviews": 5, "distinct_pairs": 4, "duplicate_reviews": 2, "five_core_users": 1,
        "five_core_items": 2, "interactions": 2,
    }  # fmt: skip


def test_nobody_with_k_items_is_an_error_that_says_how_many_were_near():
    with pytest.raises(InputError, match=r"no user with 5 distinct items among 1 users.*\(1 have 5 reviews\)"):
        kcore.five_core(reviews_of([("a", "1", 1)] * 5))


def test_the_iterative_core_follows_a_chain_of_leavers_to_its_end():
    # Item 1 has one user; without it a has one item and leaves, then item 2 has one user, and so on.
    chain = [("a", "1", 1), ("a", "2", 1), ("b", "2", 1), ("b", "3", 1), ("c", "3", 1), ("c", "8", 1)]
    block = [("x", "8", 1), ("x", "9", 1), ("y", "8", 1), ("y", "9", 1)]
    assert named(kcore.five_core(reviews_of([*chain, *block]), 2, iterative=True)) == block
    assert named(kcore.five_core(reviews_of([*chain, *block]), 2)) == [*chain, *block]


def test_ids_never_change_when_reviews_are_added_even_in_front():
    before = [("a", "1", 1), ("a", "2", 1), ("b", "2", 1), ("b", "3", 1)]
    first = kcore.five_core(reviews_of(before), k=2)
    added = [("z", "9", 1), ("z", "3", 1), *before]
    second = kcore.five_core(reviews_of(added), 2, first.users, first.items)
    assert second.users["reviewer_id"].to_pylist() == ["a", "b", "z"]
    assert second.items["asin"].to_pylist() == ["1", "2", "3", "9"]
    # A user who has left keeps the id, so that it is never given to another.
    third = kcore.five_core(reviews_of([("z", "9", 1), ("z", "3", 1)]), 2, second.users, second.items)
    assert third.users.equals(second.users) and named(third) == [("z", "9", 1), ("z", "3", 1)]


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


@given(rows_of_shop, st.integers(1, 4), st.booleans(), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_any_number_of_partitions_gives_what_a_slow_obvious_version_gives(rows, k, iterative, parts):
    part_rows, expected = -(-len(rows) // parts), slow_core(rows, k, iterative)
    with tempfile.TemporaryDirectory() as folder:
        reviews = stored(Path(folder), rows)
        if not expected:
            with pytest.raises(InputError):
                kcore.five_core(reviews, k, iterative=iterative, part_rows=part_rows)
            return
        core = kcore.five_core(reviews, k, iterative=iterative, part_rows=part_rows)
    assert named(core) == expected
    assert core.counts == slow_counts(rows, k, iterative)
    assert core.interactions.schema == schemas.INTERACTIONS
    assert same(core, kcore.five_core(reviews_of(rows), k, iterative=iterative))


@pytest.mark.parametrize("iterative", [False, True])
def test_a_shop_of_thousands_of_reviews_keeps_its_ids_counts_and_bytes_however_it_is_partitioned(tmp_path, iterative):
    rows = random_rows(3000)
    reviews = stored(tmp_path, rows, row_group=400)
    before = kcore.five_core(reviews_of(rows[1500:]), 3)
    whole = kcore.five_core(reviews, 3, before.users, before.items, iterative=iterative)
    assert whole.counts == slow_counts(rows, 3, iterative)
    assert whole.counts["interactions"] > 300
    assert whole.interactions["time"].null_count
    for part_rows in (1600, 500):
        cut = kcore.five_core(reviews, 3, before.users, before.items, iterative=iterative, part_rows=part_rows)
        assert same(cut, whole), part_rows
        assert as_file(cut.interactions) == as_file(whole.interactions)


def as_file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def test_a_process_that_dies_while_it_counts_leaves_nothing_in_the_folder(tmp_path):
    (tmp_path / "work").mkdir()
    stored(tmp_path, random_rows(300))
    code = f"""
import os, signal
from pathlib import Path
from pipeline.core import schemas
from pipeline.core.dataset import kcore
from pipeline.core.tables import StoredTable
kcore._count_users = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
reviews = StoredTable(Path({str(tmp_path / "reviews.parquet")!r}), schemas.REVIEWS)
kcore.five_core(reviews, 2, part_rows=100, folder=Path({str(tmp_path / "work")!r}))
"""
    died = subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    assert died.returncode == -signal.SIGKILL
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.skipif(not DATASETS.is_dir(), reason="the evaluation data sets are not beside this checkout")
def test_the_genuine_files_give_the_counts_of_their_readme():
    fashion = kcore.five_core(ingest.read_reviews([DATASETS / "amazon_fashion_5/AMAZON_FASHION_5.json.gz"]).reviews)
    names = ("reviews", "users", "items", "distinct_pairs", "users_with_k_reviews", "items_of_users_with_k_reviews")
    names += ("five_core_users", "five_core_items")
    assert [fashion.counts[n] for n in names] == [3176, 406, 31, 3042, 405, 30, 374, 12]
    hm = kcore.five_core(ingest.read_reviews([DATASETS / "hm/reviews.jsonl.gz"]).reviews)
    assert [hm.counts[n] for n in names] == [19246, 1063, 7347, 15300, 622, 7093, 559, 7041]
    assert (hm.counts["duplicate_reviews"], hm.counts["interactions"]) == (3946, 14177)
