"""`auto` is the cut in time where that is possible and leaves enough users, else random, in all modes alike."""

import pytest

from pipeline.core.dataset import splits
from tests.pipeline.core.dataset.hold_out.test_by_time import VENDOR, days, split
from tests.pipeline.core.shops import shop, users_table

TIMED = days((0, 0, 1), (0, 1, 5), (0, 2, 9), (1, 3, 1), (1, 4, 6), (1, 5, 9))
BY_TIME = {"cut": "1970-01-10", "validation_share": 0.1}


def chosen(surviving, **changes) -> tuple[str, str]:
    options = {"cut": "", "test_share": 0.1, "validation_share": 0.1, **changes}
    return splits.choose_hold_out(surviving, users_table(), **options)


def test_with_times_and_enough_users_it_is_the_cut_in_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(splits, "ENOUGH_USERS", 2)
    surviving = shop(TIMED, VENDOR, [], k=1)
    assert chosen(surviving, **BY_TIME)[0] == "time"
    by_time, auto = (split(surviving, "vendor_all", hold_out=name, **BY_TIME) for name in ("time", "auto"))
    assert auto.equals(by_time)


@pytest.mark.parametrize(
    ("rows", "enough", "why"),
    [
        (TIMED, 3, "only 2 users to test, 3 are required"),
        ([(user, item, None) for user, item, _ in TIMED], 1, "no purchase has a time"),
        (days((0, 0, 1), (0, 1, 1), (1, 2, 1), (1, 3, 1)), 1, "leaves no user with a purchase in train"),
    ],
)
def test_otherwise_it_is_random_with_the_reason(rows, enough: int, why: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(splits, "ENOUGH_USERS", enough)
    surviving = shop(rows, VENDOR, [], k=1)
    hold_out, said = chosen(surviving)
    assert hold_out == "random" and why in said
    random, auto = (split(surviving, "vendor_all", hold_out=name) for name in ("random", "auto"))
    assert auto.equals(random)
