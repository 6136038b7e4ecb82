"""Reviews to the k-core: which users and items stay, their dense ids, and the count after every step.

Who has k items is found by part of the key space (`kcore_parts.py`); the rest is counting numbers, here. The
definition and its order are NAF's (DESIGN section 4). What working pictures change afterwards belongs to
`survivors.py`.
"""

import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.dataset.kcore_parts import (
    NUMBERED,
    Found,
    Stretch,
    Work,
    database,
    deal_reviews,
    find_items,
    find_users,
    items_of_parts,
    numbered_pairs,
    reviews_of,
    users_of_parts,
)
from pipeline.core.errors import InputError
from pipeline.core.shards import HERE, Runner, shard_size
from pipeline.core.tables import StoredTable

UNDEALT = 1_000_000  # reviews up to which one part is quicker and takes no more memory
PART_ROWS = 500_000  # reviews of a part beyond that, while
PARTS = 512  # are enough
COUNTS = (
    "reviews",
    "users",
    "items",
    "users_with_k_reviews",
    "items_of_users_with_k_reviews",
    "reviews_of_users_with_k_reviews",
    "distinct_pairs",
    "duplicate_reviews",
)
_CHUNK = 1 << 20  # pairs looked at at once


@dataclass(frozen=True)
class FiveCore:
    """interactions (INTERACTIONS), users (USERS), items (ITEMS), and the counts in the order of the steps."""

    interactions: pa.Table
    users: pa.Table
    items: pa.Table
    counts: dict[str, int] = field(default_factory=dict)


