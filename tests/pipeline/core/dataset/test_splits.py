"""Leave-one-out splits agree between modes, keep every item's last picture, and equal a slow reference."""

import hashlib
from collections import defaultdict

import pyarrow.compute as pc
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.core import schemas
from pipeline.core.dataset import splits
from pipeline.core.errors import InputError
from tests.pipeline.core.shops import ITEMS, USERS, items_table, shop, shops, users_table


def split(surviving, mode, seed=0, **options):
    return splits.assign(surviving, mode, users_table(), items_table(), seed, **options)


def can_be_split(surviving, mode, hold_out):
    """Return whether the mode is there, and has a time if the hold-out needs one."""
    return mode in surviving and (hold_out == "random" or surviving[mode].pairs["time"].drop_null().length() > 0)


def held_out(table, paired=None):
    rows = [r for r in table.to_pylist() if r["split"] != "train" and paired in (None, r["paired"])]
    return {(r["user"], r["split"]): r["item"] for r in rows}


def slow_split(surviving, mode, seed, hold_out):
    def lasts(name, item):
        """Return whether the item keeps a content for any held-out user."""
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
        times = {r["item"]: r["time"] for r in rows if r["user"] == user and r["time"] is not None}
        first = min((times[i] for i in held if i in times), default=None)
        late = {i for i in items if hold_out == "latest" and i not in held and i in times and first is not None}
        left_out = {i for i in late if times[i] > first}
        result |= {(user, i): (held.get(i, "train"), len(shared) >= 2) for i in items if i not in left_out}
    return result


@given(shops(), st.sampled_from(schemas.IMAGE_MODES), st.integers(0, 3), st.sampled_from(splits.ONE_EACH))
@settings(max_examples=80, deadline=None)
def test_the_split_equals_a_slow_reference(surviving, mode, seed, hold_out):
    assume(can_be_split(surviving, mode, hold_out))
    table = split(surviving, mode, seed, hold_out=hold_out)
    assert table.schema == schemas.SPLITS
    found = {(r["user"], r["item"]): (r["split"], r["paired"]) for r in table.to_pylist()}
    assert found == slow_split(surviving, mode, seed, hold_out)


def slow_split_by_picture(surviving, mode, seed, hold_out):
    """Derive {(user, item, sha256 or None): (split, paired)} of unit image from the pairs of unit interaction."""
    contents = {name: {(r["item"], r["sha256"]) for r in shown.images.to_pylist()} for name, shown in surviving.items()}
    result = {}
    for (user, item), (name, paired) in slow_split(surviving, mode, seed, hold_out).items():
        if name == "train":
            result[user, item, None] = "train", paired
            continue

        def draw(sha, user=user, item=item):
            text = f"{seed}\0{USERS[user]}\0{ITEMS[item]}\0{sha}".encode()
            return hashlib.blake2b(text, digest_size=8).digest()

        own = [sha for i, sha in contents[mode] if i == item]
        everywhere = [sha for sha in own if all((item, sha) in there for there in contents.values())]
        result[user, item, sorted(everywhere or own, key=draw)[0]] = name, paired
        if len(own) > 1:
            result[user, item, None] = "train", paired
    return result


def rows(table):
    return {(r["user"], r["item"], r["sha256"]): (r["split"], r["paired"]) for r in table.to_pylist()}


@given(shops(), st.sampled_from(schemas.IMAGE_MODES), st.integers(0, 3), st.sampled_from(splits.ONE_EACH))
@settings(max_examples=80, deadline=None)
def test_the_split_by_picture_equals_a_slow_reference(surviving, mode, seed, hold_out):
    assume(can_be_split(surviving, mode, hold_out))
    table = split(surviving, mode, seed, hold_out=hold_out, split_unit="image")
    assert table.schema == schemas.SPLITS
    assert rows(table) == slow_split_by_picture(surviving, mode, seed, hold_out)
    assert table.num_rows == len(rows(table))
    assert table.to_pylist() == sorted(table.to_pylist(), key=lambda r: (r["user"], r["item"], r["sha256"] or ""))


