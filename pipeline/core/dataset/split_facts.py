"""Measure how much a split gives away by time: what trains beside, and after, the pairs that are held out.

The facts are measured in SPLITS itself, whatever hold-out made it, and belong beside every table of figures.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.dataset.hold_out.pairs import UNKNOWN_TIME, among, codes

DAY = 86_400  # seconds


def split_facts(splits: pa.Table) -> dict[str, Any]:
    """Measure a mode's SPLITS; a share is None where no pair has what it needs.

    - test_pairs, test_users, validation_pairs, validation_users, train_pairs: numbers.
    - test_same_day: share of test pairs on whose day (UTC) the same user has a train pair.
    - test_later_own: share of test pairs after which the same user has a train pair.
    - test_later_any: share of test pairs after which anybody has a train pair.
    - test_cold: share of test pairs whose item nobody has in train.
    - train_time_unknown: number of train pairs without a time.
    - train_to, validation_from, test_from, test_to: the first or last date, None if no time is known.
    - time_honest: whether all train pairs have a time, before every validation and test pair.

    The shares of days and times are of the test pairs whose time is known. Other pictures of a held-out pair that train
    (split_unit image) are not counted as train pairs.
    """
    user, item = splits["user"].to_numpy(), splits["item"].to_numpy()
    times = splits["time"] if "time" in splits.column_names else pa.nulls(len(splits), pa.int64())  # an old model's
    time = times.fill_null(UNKNOWN_TIME).to_numpy(zero_copy_only=False)
    known, pair = time != UNKNOWN_TIME, codes(user, item)
    split = splits["split"].to_numpy(zero_copy_only=False)
    test, validation = split == "test", split == "validation"
    train = (split == "train") & ~among(pair, pair[test | validation])
    dated, trained = test & known, train & known
    user_day = _dense(user) << 32 | _dense(time // DAY)
    latest = np.full(int(user.max(initial=0)) + 1, UNKNOWN_TIME)
    np.maximum.at(latest, user[trained], time[trained])
    end, begin = _extreme(time[trained], np.max), _extreme(time[(test | validation) & known], np.min)
    facts: dict[str, Any] = {"train_pairs": int(train.sum())}
    for name, rows in (("test", test), ("validation", validation)):
        facts |= {f"{name}_pairs": int(rows.sum()), f"{name}_users": len(np.unique(user[rows]))}
    return facts | {
        "test_same_day": _share(among(user_day[dated], user_day[trained])),
        "test_later_own": _share(latest[user[dated]] > time[dated]),
        "test_later_any": _share(np.zeros(dated.sum(), bool) if end is None else time[dated] < end),
        "test_cold": _share(~among(item[test], item[train])),
        "train_time_unknown": int((train & ~known).sum()),
        "train_to": _date(end),
        "validation_from": _date(_extreme(time[validation & known], np.min)),
        "test_from": _date(_extreme(time[dated], np.min)),
        "test_to": _date(_extreme(time[dated], np.max)),
        "time_honest": bool(known[train].all() and begin is not None and (end is None or end < begin)),
    }


def protocol_line(facts: Mapping[str, Any]) -> str:
    """Describe the facts of `split_facts` in one line: what was tested, whether it is time-honest, and why."""
    line = f"{facts['test_pairs']:,} purchases of {facts['test_users']:,} people are tested"
    if facts["test_same_day"] is not None:
        line += f", {facts['test_same_day']:.0%} of them bought on the day of a purchase that the same person trains on"
    return f"{line}. Time-honest: {_honest(facts)}."


def _honest(facts: Mapping[str, Any]) -> str:
    if facts["time_honest"]:
        return f"yes, because all training is up to {facts['train_to']} and all testing from {facts['test_from']} on"
    if facts["test_later_any"] is None or facts["train_to"] is None:
        return "no, because it is not known when purchases happened"
    if facts["test_later_any"]:
        return (
            f"no, because {facts['test_later_any']:.0%} of them are earlier than a purchase in training,"
            f" {facts['test_later_own']:.0%} than one of the same person"
        )
    if facts["train_time_unknown"]:
        return f"as far as is known: {facts['train_time_unknown']:,} purchases in training have no time"
    return "no, because training and validation overlap in time"


def _share(marked: np.ndarray) -> float | None:
    return round(float(marked.mean()), 4) if len(marked) else None


def _dense(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _extreme(times: np.ndarray, of: Callable[[np.ndarray], np.int64]) -> int | None:
    return int(of(times)) if len(times) else None


def _date(time: int | None) -> str | None:
    return None if time is None else str(datetime.fromtimestamp(time, UTC).date())
