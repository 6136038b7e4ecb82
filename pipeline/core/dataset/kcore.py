"""Filter reviews to the k-core: partition by user, count users; partition by item, count items; filter; number.

`five_core` runs these steps in this order. The definition is that of the re-run on Amazon Fashion 2018
(NAF, docs/method.md). What working pictures change afterwards belongs to `survivors.py`.
"""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.arrow import scalar, to_arrow, to_numpy
from pipeline.core.dataset.extent import Extent, Sample
from pipeline.core.errors import InputError
from pipeline.core.partition import PART, Partitions
from pipeline.core.tables import StoredTable

PART_ROWS = 500_000  # reviews per partition, as long as
PARTS = 512  # partitions are enough
BATCH, BATCH_PER_PART = 1 << 16, 1 << 10  # rows partitioned at once: the larger of BATCH, and so many per partition
MEMORY_MB = 128  # DuckDB's limit; it spills to disk beyond that
THREADS = 4  # DuckDB's limit: each thread needs some of that memory
REVIEWS = pa.schema({"row": pa.int64(), "reviewer_id": pa.string(), "asin": pa.string(), "time": pa.int64()})
ASINS = pa.schema({"asin": pa.string()})
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
# A user's number and an asin, each pair once. first: row of the first review; time: the earliest known (null: none is).
PAIRS = pa.schema({"user": pa.int32(), "asin": pa.string(), "first": pa.int64(), "time": pa.int64()})


@dataclass(frozen=True)
class FiveCore:
    """interactions (INTERACTIONS), users (USERS), items (ITEMS), the counts in the order of the steps, and the extent.

    `counts` has `users_with_k_items` only if a sample was drawn from them.
    """

    interactions: pa.Table
    users: pa.Table
    items: pa.Table
    counts: dict[str, int] = field(default_factory=dict)
    extent: Extent = field(default_factory=Extent)