@given(shops(), st.sampled_from(schemas.IMAGE_MODES), st.integers(0, 3), st.sampled_from(splits.ONE_EACH))
@settings(max_examples=40, deadline=None)
def test_both_units_hold_out_the_same_items(surviving, mode, seed, hold_out):
    assume(can_be_split(surviving, mode, hold_out))
    whole = split(surviving, mode, seed, hold_out=hold_out)
    by_picture = split(surviving, mode, seed, hold_out=hold_out, split_unit="image")
    assert held_out(by_picture) == held_out(whole)
    assert whole.equals(split(surviving, mode, seed, hold_out=hold_out, split_unit="interaction"))
    assert whole["sha256"].null_count == whole.num_rows
    assert splits.unit_of(whole) == "interaction"
    assert splits.unit_of(by_picture) == ("image" if held_out(whole) else "interaction")


@given(shops(), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_paired_hold_outs_by_picture_are_the_same_pictures_in_all_modes(surviving, seed):
    assume(surviving)
    tables = [split(surviving, mode, seed, split_unit="image") for mode in surviving]
    found = [{r: s for r, s in rows(table).items() if s[0] != "train" and s[1]} for table in tables]
    assert all(each == found[0] for each in found)


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


def test_an_item_with_pictures_only_by_its_users_is_never_held_out():
    # Item 2 has only u0's photo, and u1's, whose content equals a stranger's.
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


def test_other_pictures_of_a_held_out_picture_train_and_an_only_picture_leaves_nothing_in_train():
    surviving = shop(EVERYONE, [(0, "a"), (1, "b"), (1, "c"), (2, "d"), (2, "d")], [])
    table = split(surviving, "vendor_all", hold_out="latest", split_unit="image")
    mine = [(r["item"], r["split"], r["sha256"]) for r in table.to_pylist() if r["user"] == 0]
    assert mine == [
        (0, "train", None),
        (1, "train", None),
        (1, "validation", "b"),  # vendor_single has b alone, so all modes hold out b
        (2, "test", "d"),  # the same content twice is one picture
    ]
    alone = split(surviving, "vendor_single", hold_out="latest", split_unit="image")
    assert [r["item"] for r in alone.to_pylist() if r["user"] == 0 and r["split"] == "train"] == [0]


def test_an_unknown_mode_hold_out_or_unit_is_named():
    surviving = shop(EVERYONE, [(0, "a"), (1, "b"), (2, "c")], [])
    with pytest.raises(ValueError, match="mode: 'all' is not among"):
        split(surviving, "all")
    with pytest.raises(ValueError, match="hold_out: 'first'"):
        split(surviving, "vendor_all", hold_out="first")
    with pytest.raises(ValueError, match="split_unit: 'row' is not one of interaction, image"):
        split(surviving, "vendor_all", split_unit="row")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hold_out": "basket", "split_unit": "image"}, "split_unit: image goes only with hold_out random or latest"),
        ({"hold_out": "time", "split_unit": "image"}, "split_unit: image goes only with hold_out random or latest"),
        ({"test_share": 0.0}, "test_share: 0.0 is not between 0 and 1"),
        ({"validation_share": 1.0}, "validation_share: 1.0 is not between 0 and 1"),
        ({"test_share": 0.6, "validation_share": 0.4}, "leaves no train"),
        ({"cut": "20200101"}, "cut: '20200101' is not a date as YYYY-MM-DD"),
        ({"cut": "2020-02-30"}, "cut: '2020-02-30' is not a date as YYYY-MM-DD"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said):
    surviving = shop(EVERYONE, [(0, "a"), (1, "b"), (2, "c")], [])
    with pytest.raises(ValueError, match=said):
        split(surviving, "vendor_all", **options)


@pytest.mark.parametrize("hold_out", ["latest", "basket", "time"])
def test_without_times_only_random_is_possible(hold_out):
    surviving = shop([(u, i, None) for u, i, _ in EVERYONE], [(0, "a"), (1, "b"), (2, "c")], [])
    with pytest.raises(InputError, match=f"hold_out {hold_out} needs to know when .* or use hold_out random"):
        split(surviving, "vendor_all", hold_out=hold_out)
    assert held_out(split(surviving, "vendor_all"))
