"""Hold out by the calendar: each user's last days, or everything after one date for all users. Days are UTC."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import numpy as np

from pipeline.core.dataset.hold_out.pairs import LEFT_OUT, ModePairs, in_all_modes
from pipeline.core.errors import InputError

DAY = 86_400  # seconds
NEVER, FOREVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max // DAY  # days
Starts = tuple[np.ndarray, np.ndarray]  # the first day of validation and of test for each user number: int64 [users]


def last_days(by_mode: Mapping[str, ModePairs], mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Hold out each user's last day as test and the last day before it as validation: splits and paired, [pairs].

    The two days are the last ones on which the user has a pair that survives and may be held out in all modes, if a
    pair of all modes is earlier than both. Otherwise they are the last two such days in this mode, and a user for whom
    that leaves no earlier day is in train only. Everything from the first of the two days on leaves train, so that a
    user has no train pair later than a held-out one, or on its day. Pairs of unknown time are in train.

    Raises:
        InputError: nobody has purchases on three days.
    """
    _refuse_unknown(by_mode[mode], "basket")
    starts = {name: _last_two_days(pairs, by_mode) for name, pairs in by_mode.items()}
    if (starts[mode][0] == FOREVER).all():
        raise InputError(
            f"image mode {mode}: hold_out basket needs users with purchases on three days, so that one is left to train"
            " on after the last two are held out, and nobody has them: use hold_out random"
        )
    return _assigned(by_mode, mode, starts)


def after_cut(
    by_mode: Mapping[str, ModePairs], mode: str, cut: str, test_share: float, validation_share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out everything from one day on as test and what is shortly before it as validation: splits and paired.

    The days are the same for all users and modes (`cut_days`). Pairs of unknown time are in train.

    Raises:
        InputError: the mode has no pair in train, in validation or in test; or too few times are known.
    """
    _refuse_unknown(by_mode[mode], "time")
    first = np.unique(np.concatenate([pairs.codes for pairs in by_mode.values()]), return_index=True)[1]
    times = np.concatenate([pairs.time for pairs in by_mode.values()])[first]
    days = times[np.concatenate([pairs.known for pairs in by_mode.values()])[first]] // DAY
    days.sort()
    validation, test = cut_days(days, cut, test_share, validation_share)
    users = max(int(pairs.user.max(initial=0)) for pairs in by_mode.values()) + 1
    starts = np.full(users, validation), np.full(users, test)
    split, paired = _assigned(by_mode, mode, dict.fromkeys(by_mode, starts))
    missing = next((name for name in ("train", "test", "validation") if name not in split), None)
    if missing:
        raise InputError(
            f"image mode {mode}: hold_out time with validation from {_words(validation)} and test from {_words(test)}"
            f" leaves no user with a purchase in {missing}; the purchases run from {_words(days[0])} to"
            f" {_words(days[-1])}. Choose a cut within them or other shares, or use hold_out random."
        )
    return split, paired


def cut_days(days: np.ndarray, cut: str, test_share: float, validation_share: float) -> tuple[int, int]:
    """Choose the first day of validation and of test, as days since 1970, from the days of all pairs [n], ascending.

    Test begins on the date `cut` if it is given, else on the last day from which at least `test_share` of the pairs
    remain. Validation begins on the last day from which at least `validation_share` of all pairs lie before the test.
    """
    least = max(1, int(np.ceil(test_share * len(days))))
    test = (date.fromisoformat(cut) - date(1970, 1, 1)).days if cut else int(days[-least])
    before = days[: np.searchsorted(days, test)]
    if not len(before):
        return test, test
    least = max(1, int(np.ceil(validation_share * len(days))))
    return int(before[-min(least, len(before))]), test


def _assigned(
    by_mode: Mapping[str, ModePairs], mode: str, starts: Mapping[str, Starts]
) -> tuple[np.ndarray, np.ndarray]:
    """Split all modes, to find the users with the same hold-outs in all of them: splits and paired of `mode`."""
    split_of = {name: _split(pairs, *starts[name]) for name, pairs in by_mode.items()}
    own, split = by_mode[mode], split_of[mode]
    users = max(int(pairs.user.max(initial=0)) for pairs in by_mode.values()) + 1
    held = {
        (name, part): pairs.codes[split_of[name] == part]
        for name, pairs in by_mode.items()
        for part in ("validation", "test")
    }
    paired = _counts(np.concatenate([held[mode, "validation"], held[mode, "test"]]), users) > 0
    for (_, part), codes in held.items():
        common = _counts(np.intersect1d(codes, held[mode, part]), users)
        paired &= (common == _counts(codes, users)) & (common == _counts(held[mode, part], users))
    return split, paired[own.user]


def _split(pairs: ModePairs, validation: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Assign the pairs of one mode from the first days of each user: str [pairs].

    A late pair whose item may not be held out, and every pair of a user without a train pair, is left out.
    """
    user, day = pairs.user, pairs.time // DAY
    split = np.full(len(user), "train", dtype="U10")
    split[pairs.known & (day >= validation[user])] = "validation"
    split[pairs.known & (day >= test[user])] = "test"
    split[(split != "train") & ~pairs.lasting] = LEFT_OUT
    trains = np.bincount(user[split == "train"], minlength=user.max(initial=0) + 1) > 0
    split[~trains[user]] = LEFT_OUT
    return split


def _last_two_days(pairs: ModePairs, by_mode: Mapping[str, ModePairs]) -> Starts:
    """Find the days on which each user's validation and test begin; FOREVER for users in train only."""
    users = int(pairs.user.max(initial=0)) + 1
    starts = np.full((2, users), FOREVER)
    for everywhere in (False, True):  # what all modes share comes last, to replace what this mode has
        present, may = pairs.known, pairs.known & pairs.lasting
        if everywhere:
            present = present & in_all_modes(pairs, by_mode, lasting=False)
            may = may & in_all_modes(pairs, by_mode, lasting=True)
        user, day = pairs.user, pairs.time // DAY
        last = _latest(user[may], day[may], users)
        earlier = may & (day < last[user])
        before = _latest(user[earlier], day[earlier], users)
        trains = np.bincount(user[present & (day < before[user])], minlength=users) > 0
        starts = np.where(trains, [before, last], starts)
    return starts[0], starts[1]


def _latest(user: np.ndarray, day: np.ndarray, users: int) -> np.ndarray:
    """Find the latest day of each user: int64 [users], NEVER without one."""
    latest = np.full(users, NEVER)
    np.maximum.at(latest, user, day)
    return latest


def _counts(codes: np.ndarray, users: int) -> np.ndarray:
    """Count the pairs of each user: [users]."""
    return np.bincount(codes >> 32, minlength=users)


def _refuse_unknown(pairs: ModePairs, hold_out: str) -> None:
    known = int(pairs.known.sum())
    if 2 * known < len(pairs.codes):
        raise InputError(
            f"hold_out {hold_out} needs to know when purchases happened, and {known:,} of {len(pairs.codes):,} have a"
            " time: name the column with the time in shop.toml (`time` of the reviews), or use hold_out random"
        )


def _words(day: int) -> str:
    return str(datetime(1970, 1, 1, tzinfo=UTC).date() + timedelta(days=int(day)))