def parts_of(reviews: int, part_rows: int | None = None) -> int:
    """How many parts so many reviews are dealt to, `part_rows` each (None: PART_ROWS); 1: they stay where they are."""
    if part_rows is None and reviews <= UNDEALT:
        return 1
    return max(1, min(PARTS, -(-reviews // (part_rows or PART_ROWS))))


def five_core(
    reviews: pa.Table | StoredTable,
    k: int = 5,
    previous_users: pa.Table | None = None,
    previous_items: pa.Table | None = None,
    *,
    iterative: bool = False,
    runner: Runner = HERE,
    folder: Path | None = None,
    part_rows: int | None = None,
) -> FiveCore:
    """Distinct (user, item) pairs of the users with at least `k` distinct items, and the items they reviewed.

    Steps: users with k reviews and what they reviewed (NAF's Table 1); pairs made distinct; users with k distinct items
    and what they reviewed. `iterative` instead repeats "k items a user, k users an item" on the distinct pairs until
    nothing leaves. An interaction's time is that of the user's first review of the item.

    Ids are dense int32 in the order of first appearance in `reviews`. With previous tables the ids there never change
    and stay in the tables even where their user or item has left; new ones are appended.

    A stored table is dealt to `parts_of` its reviews, which the runner's workers take; the result is the same for any
    number of parts and workers. Memory of a worker is that of one part; here it is 25 bytes an interaction that stays,
    and the names (`iterative`: 45). Disk is 50 bytes a review, in `folder`, which all workers see and nobody else uses:
    it is cleared before and removed afterwards. None: a temporary one, for workers on this machine.

    Raises InputError when nobody is left, ValueError for k < 1.
    """
    if k < 1:
        raise ValueError(f"k: {k} is not at least 1")
    parts = parts_of(reviews.num_rows, part_rows)
    if parts == 1 or isinstance(reviews, pa.Table):
        core = _in_one(reviews, k)
    else:
        with _emptied(folder) as empty:
            core = _by_parts(reviews, parts, k, runner, empty)
    users, items, times, known, counts = core.users, core.items, core.times, core.known, core.counts
    if iterative:
        kept = _closed(users, items, len(core.user_names), len(core.item_names), k)
        users, items, times, known = users[kept], items[kept], times[kept], known[kept]
    if not len(users):
        raise InputError(
            f"no user with {k} distinct items among {counts['users']:,} users and {counts['reviews']:,} reviews"
            f" ({counts['users_with_k_reviews']:,} have {k} reviews): give more reviews, or a smaller k"
        )
    user_table, counts["five_core_users"] = _made_dense(users, core.user_names, previous_users, schemas.USERS)
    item_table, counts["five_core_items"] = _made_dense(items, core.item_names, previous_items, schemas.ITEMS)
    counts["interactions"] = len(users)
    interactions = pa.table([to_arrow(users), to_arrow(items), to_arrow(times, known)], schema=schemas.INTERACTIONS)
    return FiveCore(interactions, user_table, item_table, counts)


@dataclass(frozen=True)
class _Core:
    """Pairs in order of their first review, [pairs] each: numbers of user and item, rows of the names, and the time."""

    users: np.ndarray  # int32
    items: np.ndarray  # int32
    times: np.ndarray  # int64
    known: np.ndarray  # bool: whether there is a time
    user_names: pa.Array
    item_names: pa.Array
    counts: dict[str, int]


def _in_one(reviews: pa.Table | StoredTable, k: int) -> _Core:
    with database() as session:
        if isinstance(reviews, StoredTable):
            session.execute(f"CREATE TEMP VIEW reviews AS {reviews_of(reviews.path)}")
        else:
            given = reviews.select(["reviewer_id", "asin", "time"])
            session.register("reviews", given.append_column("row", to_arrow(np.arange(len(given)))))
        session.execute("CREATE TEMP VIEW asins AS SELECT asin FROM reviews")
        users, items = find_users(session, k), find_items(session)
        pairs = session.sql(f"{NUMBERED} ORDER BY first").to_arrow_table()
    return _together([users], [items], lambda part: pairs)


def _by_parts(reviews: StoredTable, parts: int, k: int, runner: Runner, folder: Path) -> _Core:
    workers = runner.workers()
    stretches = [Stretch(n, part.start, part.stop) for n, part in enumerate(_cut(reviews.num_rows, workers))]
    work = Work(folder, len(stretches), parts, k, threads=int(workers > 1))
    for _ in runner.map(deal_reviews, stretches, reviews.path, work):
        pass
    shards = _cut(parts, workers)
    users = list(chain.from_iterable(runner.map(users_of_parts, shards, work)))
    items = list(chain.from_iterable(runner.map(items_of_parts, shards, work, _starts(users))))
    return _together(users, items, lambda part: numbered_pairs(part, work))


def _cut(count: int, workers: int) -> list[range]:
    step = shard_size(count, workers, most=count) if workers > 1 else count
    return [range(start, min(start + step, count)) for start in range(0, count, step)]


def _together(users: Sequence[Found], items: Sequence[Found], pairs: Callable[[int], pa.Table]) -> _Core:
    """All parts as one; `pairs`: those of a part of items, in order.

    A pair's place is how many first rows are below its own: no part needs to stay in memory for that.
    """
    lengths = [found.counts["kept_pairs"] for found in items]
    first = np.empty(sum(lengths), np.int64)
    for part, end in enumerate(np.cumsum(lengths).tolist()):
        first[end - lengths[part] : end] = to_numpy(pairs(part)["first"])
    first.sort()
    core = _Core(
        np.empty(len(first), np.int32),
        np.empty(len(first), np.int32),
        np.empty(len(first), np.int64),
        np.empty(len(first), bool),
        pa.concat_arrays([found.names for found in users]),
        pa.concat_arrays([found.names for found in items]),
        {name: sum(found.counts.get(name, 0) for found in [*users, *items]) for name in COUNTS},
    )
    for part, before in enumerate(_starts(items)):
        table = pairs(part)
        places = np.searchsorted(first, to_numpy(table["first"]))
        core.users[places] = to_numpy(table["user"])
        core.items[places] = to_numpy(table["item"]) + np.int32(before)
        core.times[places] = to_numpy(table["time"])
        core.known[places] = to_numpy(table["known"])
    return core


def _starts(found: Sequence[Found]) -> list[int]:
    """Of each part, how many names there are in those before it."""
    return np.cumsum([0, *(len(part.names) for part in found)])[:-1].tolist()


@contextmanager
def _emptied(folder: Path | None) -> Generator[Path]:
    """`folder`, or a temporary one, empty; it goes at the end."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="atelier-kcore-") as temporary:
            yield Path(temporary)
        return
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _closed(users: np.ndarray, items: np.ndarray, user_count: int, item_count: int, k: int) -> np.ndarray:
    """Which pairs stay, bool [pairs], when users and items with fewer than `k` leave until nothing does."""
    kept = np.ones(len(users), bool)
    while True:
        fewer = kept.copy()
        fewer[kept] = _enough(items[kept], item_count, k)
        fewer[fewer] = _enough(users[fewer], user_count, k)
        if fewer.sum() == kept.sum():
            return kept
        kept = fewer


def _enough(codes: np.ndarray, n: int, k: int) -> np.ndarray:
    return (np.bincount(codes, minlength=n) >= k)[codes]


def _made_dense(
    codes: np.ndarray, names: pa.Array, previous: pa.Table | None, schema: pa.Schema
) -> tuple[pa.Table, int]:
    """The table of ids (what was there, then what is new in order), and how many of them `codes` [pairs] has.

    The codes, rows of `names`, become ids where they stand.
    """
    id_name, name = schema.names
    known = to_arrow([]) if previous is None else previous[name].combine_chunks()
    if previous is not None and not np.array_equal(to_numpy(previous[id_name]), np.arange(len(known))):
        raise ValueError(f"previous_{id_name}s: ids are not 0..{len(known) - 1} in order; the table was changed")
    present = _by_first_appearance(codes, len(names))
    found = pc.index_in(names.take(to_arrow(present)), value_set=known)
    new = ~to_numpy(found.is_valid())
    ids = np.empty(len(found), np.int32)
    ids[~new] = to_numpy(found.drop_null())
    ids[new] = len(known) + np.arange(new.sum())
    of_code = np.full(len(names), -1, np.int32)
    of_code[present] = ids
    all_names = pa.concat_arrays([known, names.take(to_arrow(present[new]))])
    table = pa.table([to_arrow(np.arange(len(all_names), dtype=np.int32)), all_names], schema=schema)
    for start in range(0, len(codes), _CHUNK):
        codes[start : start + _CHUNK] = of_code[codes[start : start + _CHUNK]]
    return table, len(present)


def _by_first_appearance(codes: np.ndarray, n: int) -> np.ndarray:
    """The distinct `codes`, all below `n`, in the order in which they are met; in memory for them, not for `codes`."""
    first = np.full(n, len(codes))
    for start in range(0, len(codes), _CHUNK)[::-1]:
        met = codes[start : start + _CHUNK][::-1]
        first[met] = np.arange(start + len(met) - 1, start - 1, -1)  # of the same code the last, met first, stays
    present = np.flatnonzero(first < len(codes))
    return present[np.argsort(first[present])]
