"""Move the cut of the protocol `time` week by week, and measure each model on every week after its cut.

All weeks are counted back from the end, midnight (UTC) after the last purchase. With the cut w weeks before the end,
age 1 is the first week after the cut and age w is the last week of the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.dataset.survivors import Surviving
from pipeline.core.errors import InputError
from pipeline.study.data import ModeData

TIME = "time"
WEEKS = "weeks"  # the part of a study that moves the cut; its split number is that of weeks before the end
DAY, WEEK = 86_400, 7 * 86_400  # seconds
VALIDATION_WEEKS = 2  # before the cut; a share of all purchases, as with `time`, would make every model months old


@dataclass(frozen=True, eq=False)
class WeekAfter:
    """The purchases of one week after the cut. `age` counts from 1, the first week after it."""

    age: int
    start: str  # its first day
    pairs: np.ndarray  # [n, 2] int32, user and item rows of the test pairs
    unseen: int  # test pairs whose item nobody bought before the cut, as far as the model can know
    unknown: int  # purchases that are not in test, such as those of customers without purchases before the cut

    def facts(self) -> dict[str, int | str]:
        """Return the counts, for the manifest."""
        return {"age": self.age, "start": self.start, "pairs": len(self.pairs), "unseen": self.unseen,
                "unknown": self.unknown}  # fmt: skip


def end_of(pairs: pa.Table) -> int:
    """Return midnight after the last purchase, in unix seconds.

    Raises:
        InputError: no purchase has a time.
    """
    times = pairs["time"].drop_null().to_numpy()
    if not len(times):
        raise InputError(
            "--weeks: no purchase of this home has a time, so none is before or after a cut; use --protocols random."
        )
    return (int(times.max()) // DAY + 1) * DAY


def cut(pairs: pa.Table, week: int) -> int:
    """Return the cut `week` weeks before the end, in unix seconds.

    Raises:
        InputError: there are no purchases before it.
    """
    end, first = end_of(pairs), int(pairs["time"].drop_null().to_numpy().min())
    if end - week * WEEK <= first:
        most = (end - first - 1) // WEEK
        raise InputError(f"--weeks {week}: the purchases cover {(end - first) / WEEK:.1f} weeks; at most {most}.")
    return end - week * WEEK


def split_changes(by_mode: Mapping[str, Surviving], mode: str, week: int) -> dict[str, str | float]:
    """Return the settings of the split with the cut `week` weeks before the end and validation just before it.

    Raises InputError as `cut` does.
    """
    start = cut(by_mode[mode].pairs, week)
    pairs = pa.concat_tables([surviving.pairs.select(["user", "item", "time"]) for surviving in by_mode.values()])
    times = pairs.group_by(["user", "item", "time"]).aggregate([])["time"].drop_null().to_numpy()
    validation = int(((times >= start - VALIDATION_WEEKS * WEEK) & (times < start)).sum())
    share = (max(validation, 1) - 0.5) / len(times)  # the half keeps rounding from asking for one pair more
    return {"cut": day(start), "validation_share": share}


def day(seconds: int) -> str:
    """Format unix seconds as a date."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def weeks_after(data: ModeData, surviving: pa.Table, week: int) -> list[WeekAfter]:
    """Divide the test pairs into the weeks after the cut, the first week first.

    Args:
        data: the mode, split by time with the cut `week` weeks before the end.
        surviving: all pairs of the mode with their times.
        week: how many weeks before the end the cut is.
    """
    start = cut(surviving, week)
    test = data.splits.filter(pc.equal(data.splits["split"], "test"))
    of_mode = data.arrays
    rows = [
        np.searchsorted(ids, test[name].to_numpy()) for ids, name in ((of_mode.users, "user"), (of_mode.items, "item"))
    ]
    pairs = np.stack(rows, 1).astype(np.int32)
    ages = (test["time"].to_numpy() - start) // WEEK + 1
    seen = np.isin(pairs[:, 1], of_mode.pairs["train"][:, 1])
    all_ages = (surviving["time"].drop_null().to_numpy() - start) // WEEK + 1
    return [
        WeekAfter(
            age=age,
            start=day(start + (age - 1) * WEEK),
            pairs=pairs[ages == age],
            unseen=int((~seen[ages == age]).sum()),
            unknown=int((all_ages == age).sum() - (ages == age).sum()),
        )
        for age in range(1, week + 1)
    ]
