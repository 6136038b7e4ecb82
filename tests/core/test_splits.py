"""Leave-one-out: shared by the modes, safe for the items' last picture, equal to a slow obvious version."""

import hashlib
from collections import defaultdict

import pyarrow.compute as pc
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.core import schemas, splits
from tests.core.shops import ITEMS, USERS, items_table, shop, shops, users_table


def split(surviving, mode, seed=0, **options):
    return splits.leave_one_out(surviving, mode, users_table(), items_table(), seed, **options)


def held_out(table, paired=None):
    rows = [r for r in table.to_pylist() if r["split"] != "train" and paired in (None, r["paired"])]
    return {(r["user"], r["split"]): r["item"] for r in rows}


def slow_split(surviving, mode, seed, hold_out):
    def lasts(name, item):
        """Is a content of the item left whoever of its users is held out?"""
        pairs = {(USERS[r["user"]], r["item"]) for r in surviving[name].pairs.to_pylist()}
        contents = defaultdict(list)
        for row in surviving[name].images.to_pylist():
            if row["item"] == item:
                contents[row["sha256"]].append(row)
        return any(
            any(r["source"] == "vendor" for r in rows) or not any((r["reviewer_id"], item) in pairs for r in rows)
            for rows in contents.values()
        )

    def order(row):
        text = f"{seed}\0{USERS[row['user']]}\0{ITEMS[row['item']]}".encode()
        draw = hashlib.blake2b(text, digest_size=8).digest()
        time = -1 if row["time"] is None else row["time"]
        return (-time, draw) if hold_out == "latest" else draw

    result = {}
    pairs = [{(r["user"], r["item"]) for r in s.pairs.to_pylist()} for s in surviving.values()]
    rows = sorted(surviving[mode].pairs.to_pylist(), key=order)
    for user in {r["user"] for r in rows}:
        items = [r["item"] for r in rows if r["user"] == user]
        shared = [i for i in items if all((user, i) in p for p in pairs) and all(lasts(m, i) for m in surviving)]
        safe = [i for i in items if lasts(mode, i)]
        chosen = shared if len(shared) >= 2 else safe if len(safe) >= 2 else []
        names = ("validation", "test") if hold_out == "random" else ("test", "validation")
        held = dict(zip(chosen, names, strict=False))
        result |= {(user, i): (held.get(i, "train"), len(shared) >= 2) for i in items}
    return result


@given(shops(), st.sampled_from(schemas.IMAGE_MODES), st.integers(0, 3), st.sampled_from(splits.HOLD_OUTS))
@settings(max_examples=80, deadline=None)
def test_the_split_equals_a_slow_obvious_one(surviving, mode, seed, hold_out):
    assume(mode in surviving)
    table = split(surviving, mode, seed, hold_out=hold_out)
    assert table.schema == schemas.SPLITS
    found = {(r["user"], r["item"]): (r["split"], r["paired"]) for r in table.to_pylist()}
    assert found == slow_split(surviving, mode, seed, hold_out)


@given(shops(), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_paired_hold_outs_are_the_same_in_all_modes(surviving, seed):
    assume(surviving)
    found = [held_out(split(surviving, mode, seed), paired=True) for mode in surviving]
    assert all(each == found[0] for each in found)


EVERYONE = [(0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 0, 1), (1, 1, None), (1, 2, 0)]


def test_the_latest_item_is_test_and_the_one_before_it_validation():
    surviving = shop(EVERYONE, [(0, "a"), (1, "b"), (2, "c")], [])
    table = split(surviving, "vendor_all", hold_out="latest")
    assert held_out(table) == {(0, "test"): 2, (0, "validation"): 1, (1, "test"): 0, (1, "validation"): 2}


def test_an_item_whose_only_pictures_are_its_users_is_never_held_out():
    # Item 2 has nothing but u0's photo, and u1's of the same content as a stranger's.
    surviving = shop(EVERYONE, [(0, "a"), (1, "b")], [("u0", 2, "c"), ("u1", 2, "d"), ("stranger", 2, "d")])
    for seed in range(8):
        assert (
            2
            not in held_out(split({"vendor_customer": surviving["vendor_customer"]}, "vendor_customer", seed)).values()
        )


def test_a_user_with_too_few_safe_items_trains_only():
    surviving = shop(EVERYONE, [(0, "a")], [("u0", 1, "b"), ("u0", 2, "c"), ("stranger", 2, "d")])
    table = split({"vendor_customer": surviving["vendor_customer"]}, "vendor_customer")
    assert set(held_out(table).values()) == {0, 2}
    surviving = shop(EVERYONE, [(0, "a")], [("u0", 1, "b"), ("u0", 2, "c")])
    table = split({"vendor_customer": surviving["vendor_customer"]}, "vendor_customer")
    assert pc.unique(table["split"]).to_pylist() == ["train"]
    assert not any(table["paired"].to_pylist())


def test_an_unknown_mode_or_hold_out_is_named():
    surviving = shop(EVERYONE, [(0, "a"), (1, "b"), (2, "c")], [])
    with pytest.raises(ValueError, match="mode: 'all' is not among"):
        split(surviving, "all")
    with pytest.raises(ValueError, match="hold_out: 'first'"):
        split(surviving, "vendor_all", hold_out="first")
