"""Sampled triplets are valid, have the right frequencies, and are the same bytes for the same seed."""

from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.core import schemas
from pipeline.core.dataset import catalogue, splits, triplets
from pipeline.core.dataset.triplets import TripletSettings
from tests.pipeline.core.shops import bank, items_table, shops, users_table


def tables(held, images, by_picture=()):
    """Build SPLITS of {(user, item): split} and CATALOGUE with images[n] the item of image n, whose sha256 is str(n).

    by_picture: (user, item, split, sha256) held out as single pictures.
    """
    rows = [{"user": u, "item": i, "split": s, "paired": True} for (u, i), s in held.items()]
    rows += [{"user": u, "item": i, "split": s, "paired": True, "sha256": sha} for u, i, s, sha in by_picture]
    pictures = [{"image": n, "bank_row": n, "item": i, "source": "vendor", "position": 0, "sha256": str(n)}
                for n, i in enumerate(images)]  # fmt: skip
    return (
        pa.Table.from_pylist(rows, schema=schemas.SPLITS),
        pa.Table.from_pylist(pictures, schema=schemas.CATALOGUE),
    )


# User 7 trains on items 10 (pictures 0 1 2) and 20 (3), user 9 on 20; 30 (4 5) is held out by 7, 40 (6) by nobody.
SMALL = tables(
    {(7, 10): "train", (7, 20): "train", (7, 30): "test", (9, 20): "train", (9, 40): "validation"},
    [10, 10, 10, 20, 30, 30, 40],
)


def shares(column):
    counts = Counter(column)
    return {value: round(n / len(column), 1) for value, n in sorted(counts.items())}


def sampled(**settings):
    table = triplets.sample(*SMALL, TripletSettings(**{"epochs": 2000, "seed": 1, **settings}))
    return table, table["user"].to_pylist(), table["positive"].to_pylist(), table["negative"].to_pylist()


def test_a_picture_row_is_a_positive_and_users_are_drawn_uniformly():
    table, users, positives, _ = sampled()
    assert table.num_rows == 2000 * 5  # (7, pictures 0 1 2 3) and (9, picture 3)
    assert shares(users) == {7: 0.5, 9: 0.5}
    of_seven = [p for u, p in zip(users, positives, strict=True) if u == 7]
    assert {p: round(n / len(of_seven) * 4) for p, n in Counter(of_seven).items()} == {0: 1, 1: 1, 2: 1, 3: 1}


def test_item_first_draws_the_pair_then_its_picture():
    table, users, positives, _ = sampled(positive_picture="item_first")
    assert table.num_rows == 2000 * 3
    of_seven = [p for u, p in zip(users, positives, strict=True) if u == 7]
    assert {p: round(n / len(of_seven) * 6) for p, n in Counter(of_seven).items()} == {0: 1, 1: 1, 2: 1, 3: 3}


def test_interaction_sampling_draws_positives_uniformly():
    _, users, _, _ = sampled(user_sampling="interaction")
    assert shares(users) == {7: 0.8, 9: 0.2}


def test_negatives_are_pictures_of_items_untouched_in_train_or_in_all_splits():
    _, users, _, negatives = sampled()
    assert {n for u, (n,) in zip(users, negatives, strict=True) if u == 7} == {4, 5, 6}
    of_nine = [n for u, (n,) in zip(users, negatives, strict=True) if u == 9]
    assert {n: round(c / len(of_nine) * 6) for n, c in Counter(of_nine).items()} == dict.fromkeys((0, 1, 2, 4, 5, 6), 1)
    _, users, _, negatives = sampled(negatives="all_splits", negatives_per_positive=3)
    assert {n for u, ns in zip(users, negatives, strict=True) if u == 7 for n in ns} == {6}
    assert {n for u, ns in zip(users, negatives, strict=True) if u == 9 for n in ns} == {0, 1, 2, 4, 5}
    assert all(len(ns) == 3 for ns in negatives)


# User 7 trains on 10 (pictures 0 2, not 1) and 20 (3), holds out the only picture of 30 (4); 40 (5) is nobody's.
BY_PICTURE = tables(
    {(7, 10): "train", (7, 20): "train", (9, 10): "train"},
    [10, 10, 10, 20, 30, 40],
    by_picture=[(7, 10, "test", "1"), (7, 30, "validation", "4")],
)


@pytest.mark.parametrize("positive_picture", triplets.POSITIVE_PICTURE)
def test_a_held_out_picture_is_no_positive_of_its_user_and_the_items_other_pictures_are(positive_picture):
    chosen = TripletSettings(epochs=2000, seed=1, positive_picture=positive_picture)
    table = triplets.sample(*BY_PICTURE, chosen)
    assert table.num_rows == 2000 * (6 if positive_picture == "row" else 3)
    drawn = list(zip(table["user"].to_pylist(), table["positive"].to_pylist(), strict=True))
    of_seven = [p for u, p in drawn if u == 7]
    expected = {0: 4, 2: 4, 3: 4} if positive_picture == "row" else {0: 3, 2: 3, 3: 6}
    assert {p: round(n / len(of_seven) * 12) for p, n in sorted(Counter(of_seven).items())} == expected
    assert {p for u, p in drawn if u == 9} == {0, 1, 2}


