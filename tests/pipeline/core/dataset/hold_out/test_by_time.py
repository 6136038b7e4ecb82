"""Baskets and cuts equal slow versions in every mode, and leave nothing in train that is later than a hold-out."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from pipeline.core import schemas
from pipeline.core.dataset import catalogue, splits
from pipeline.core.dataset.hold_out.by_time import cut_days
from pipeline.core.errors import InputError
from tests.pipeline.core.shops import USERS, bank, items_table, shop, shops, users_table

DAY = 86_400
# Seconds, several a day, so that there are ties in time and in the day; days before 1970 too.
CALENDARS = shops(st.integers(-6, 10).map(lambda n: None if n == 10 else n * 30_000), least_pairs=14)
MODES = st.sampled_from(schemas.IMAGE_MODES)


def split(surviving, mode, **options):
    return splits.assign(surviving, mode, users_table(), items_table(), **options)


def found(table):
    return {(r["user"], r["item"]): r["split"] for r in table.to_pylist()}


def pairs_of(surviving):
    return {(r["user"], r["item"]): r["time"] for r in surviving.pairs.to_pylist()}


def day_of(time):
    return None if time is None else time // DAY


def may_be_held_out(surviving):
    """The pairs whose item keeps a picture whoever is held out."""
    pairs, contents = pairs_of(surviving), defaultdict(list)
    for row in surviving.images.to_pylist():
        contents[row["item"], row["sha256"]].append(row)
    users = {name: number for number, name in enumerate(USERS)}
    lasting = {
        item
        for (item, _), rows in contents.items()
        if any(r["source"] == "vendor" for r in rows)
        or not any((users.get(r["reviewer_id"]), item) in pairs for r in rows)
    }
    return {pair for pair in pairs if pair[1] in lasting}


def slow_days(user, present, may, times):
    """The last two days of `may`, if something of `present` is earlier."""
    days = sorted({day_of(times[pair]) for pair in may if pair[0] == user and times[pair] is not None})
    if len(days) < 2:
        return None
    earlier = [p for p in present if p[0] == user and times[p] is not None and day_of(times[p]) < days[-2]]
    return days[-2:] if earlier else None


def slow_basket_starts(surviving, mode):
    """{user: first days of validation and test}, without the users in train only."""
    pairs, may = pairs_of(surviving[mode]), may_be_held_out(surviving[mode])
    everywhere = [p for p in pairs if all(p in pairs_of(other) for other in surviving.values())]
    shared = [p for p in everywhere if all(p in may_be_held_out(other) for other in surviving.values())]
    chosen = {u: slow_days(u, everywhere, shared, pairs) or slow_days(u, pairs, may, pairs) for u, _ in pairs}
    return {user: days for user, days in chosen.items() if days}


def slow_cut_starts(surviving, test_share, validation_share):
    """The same two days for everybody, found by trying every day."""
    union = {pair: time for one in surviving.values() for pair, time in pairs_of(one).items()}
    days = [day_of(time) for time in union.values() if time is not None]
    tests = [d for d in set(days) if sum(day >= d for day in days) >= test_share * len(days)]
    test = max(tests)
    before = [day for day in days if day < test]
    enough = [d for d in set(before) if sum(day >= d for day in before) >= validation_share * len(days)]
    validation = max(enough) if enough else min(before, default=test)
    return {user: [validation, test] for user in range(len(USERS))}


def slow_split(surviving, starts):
    """Assign the pairs of one mode, one at a time."""
    result, may = {}, may_be_held_out(surviving)
    for pair, time in pairs_of(surviving).items():
        validation, test = starts.get(pair[0], (None, None))
        late = time is not None and validation is not None and day_of(time) >= validation
        if not late:
            result[pair] = "train"
        elif pair in may:
            result[pair] = "test" if day_of(time) >= test else "validation"
    training = {user for (user, _), name in result.items() if name == "train"}
    return {pair: name for pair, name in result.items() if pair[0] in training}


def held(assigned, user):
    return {(pair, name) for pair, name in assigned.items() if pair[0] == user and name != "train"}


def slow_paired(by_mode, mode):
    """The users who have hold-outs, and the same in all modes."""
    users = {user for user, _ in by_mode[mode]}
    return {
        u
        for u in users
        if held(by_mode[mode], u) and all(held(other, u) == held(by_mode[mode], u) for other in by_mode.values())
    }


@given(CALENDARS, MODES)
@settings(max_examples=60, deadline=None)
def test_baskets_equal_a_slow_version(surviving, mode):
    assume(mode in surviving)
    starts = {name: slow_basket_starts(surviving, name) for name in surviving}
    expected = {name: slow_split(one, starts[name]) for name, one in surviving.items()}
    try:
        table = split(surviving, mode, hold_out="basket")
    except InputError:
        times = list(pairs_of(surviving[mode]).values())
        event("refused")
        assert not starts[mode] or 2 * times.count(None) > len(times)
        return
    assert found(table) == expected[mode]
    assert {r["user"] for r in table.to_pylist() if r["paired"]} == slow_paired(expected, mode)


@given(CALENDARS, MODES, st.sampled_from([0.05, 0.1, 0.25, 0.4]), st.sampled_from([0.05, 0.2, 0.4]))
@settings(max_examples=60, deadline=None)
def test_cuts_equal_a_slow_version(surviving, mode, test_share, validation_share):
    assume(mode in surviving and any(t is not None for t in pairs_of(surviving[mode]).values()))
    starts = slow_cut_starts(surviving, test_share, validation_share)
    expected = {name: slow_split(one, starts) for name, one in surviving.items()}
    try:
        table = split(surviving, mode, hold_out="time", test_share=test_share, validation_share=validation_share)
    except InputError:
        times = list(pairs_of(surviving[mode]).values())
        event("refused")
        assert set(expected[mode].values()) != set(schemas.SPLIT_NAMES) or 2 * times.count(None) > len(times)
        return
    assert found(table) == expected[mode]
    assert {r["user"] for r in table.to_pylist() if r["paired"]} == slow_paired(expected, mode)
    assert table.schema == schemas.SPLITS


@given(CALENDARS, MODES)
@settings(max_examples=60, deadline=None)
def test_with_time_nobody_trains_on_anything_from_the_day_of_the_first_hold_out_on(surviving, mode):
    assume(mode in surviving)
    try:
        rows = split(surviving, mode, hold_out="time", test_share=0.2, validation_share=0.2).to_pylist()
    except InputError:
        event("refused")
        return
    days = defaultdict(list)
    for row in rows:
        if row["time"] is not None:
            days[row["split"]].append(row["time"] // DAY)
    assert not days["train"] or max(days["train"]) < min(days["validation"])
    assert max(days["validation"]) < min(days["test"])
    assert {r["split"] for r in rows if r["time"] is None} <= {"train"}
    assert {r["user"] for r in rows} == {r["user"] for r in rows if r["split"] == "train"}


@given(CALENDARS, MODES)
@settings(max_examples=60, deadline=None)
def test_with_baskets_a_user_trains_on_nothing_from_the_day_of_the_own_first_hold_out_on(surviving, mode):
    assume(mode in surviving)
    try:
        rows = split(surviving, mode, hold_out="basket").to_pylist()
    except InputError:
        event("refused")
        return
    for user in {r["user"] for r in rows}:
        days = {
            name: [r["time"] // DAY for r in rows if (r["user"], r["split"]) == (user, name) and r["time"] is not None]
            for name in schemas.SPLIT_NAMES
        }
        if days["test"]:
            assert days["validation"] and days["train"]
            assert max(days["train"]) < min(days["validation"]) <= max(days["validation"]) < min(days["test"])
        else:
            assert not days["validation"]


@given(CALENDARS, MODES)
@settings(max_examples=60, deadline=None)
def test_with_latest_nothing_that_could_be_held_out_is_in_train_and_later(surviving, mode):
    assume(mode in surviving and any(t is not None for t in pairs_of(surviving[mode]).values()))
    alone = {mode: surviving[mode]}
    rows, may = split(alone, mode, hold_out="latest").to_pylist(), may_be_held_out(surviving[mode])
    for row in rows:
        later = [
            r for r in rows
            if r["user"] == row["user"] and (r["user"], r["item"]) in may
            and r["time"] is not None and (row["time"] is None or r["time"] > row["time"])
        ]  # fmt: skip
        assert row["split"] != "test" or not later
        assert row["split"] != "validation" or {r["split"] for r in later} <= {"test"}


@given(CALENDARS, MODES)
@settings(max_examples=60, deadline=None)
def test_with_latest_nobody_trains_on_what_is_later_than_an_own_held_out_item(surviving, mode):
    assume(mode in surviving and any(t is not None for t in pairs_of(surviving[mode]).values()))
    rows = [r for r in split(surviving, mode, hold_out="latest").to_pylist() if r["time"] is not None]
    for held in rows:
        if held["split"] != "train":
            own = [r for r in rows if (r["user"], r["split"]) == (held["user"], "train")]
            assert not [r for r in own if r["time"] > held["time"]]


@given(CALENDARS, st.sampled_from(["basket", "time"]))
@settings(max_examples=60, deadline=None)
def test_what_may_be_held_out_in_all_modes_is_held_out_in_all_where_its_user_is_paired(surviving, hold_out):
    assume(len(surviving) == 3)
    try:
        tables = [split(surviving, mode, hold_out=hold_out) for mode in surviving]
    except InputError:
        event("refused")
        return
    of_paired = [
        {(r["user"], r["item"], r["split"]) for r in table.to_pylist() if r["paired"] and r["split"] != "train"}
        for table in tables
    ]
    assert of_paired[0] == of_paired[1] == of_paired[2]


@given(CALENDARS, MODES, st.sampled_from(["basket", "time"]))
@settings(max_examples=60, deadline=None)
def test_photos_of_late_reviews_leave_the_catalogue_and_no_item_loses_its_last_picture(surviving, mode, hold_out):
    assume(mode in surviving)
    try:
        table = split(surviving, mode, hold_out=hold_out)
    except InputError:
        event("refused")
        return
    built = catalogue.build(surviving[mode], table, bank(), users_table()).table
    assert set(built["item"].to_pylist()) == {item for _, item in pairs_of(surviving[mode])}
    training = {pair for pair, name in found(table).items() if name == "train"}
    late = may_be_held_out(surviving[mode]) - training
    images = surviving[mode].images.to_pylist()
    vendor = {(r["item"], r["sha256"]) for r in images if r["source"] == "vendor"}
    users = {name: number for number, name in enumerate(USERS)}
    gone = {(r["item"], r["sha256"]) for r in images if (users.get(r["reviewer_id"]), r["item"]) in late} - vendor
    kept = {(r["item"], r["sha256"]) for r in built.to_pylist()}
    assert kept == {(r["item"], r["sha256"]) for r in images} - gone


VENDOR = [(i, c) for i, c in enumerate("abcdef")]


def days(*rows):
    """(user, item, day) as rows of a shop; day None is an unknown time."""
    return [(user, item, None if day is None else day * DAY + 100 * item) for user, item, day in rows]


def test_a_users_last_day_is_test_and_the_day_before_it_validation_both_whole():
    rows = days((0, 0, 1), (0, 1, 5), (0, 2, 5), (0, 3, 9), (0, 4, 9), (0, 5, None), (1, 0, 2), (1, 1, 3), (1, 2, 3))
    surviving = shop(rows, VENDOR, [])
    assert found(split(surviving, "vendor_all", hold_out="basket")) == {
        (0, 0): "train", (0, 1): "validation", (0, 2): "validation", (0, 3): "test", (0, 4): "test", (0, 5): "train",
        (1, 0): "train", (1, 1): "train", (1, 2): "train",
    }  # fmt: skip


def test_a_user_without_a_purchase_before_the_cut_is_in_no_split():
    rows = days((0, 0, 1), (0, 1, 5), (0, 2, 9), (1, 3, 9), (1, 4, 9), (2, 3, 1), (2, 4, 1))
    table = split(shop(rows, VENDOR, []), "vendor_all", hold_out="time", cut="1970-01-10", validation_share=0.1)
    assert found(table) == {
        (0, 0): "train", (0, 1): "validation", (0, 2): "test", (2, 3): "train", (2, 4): "train",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cut", "share", "missing"),
    [("1970-01-20", 0.3, "test"), ("1970-01-02", 0.3, "train"), ("1970-01-06", 0.7, "train")],
)
def test_a_cut_outside_the_period_is_refused_with_the_period(cut, share, missing):
    surviving = shop(days((0, 0, 1), (0, 1, 1), (0, 2, 5), (0, 3, 9)), VENDOR, [])
    options = {"hold_out": "time", "cut": cut, "validation_share": share}
    with pytest.raises(InputError, match=f"in {missing}; the purchases run from 1970-01-02 to 1970-01-10"):
        split(surviving, "vendor_all", **options)


@pytest.mark.parametrize("hold_out", ["basket", "time"])
def test_fewer_known_times_than_unknown_ones_are_refused(hold_out):
    rows = days((0, 0, 1), (0, 1, 5), (0, 2, 9), (0, 3, None), (0, 4, None), (0, 5, None), (1, 5, None))
    with pytest.raises(InputError, match=f"hold_out {hold_out} needs to know when .* 3 of 7 have a time"):
        split(shop(rows, VENDOR, [], k=1), "vendor_all", hold_out=hold_out)


def test_baskets_without_a_user_of_three_days_are_refused():
    with pytest.raises(InputError, match="purchases on three days"):
        split(shop(days((0, 0, 1), (0, 1, 5), (1, 0, 1)), VENDOR, [], k=1), "vendor_all", hold_out="basket")


def test_one_day_is_never_on_both_sides_of_a_cut():
    many = np.repeat([1, 2, 3, 4], [10, 10, 10, 3])
    assert cut_days(many, "", 0.1, 0.1) == (2, 3)  # 3 of 33 are not a tenth, so test begins a day earlier
    assert cut_days(many, "", 0.09, 0.1) == (3, 4)
    assert cut_days(many, "1970-01-04", 0.5, 0.6) == (1, 3)
