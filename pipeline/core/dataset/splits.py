"""Split a mode's pairs into train, validation and test, shared between modes where possible.

This module only assigns (user, item) pairs, or single pictures of them. How they are chosen is in `hold_out/`.
`catalogue.py` removes the photos of held-out pairs; `triplets.py` removes held-out pictures from their user's
positives.
"""

import re
from collections.abc import Mapping
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.dataset.hold_out.by_time import after_cut, last_days
from pipeline.core.dataset.hold_out.one_each import one_each
from pipeline.core.dataset.hold_out.pairs import LEFT_OUT, ModePairs, mode_pairs
from pipeline.core.dataset.hold_out.single_pictures import by_picture
from pipeline.core.dataset.survivors import Surviving
from pipeline.core.errors import InputError

ONE_EACH = ("random", "latest")  # one validation and one test item for each user
HOLD_OUTS = (*ONE_EACH, "basket", "time")
AUTO = "auto"  # choose time or random by the data
ENOUGH_USERS = 100  # users with test pairs in every mode, below which `auto` does not cut by time
SPLIT_UNITS = ("interaction", "image")


def assign(
    surviving_by_mode: Mapping[str, Surviving],
    mode: str,
    users: pa.Table,
    items: pa.Table,
    seed: int = 0,
    *,
    hold_out: str = "random",
    split_unit: str = "interaction",
    cut: str = "",
    test_share: float = 0.1,
    validation_share: float = 0.1,
) -> pa.Table:
    """Build SPLITS of `mode`: its surviving pairs with their split, sorted by user and item.

    - random: one drawn validation item and one drawn test item for each user (`one_each`).
    - latest: the user's latest item is test, the one before it validation (`one_each`).
    - basket: the user's last day, whole, is test, the last day before it validation (`last_days`).
    - time: everything from one day on is test, everything shortly before it validation, for all users (`after_cut`).
    - auto: time where that is possible and leaves enough users, else random (`choose_hold_out`).

    Hold-outs are the same in every mode where the pairs survive there; `paired` marks users for whom all are. An item
    may be held out only if it has a picture that is not by a 5-core user who touched it. Photos of held-out pairs are
    removed, and this rule makes sure that an item never loses its last picture.

    Except with random, a pair may be in no split, and SPLITS lacks it: one that is too late to train on and not held
    out, and with time all pairs of a user who has none to train on.

    split_unit "interaction" holds out a pair with all its pictures (sha256 null). "image" imitates a row-wise split of
    a table with one row per (user, item, picture), which leaks: it holds out one picture of each held-out pair (its
    sha256), and keeps the pair in train too if the item has another picture in the mode (`by_picture`).

    Args:
        surviving_by_mode: the surviving pairs and pictures of every mode.
        mode: the mode to split.
        users: the global USERS.
        items: the global ITEMS.
        seed: of the hash that draws.
        hold_out: one of HOLD_OUTS, or auto.
        split_unit: one of SPLIT_UNITS.
        cut: with time, the first day of test, as YYYY-MM-DD in UTC; empty: chosen by `test_share`.
        test_share: with time and no cut, the least share of all pairs to be test.
        validation_share: with time, the least share of all pairs to be validation.

    Raises:
        ValueError: mode or an option is unknown or out of range.
        InputError: times are needed and not known, or nothing would be left in train or in test.
    """
    if mode not in surviving_by_mode:
        raise ValueError(f"mode: {mode!r} is not among the modes given ({', '.join(surviving_by_mode)})")
    check_options(hold_out, split_unit, cut, test_share, validation_share)
    reviewers, asins = users["reviewer_id"].to_pylist(), items["asin"].to_pylist()
    by_mode = {name: mode_pairs(surviving, users) for name, surviving in surviving_by_mode.items()}
    pairs = by_mode[mode]
    if hold_out == AUTO:
        hold_out, _ = _choose(by_mode, cut, test_share, validation_share)
        check_options(hold_out, split_unit, cut, test_share, validation_share)
    if hold_out != "random" and not pairs.known.any():
        raise InputError(
            f"hold_out {hold_out} needs to know when purchases happened, and no purchase has a time: name the column"
            " with the time in shop.toml (`time` of the reviews), or use hold_out random"
        )
    if hold_out == "time":
        split, paired = after_cut(by_mode, mode, cut, test_share, validation_share)
    elif hold_out == "basket":
        split, paired = last_days(by_mode, mode)
    else:
        split, paired = one_each(by_mode, mode, hold_out, seed, reviewers, asins)
    times = pa.array(pairs.time, mask=~pairs.known)
    columns = [pa.array(pairs.user), pa.array(pairs.item), pa.array(split.tolist(), pa.string()), pa.array(paired)]
    table = pa.table([*columns, pa.nulls(len(split), pa.string()), times], schema=schemas.SPLITS)
    table = table.filter(pc.not_equal(table["split"], LEFT_OUT))
    return by_picture(table, surviving_by_mode, mode, seed, reviewers, asins) if split_unit == "image" else table


def choose_hold_out(
    surviving_by_mode: Mapping[str, Surviving], users: pa.Table, cut: str, test_share: float, validation_share: float
) -> tuple[str, str]:
    """Return the hold-out that `auto` means for these modes, and the reason in words.

    It is `time`, if in every mode most times are known, and the cut leaves pairs in all splits and at least
    ENOUGH_USERS users with test pairs. Otherwise it is `random`, in all modes alike.
    """
    by_mode = {name: mode_pairs(surviving, users) for name, surviving in surviving_by_mode.items()}
    return _choose(by_mode, cut, test_share, validation_share)


def _choose(by_mode: Mapping[str, ModePairs], cut: str, test_share: float, validation_share: float) -> tuple[str, str]:
    for mode, pairs in by_mode.items():
        if not pairs.known.any():
            return "random", "no purchase has a time"
        try:
            split, _ = after_cut(by_mode, mode, cut, test_share, validation_share)
        except InputError as error:
            return "random", str(error)
        tested = len(np.unique(pairs.user[split == "test"]))
        if tested < ENOUGH_USERS:
            return "random", f"after the cut {mode} has only {tested} users to test, {ENOUGH_USERS} are required"
    return "time", "the times of purchases are known"


def check_options(hold_out: str, split_unit: str, cut: str, test_share: float, validation_share: float) -> None:
    """Check the options of `assign`.

    Raises:
        ValueError: an option is unknown, out of range or does not go with another; the message names it.
    """
    for name, value, allowed in (("hold_out", hold_out, (*HOLD_OUTS, AUTO)), ("split_unit", split_unit, SPLIT_UNITS)):
        if value not in allowed:
            raise ValueError(f"{name}: {value!r} is not one of {', '.join(allowed)}")
    if split_unit == "image" and hold_out not in (*ONE_EACH, AUTO):
        raise ValueError(f"split_unit: image goes only with hold_out {' or '.join(ONE_EACH)}, not with {hold_out}")
    for name, share in (("test_share", test_share), ("validation_share", validation_share)):
        if not 0 < share < 1:
            raise ValueError(f"{name}: {share} is not between 0 and 1")
    if test_share + validation_share >= 1:
        raise ValueError(f"test_share + validation_share is {test_share + validation_share}, which leaves no train")
    try:
        valid = not cut or (re.fullmatch(r"\d{4}-\d\d-\d\d", cut) and date.fromisoformat(cut))
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"cut: {cut!r} is not a date as YYYY-MM-DD")


def unit_of(splits: pa.Table) -> str:
    """Return the one of SPLIT_UNITS that a SPLITS table was made with."""
    return "image" if splits["sha256"].null_count < splits.num_rows else "interaction"