@pytest.mark.parametrize(("negatives", "allowed"), [("train", {4, 5}), ("all_splits", {5})])
def test_an_item_with_a_picture_in_train_is_no_negative_and_one_held_out_by_its_only_picture_may_be(negatives, allowed):
    table = triplets.sample(*BY_PICTURE, TripletSettings(epochs=200, negatives=negatives))
    of_seven = table.filter(pc.equal(table["user"], 7))
    assert set(of_seven["negative"].combine_chunks().flatten().to_pylist()) == allowed


def test_the_same_seed_gives_the_same_bytes_and_more_epochs_do_not_change_the_first():
    def drawn(**settings):
        table = triplets.sample(*SMALL, TripletSettings(**settings))
        return [np.asarray(table[n].combine_chunks()).tobytes() for n in ("epoch", "user", "positive")] + [
            table["negative"].combine_chunks().values.to_numpy().tobytes()
        ]

    assert drawn(epochs=3, seed=5) == drawn(epochs=3, seed=5) != drawn(epochs=3, seed=6)
    assert all(long.startswith(short) for short, long in zip(drawn(epochs=3), drawn(epochs=9), strict=True))


def test_an_impossible_sampling_is_an_error_that_names_the_cause():
    with pytest.raises(ValueError, match="nothing is in train"):
        triplets.sample(*tables({(0, 1): "test"}, [1]), TripletSettings())
    with pytest.raises(ValueError, match="item 2 of train has no picture"):
        triplets.sample(*tables({(0, 2): "train"}, [1]), TripletSettings())
    with pytest.raises(ValueError, match="user 3 has touched every item"):
        triplets.sample(*tables({(3, 1): "train"}, [1]), TripletSettings())
    with pytest.raises(ValueError, match="user 3 trains on item 2, of which the only picture is held out"):
        triplets.sample(*tables({(3, 2): "train"}, [2, 1], by_picture=[(3, 2, "test", "0")]), TripletSettings())
    with pytest.raises(ValueError, match=r"1 held-out pictures are not in it \(first: item 2, gone\)"):
        triplets.sample(*tables({(3, 2): "train"}, [2, 1], by_picture=[(3, 2, "test", "gone")]), TripletSettings())
    with pytest.raises(ValueError, match="epochs: 0"):
        TripletSettings(epochs=0)
    with pytest.raises(ValueError, match="user_sampling: 'users'"):
        TripletSettings(user_sampling="users")


@given(
    shops(), st.sampled_from(schemas.IMAGE_MODES), st.sampled_from(triplets.USER_SAMPLING),
    st.sampled_from(triplets.POSITIVE_PICTURE), st.sampled_from(triplets.NEGATIVES),
    st.sampled_from(splits.SPLIT_UNITS),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_exactly_the_triplets_of_a_slow_listing_are_drawn(surviving, mode, user_sampling, positive, negatives, unit):
    assume(mode in surviving)
    split = splits.assign(surviving, mode, users_table(), items_table(), 0, split_unit=unit)
    pictures = catalogue.build(surviving[mode], split, bank(), users_table()).table
    of_item = defaultdict(list)
    for row in pictures.to_pylist():
        of_item[row["item"]].append(row["image"])
    content = {(r["item"], r["sha256"]): r["image"] for r in pictures.to_pylist()}
    held = {(r["user"], content[r["item"], r["sha256"]]) for r in split.to_pylist() if r["sha256"]}
    train, touched = set(), defaultdict(set)
    for row in split.to_pylist():
        if row["split"] == "train":
            train.add((row["user"], row["item"]))
        if row["split"] == "train" or negatives == "all_splits":
            touched[row["user"]].add(row["item"])
    others = {u: {n for i, ns in of_item.items() if i not in items for n in ns} for u, items in touched.items()}
    chosen = TripletSettings(epochs=100, user_sampling=user_sampling, positive_picture=positive, negatives=negatives)
    assume(train)
    if not all(others.values()):
        with pytest.raises(ValueError, match="has touched every item"):
            triplets.sample(split, pictures, chosen)
        return
    table = triplets.sample(split, pictures, chosen)
    positives = {(u, n) for u, i in train for n in of_item[i]} - held
    assert table.num_rows == 100 * (len(positives) if positive == "row" else len(train))
    rows = list(
        zip(table["user"].to_pylist(), table["positive"].to_pylist(), table["negative"].to_pylist(), strict=True)
    )
    assert {(u, p) for u, p, _ in rows} <= positives
    assert {(u, n) for u, _, (n,) in rows} <= {(u, n) for u, ns in others.items() for n in ns}
    if table.num_rows > 40 * len(positives) * 4:  # enough draws to see every positive
        assert {(u, p) for u, p, _ in rows} == positives
