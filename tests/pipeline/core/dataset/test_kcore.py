"""The 5-core: NAF's order, ids that never change, and equality with a slow obvious version."""

from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import schemas
from pipeline.core.dataset import kcore
from pipeline.core.errors import InputError
from pipeline.core.raw import ingest

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


small_rows = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from("123456"), st.none() | st.integers(0, 9)), max_size=60
)


@given(small_rows, st.integers(1, 4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_core_equals_a_slow_obvious_one(rows, k, iterative):
    expected = slow_core(rows, k, iterative)
    if not expected:
        with pytest.raises(InputError):
            kcore.five_core(reviews_of(rows), k, iterative=iterative)
        return
    core = kcore.five_core(reviews_of(rows), k, iterative=iterative)
    assert named(core) == expected
    assert core.counts["five_core_users"] == core.users.num_rows == len({u for u, _, _ in expected})
    assert core.interactions.schema == schemas.INTERACTIONS


@pytest.mark.skipif(not DATASETS.is_dir(), reason="the evaluation data sets are not beside this checkout")
def test_the_genuine_files_give_the_counts_of_their_readme():
    fashion = kcore.five_core(ingest.read_reviews([DATASETS / "amazon_fashion_5/AMAZON_FASHION_5.json.gz"]).reviews)
    names = ("reviews", "users", "items", "distinct_pairs", "users_with_k_reviews", "items_of_users_with_k_reviews")
    names += ("five_core_users", "five_core_items")
    assert [fashion.counts[n] for n in names] == [3176, 406, 31, 3042, 405, 30, 374, 12]
    hm = kcore.five_core(ingest.read_reviews([DATASETS / "hm/reviews.jsonl.gz"]).reviews)
    assert [hm.counts[n] for n in names] == [19246, 1063, 7347, 15300, 622, 7093, 559, 7041]
    assert (hm.counts["duplicate_reviews"], hm.counts["interactions"]) == (3946, 14177)