def five_core(
    reviews: pa.Table | StoredTable,
    k: int = 5,
    previous_users: pa.Table | None = None,
    previous_items: pa.Table | None = None,
    *,
    iterative: bool = False,
    sample: Sample | None = None,
    folder: Path | None = None,
    part_rows: int = PART_ROWS,
) -> FiveCore:
    """Find the distinct (user, item) pairs of the users with at least `k` distinct items, and number users and items.

    Steps: users with k reviews and what they reviewed (NAF's Table 1); pairs made distinct; users with k distinct items
    and what they reviewed. `iterative` instead repeats "k items a user, k users an item" on the distinct pairs until
    nothing leaves. An interaction's time is that of the user's first review of the item.

    A `sample` is drawn from the users with k distinct items, who keep everything they reviewed; items follow, and
    `iterative` begins with its pairs. If there are no more users than it asks for, all are kept and none is drawn.

    Ids are dense int32 in the order of first appearance in `reviews`. With previous tables the ids there never change
    and stay in the tables even where their user or item has left; new ones are appended.

    The result does not depend on the number of partitions. Memory is that of one partition, plus 50 bytes per pair of
    a user with k reviews, and the names. Disk is 50 bytes a review, in `folder` (None: the system's temporary one).

    Raises InputError if no user is left, ValueError for k < 1.
    """
    if k < 1:
        raise ValueError(f"k: {k} is not at least 1")
    parts = max(1, min(PARTS, -(-reviews.num_rows // part_rows)))
    pairs = _distinct_pairs(reviews, k, parts, folder)
    counts = pairs.counts
    kept = _frequent(pairs.users, k)
    extent = Extent(k, iterative)
    eligible = np.flatnonzero(np.bincount(pairs.users) >= k)
    if sample is not None and sample.users < len(eligible):
        counts["users_with_k_items"] = len(eligible)
        extent = Extent(k, iterative, sample.users, len(eligible), sample.seed)
        drawn = np.zeros(len(pairs.user_names), bool)
        drawn[_draw(eligible, pairs.user_names, sample)] = True
        kept &= drawn[pairs.users]
    if iterative:
        kept = _filter(pairs.users, pairs.items, k, kept)
    if not kept.any() and extent.sampled:
        raise InputError(
            f"nobody is left of the {extent.label}: draw more users (--users, five_core.sample_users), or take a"
            " smaller k"
        )
    if not kept.any():
        raise InputError(
            f"no user with {k} distinct items among {counts['users']:,} users and {counts['reviews']:,} reviews"
            f" ({counts['users_with_k_reviews']:,} have {k} reviews): give more reviews, or a smaller k"
        )
    users, user_table, counts["five_core_users"] = _number(
        pairs.users[kept], pairs.user_names, previous_users, schemas.USERS
    )
    items, item_table, counts["five_core_items"] = _number(
        pairs.items[kept], pairs.item_names, previous_items, schemas.ITEMS
    )
    counts["interactions"] = len(users)
    times = to_arrow(pairs.times[kept], pairs.known[kept])
    interactions = pa.table([to_arrow(users), to_arrow(items), times], schema=schemas.INTERACTIONS)
    return FiveCore(interactions, user_table, item_table, counts, extent)


@dataclass(frozen=True)
class _Pairs:
    """The distinct pairs of the users with k reviews, in the order of their first reviews, and the counts so far.

    Users and items are codes: positions among the names.
    """

    users: np.ndarray  # [pairs] int32
    items: np.ndarray  # [pairs] int32
    times: np.ndarray  # [pairs] int64
    known: np.ndarray  # [pairs] bool: whether there is a time
    user_names: pa.Array
    item_names: pa.Array
    counts: dict[str, int]


def _distinct_pairs(reviews: pa.Table | StoredTable, k: int, parts: int, folder: Path | None) -> _Pairs:
    """Partition the reviews by user and count users; partition the pairs found by item and count items."""
    counts = dict.fromkeys(COUNTS, 0)
    user_names: list[pa.Array] = []  # of each partition
    item_names: list[pa.Array] = []
    with _database(reviews) as database, Partitions(parts, PAIRS, folder) as by_item:
        with Partitions(parts, REVIEWS, folder) as by_user:
            by_user.add(_read(database, REVIEWS, "reviewer_id", parts))
            for part in by_user:
                pairs = _count_users(database, part, k, parts, counts)
                by_item.add(_with_codes(pairs, "reviewer_id", "user", user_names).to_batches())
        # A pair's place is the number of pairs with an earlier first review.
        first = np.concatenate([to_numpy(pairs["first"]) for pairs in by_item])
        first.sort()
        users, items = np.empty((2, len(first)), np.int32)
        times, known = np.empty(len(first), np.int64), np.empty(len(first), bool)
        with Partitions(parts, ASINS, folder) as asins:
            asins.add(_read(database, ASINS, "asin", parts))
            for part, of_all in zip(by_item, asins, strict=True):
                counts["items"] += _count_items(database, of_all)
                pairs = _with_codes(part, "asin", "item", item_names)
                places = np.searchsorted(first, to_numpy(pairs["first"]))
                users[places], items[places] = to_numpy(pairs["user"]), to_numpy(pairs["item"])
                known[places] = to_numpy(pairs["time"].is_valid())
                times[places] = to_numpy(pairs["time"].fill_null(scalar(0, np.int64)))
    names = [pa.concat_arrays(of_parts) for of_parts in (user_names, item_names)]
    counts["users_with_k_reviews"], counts["items_of_users_with_k_reviews"] = map(len, names)
    counts["duplicate_reviews"] = counts["reviews"] - counts["distinct_pairs"]
    return _Pairs(users, items, times, known, *names, counts)


def _read(database: duckdb.DuckDBPyConnection, schema: pa.Schema, key: str, parts: int) -> pa.RecordBatchReader:
    """Read columns of the reviews, with the partition of each row by the hash of `key`."""
    rows = database.sql(f"SELECT {', '.join(schema.names)}, {_part(key, parts)} FROM reviews")
    return rows.to_arrow_reader(max(BATCH, BATCH_PER_PART * parts))


def _part(key: str, parts: int) -> str:
    return f"(hash({key}) % {parts})::USMALLINT AS {PART}"


def _count_users(
    database: duckdb.DuckDBPyConnection, reviews: pa.Table, k: int, parts: int, counts: dict[str, int]
) -> pa.Table:
    """Count the users of one partition; return the distinct pairs of those with `k` reviews.

    Columns: reviewer_id, then those of PAIRS without the user, and the partition by asin.
    """
    with database.cursor() as session:  # its temporary tables end with it
        session.register("part", reviews)
        # Names are slow to group, and most users have one review: a hash met once is such a user, and one pair.
        session.execute(f"""
            CREATE TEMP TABLE pairs AS
            SELECT reviewer_id, asin, min(row) AS first, min(time) AS time, count(*) AS reviews
            FROM part SEMI JOIN (
                SELECT hash(reviewer_id) AS hashed FROM part GROUP BY hashed HAVING count(*) >= {min(k, 2)}
            ) ON hash(reviewer_id) = hashed
            GROUP BY reviewer_id, asin;
            CREATE TEMP TABLE users AS
            SELECT reviewer_id, count(*) AS pairs, sum(reviews)::BIGINT AS reviews FROM pairs GROUP BY reviewer_id""")
        users, distinct, grouped, of_frequent = session.execute(f"""
            SELECT count(*), coalesce(sum(pairs), 0)::BIGINT, coalesce(sum(reviews), 0)::BIGINT,
                coalesce(sum(reviews) FILTER (reviews >= {k}), 0)::BIGINT
            FROM users""").fetchall()[0]
        frequent = session.sql(f"""
            SELECT reviewer_id, asin, first, time, {_part("asin", parts)}
            FROM pairs SEMI JOIN (FROM users WHERE reviews >= {k}) USING (reviewer_id)""").to_arrow_table()
    single = len(reviews) - grouped
    counts["reviews"] += len(reviews)
    counts["users"] += users + single
    counts["distinct_pairs"] += distinct + single
    counts["reviews_of_users_with_k_reviews"] += of_frequent
    return frequent


def _count_items(database: duckdb.DuckDBPyConnection, asins: pa.Table) -> int:
    """Count the items of one partition."""
    with database.cursor() as session:
        session.register("part", asins)
        return session.execute("SELECT count(DISTINCT asin) FROM part").fetchall()[0][0]


def _with_codes(pairs: pa.Table, name: str, code: str, names: list[pa.Array]) -> pa.Table:
    """Replace the column `name` by codes in a column `code`, and append the partition's distinct names to `names`."""
    encoded = pairs[name].combine_chunks().dictionary_encode()
    codes = to_numpy(encoded.indices) + np.int32(sum(map(len, names)))
    names.append(encoded.dictionary)
    return pairs.set_column(pairs.schema.get_field_index(name), code, to_arrow(codes))


def _draw(users: np.ndarray, names: pa.Array, sample: Sample) -> np.ndarray:
    """Draw the sample from the codes `users` [n]; their ids are at these places of `names`."""
    with tempfile.TemporaryDirectory(prefix="atelier-sample-") as spill:
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": spill,
            "memory_limit": f"{MEMORY_MB}MB",
        }
        with duckdb.connect(config=config) as database:
            database.register("eligible", pa.table({"user": to_arrow(users), "name": names.take(to_arrow(users))}))
            drawn = database.sql(
                f"SELECT user FROM eligible ORDER BY {sample.rank('name')}, name LIMIT {sample.users:d}"
            ).to_arrow_table()
    return to_numpy(drawn["user"])


def _filter(users: np.ndarray, items: np.ndarray, k: int, kept: np.ndarray) -> np.ndarray:
    """Unmark pairs until each user left has `k` items and each item left `k` users: bool [pairs]."""
    while True:
        before = kept.sum()
        kept[kept] = _frequent(items[kept], k)
        kept[kept] = _frequent(users[kept], k)
        if kept.sum() == before:
            return kept


def _frequent(codes: np.ndarray, k: int) -> np.ndarray:
    """Mark the codes that occur at least `k` times: bool [n]."""
    return (np.bincount(codes) >= k)[codes]


def _number(
    codes: np.ndarray, names: pa.Array, previous: pa.Table | None, schema: pa.Schema
) -> tuple[np.ndarray, pa.Table, int]:
    """Assign ids to `codes`; return the ids, the extended table of ids, and the number of distinct ids used.

    `codes` is [n], the ids int32 [n]. The table has the previous ids, then the new ones in the order of first
    appearance.
    """
    id_name, name = schema.names
    known = to_arrow([]) if previous is None else previous[name].combine_chunks()
    if previous is not None and not np.array_equal(to_numpy(previous[id_name]), np.arange(len(known))):
        raise ValueError(f"previous_{id_name}s: ids are not 0..{len(known) - 1} in order; the table was changed")
    present = pc.unique(to_arrow(codes))  # in the order of first appearance
    found = pc.index_in(names.take(present), value_set=known)
    new = ~to_numpy(found.is_valid())
    ids = np.empty(len(found), np.int32)
    ids[~new] = to_numpy(found.drop_null())
    ids[new] = len(known) + np.arange(new.sum())
    id_of_code = np.empty(len(names), np.int32)
    id_of_code[to_numpy(present)] = ids
    all_names = pa.concat_arrays([known, names.take(present.filter(to_arrow(new)))])
    table = pa.table([to_arrow(np.arange(len(all_names), dtype=np.int32)), all_names], schema=schema)
    return id_of_code[codes], table, len(ids)


@contextmanager
def _database(reviews: pa.Table | StoredTable) -> Generator[duckdb.DuckDBPyConnection]:
    """Open a database with the view `reviews` (REVIEWS), which spills to a folder of its own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="atelier-kcore-") as spill:
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": spill,
            "memory_limit": f"{MEMORY_MB}MB",
            "threads": min(cores, THREADS),
            "preserve_insertion_order": False,  # every order that matters is computed
        }
        with duckdb.connect(config=config) as database:
            if isinstance(reviews, StoredTable):
                path = str(reviews.path).replace("'", "''")
                database.execute(f"""
                    CREATE VIEW reviews AS SELECT file_row_number AS row, reviewer_id, asin, time
                    FROM read_parquet('{path}', file_row_number = true)""")
            else:
                rows = to_arrow(np.arange(len(reviews)))
                database.register("reviews", reviews.select(["reviewer_id", "asin", "time"]).append_column("row", rows))
            database.execute("SET enable_progress_bar = false")
            yield database
