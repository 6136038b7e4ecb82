"""The facts of a split equal counts by hand and a plain loop, and only a cut in time is time-honest."""

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.core import schemas
from pipeline.core.dataset import splits
from pipeline.core.dataset.split_facts import protocol_line, split_facts
from pipeline.core.errors import InputError
from tests.pipeline.core.dataset.hold_out.test_by_time import CALENDARS, DAY
from tests.pipeline.core.shops import items_table, users_table


def table(*rows):
    """SPLITS of (user, item, split, time) or (user, item, split, time, sha256)."""
    names = ("user", "item", "split", "time", "sha256")
    return pa.Table.from_pylist(
        [{"paired": True, **dict(zip(names, row, strict=False))} for row in rows], schema=schemas.SPLITS
    )


def slow_facts(rows):
    """The shares, one test row at a time."""
    held = {(r["user"], r["item"]) for r in rows if r["split"] != "train"}
    train = [r for r in rows if r["split"] == "train" and (r["user"], r["item"]) not in held]
    dated = [r for r in train if r["time"] is not None]
    test = [r for r in rows if r["split"] == "test"]
    timed = [r for r in test if r["time"] is not None]
    lists = {
        "test_same_day": [
            any(t["user"] == r["user"] and t["time"] // DAY == r["time"] // DAY for t in dated) for r in timed
        ],
        "test_later_own": [any(t["user"] == r["user"] and t["time"] > r["time"] for t in dated) for r in timed],
        "test_later_any": [any(t["time"] > r["time"] for t in dated) for r in timed],
        "test_cold": [not any(t["item"] == r["item"] for t in train) for r in test],
    }
    return {name: round(sum(found) / len(found), 4) if found else None for name, found in lists.items()}


@given(CALENDARS, st.sampled_from(schemas.IMAGE_MODES), st.sampled_from(splits.HOLD_OUTS), st.booleans())
@settings(max_examples=80, deadline=None)
def test_facts_equal_a_slow_version_and_only_time_is_honest_whatever_the_data(surviving, mode, hold_out, by_picture):
    assume(mode in surviving)
    unit = "image" if by_picture and hold_out in splits.ONE_EACH else "interaction"
    try:
        made = splits.assign(surviving, mode, users_table(), items_table(), hold_out=hold_out, split_unit=unit)
    except InputError:
        return
    facts, rows = split_facts(made), made.to_pylist()
    expected = slow_facts(rows)
    assert {name: facts[name] for name in expected} == expected
    unknown = sum(r["time"] is None for r in rows if r["split"] == "train")
    if hold_out == "time":
        assert facts["time_honest"] == (not unknown)
    if facts["test_later_any"]:
        assert not facts["time_honest"]
        assert "Time-honest: no" in protocol_line(facts)


MIXED = table(
    (0, 0, "train", 0), (0, 1, "train", 5 * DAY), (0, 2, "test", 5 * DAY + 9), (0, 3, "validation", 2 * DAY),
    (1, 0, "train", 6 * DAY), (1, 1, "test", 4 * DAY),
)  # fmt: skip


def test_the_line_of_a_random_split_shows_what_gives_it_away():
    facts = split_facts(MIXED)
    assert facts == {
        "train_pairs": 3, "test_pairs": 2, "test_users": 2, "validation_pairs": 1, "validation_users": 1,
        "test_same_day": 0.5, "test_later_own": 0.5, "test_later_any": 1.0, "test_cold": 0.5, "train_time_unknown": 0,
        "train_to": "1970-01-07", "validation_from": "1970-01-03", "test_from": "1970-01-05", "test_to": "1970-01-06",
        "time_honest": False,
    }  # fmt: skip
    assert protocol_line(facts) == (
        "2 purchases of 2 people are tested, 50% of them bought on the day of a purchase that the same person trains "
        "on. Time-honest: no, because 100% of them are earlier than a purchase in training, 50% than one of the same "
        "person."
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [(0, 0, "train", 0), (0, 1, "validation", DAY), (0, 2, "test", 2 * DAY)],
            "yes, because all training is up to 1970-01-01 and all testing from 1970-01-03 on",
        ),
        ([(0, 0, "train", None), (0, 1, "validation", None), (0, 2, "test", None)], "no, because it is not known when"),
        ([(0, 0, "train", 0), (1, 4, "train", None), (0, 2, "test", 2 * DAY)], "as far as is known: 1 purchases"),
        ([(0, 0, "train", DAY), (0, 1, "validation", 0), (0, 2, "test", 2 * DAY)], "training and validation overlap"),
    ],
)
def test_the_line_names_the_reason(rows, said):
    assert said in protocol_line(split_facts(table(*rows)))


def test_the_other_pictures_of_a_held_out_pair_are_not_a_purchase_in_training():
    facts = split_facts(table((0, 0, "train", 0), (0, 1, "train", DAY), (0, 1, "test", DAY, "a")))
    assert facts["test_same_day"] == 0.0 and facts["train_pairs"] == 1
