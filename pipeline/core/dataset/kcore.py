"""Reviews to the k-core: which users and items stay, their dense ids, and the count after every step.

Names become numbers in DuckDB, which spills what does not fit into memory; the rest is counting numbers. The
definition and its order are NAF's (DESIGN section 4). What working pictures change afterwards belongs to
`survivors.py`.
"""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.raw.sources import BadInput
from pipeline.core.tables import StoredTable

MEMORY_MB = 256  # of DuckDB, beyond which it spills to disk


@dataclass(frozen=True)
class FiveCore:
    """interactions (INTERACTIONS), users (USERS), items (ITEMS), and the counts in the order of the steps."""

    interactions: pa.Table
    users: pa.Table
    items: pa.Table
    counts: dict[str, int] = field(default_factory=dict)


def five_core(
    reviews: pa.Table | StoredTable,
    k: int = 5,
    previous_users: pa.Table | None = None,
    previous_items: pa.Table | None = None,
    *,
    iterative: bool = False,
    memory_mb: int = MEMORY_MB,
) -> FiveCore:
    """Distinct (user, item) pairs of the users with at least `k` distinct items, and the items they reviewed.

    Steps: users with k reviews and what they reviewed (NAF's Table 1); pairs made distinct; users with k distinct items
    and what they reviewed. `iterative` instead repeats "k items a user, k users an item" on the distinct pairs until
    nothing leaves. An interaction's time is that of the user's first review of the item.

    Ids are dense int32 in the order of first appearance in `reviews`. With previous tables the ids there never change
    and stay in the tables even where their user or item has left; new ones are appended. Memory is `memory_mb` and
    about 50 bytes an interaction that stays.

    Raises BadInput when nobody is left, ValueError for k < 1.
    """
    if k < 1:
        raise ValueError(f"k: {k} is not at least 1")
    with _reviews(reviews, memory_mb) as database:
        counts, pairs, reviewers, asins = _pairs_of_active_users(database, k)
    users, items = to_numpy(pairs["user"]), to_numpy(pairs["item"])  # [pairs], by first appearance
    kept = np.ones(len(users), bool)
    while iterative:
        fewer = kept.copy()
        fewer[kept] = _enough(items[kept], len(asins), k)
        fewer[fewer] = _enough(users[fewer], len(reviewers), k)
        if fewer.sum() == kept.sum():
            break
        kept = fewer
    users, items, times = users[kept], items[kept], pairs["time"].filter(to_arrow(kept))
    if not len(users):
        raise BadInput(
            f"no user with {k} distinct items among {counts['users']:,} users and {counts['reviews']:,} reviews"
            f" ({counts['users_with_k_reviews']:,} have {k} reviews): give more reviews, or a smaller k"
        )
    user_ids, user_table = _dense(users, reviewers, previous_users, schemas.USERS)
    item_ids, item_table = _dense(items, asins, previous_items, schemas.ITEMS)
    counts["five_core_users"] = len(np.unique(users))
    counts["five_core_items"] = len(np.unique(items))
    counts["interactions"] = len(users)
    interactions = pa.table([to_arrow(user_ids), to_arrow(item_ids), times], schema=schemas.INTERACTIONS)
    return FiveCore(interactions, user_table, item_table, counts)


@contextmanager
def _reviews(reviews: pa.Table | StoredTable, memory_mb: int) -> Generator[duckdb.DuckDBPyConnection]:
    """A database with a view `reviews` (row, reviewer_id, asin, time), which spills to a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="atelier-kcore-") as spill:
        database = duckdb.connect(config={"temp_directory": spill, "memory_limit": f"{memory_mb}MB"})
        try:
            database.execute("SET enable_progress_bar = false")
            database.execute("SET preserve_insertion_order = false")  # every order that matters is asked for
            if isinstance(reviews, StoredTable):
                path = str(reviews.path).replace("'", "''")
                source = f"SELECT file_row_number AS row, * FROM read_parquet('{path}', file_row_number = true)"
            else:
                numbered = reviews.select(["reviewer_id", "asin", "time"])
                numbered = numbered.append_column("row", pa.array(np.arange(len(numbered))))
                database.register("given", numbered)
                source = "SELECT * FROM given"
            database.execute(f"CREATE VIEW reviews AS {source}")
            yield database
        finally:
            database.close()


def _pairs_of_active_users(
    database: duckdb.DuckDBPyConnection, k: int
) -> tuple[dict[str, int], pa.Table, pa.Array, pa.Array]:
    """(counts, pairs, names of users, names of items) of the users with at least `k` distinct items.

    pairs: user and item int32 (rows of the names), time, in the order of their first review. A pair stands once; its
    time is the earliest known (null: none is).
    """

    def numbers(sql: str) -> list[int]:
        return [int(value) for value in database.execute(sql).fetchall()[0]]

    def names(table: str, name: str, number: str) -> pa.Array:
        ordered = database.sql(f"SELECT {name} FROM {table} ORDER BY {number}").to_arrow_table()
        return ordered[name].combine_chunks()

    # Grouped by a hash, which costs half of the names. A hash of one review is a user of one review, and so a pair
    # already (most users are such); the others are told apart by their names.
    least = min(k, 2)
    database.execute(f"""
        CREATE TEMP TABLE activity AS SELECT hash(reviewer_id) AS hashed, count(*) AS n FROM reviews GROUP BY hashed;
        CREATE TEMP TABLE pairs AS
        SELECT reviewer_id, asin, min(row) AS first, min(time) AS time, count(*) AS reviews
        FROM reviews JOIN (FROM activity WHERE n >= {least}) ON hash(reviewer_id) = hashed GROUP BY reviewer_id, asin;
        CREATE TEMP TABLE users AS
        SELECT reviewer_id, min(first) AS first, count(*) AS items, sum(reviews) AS reviews
        FROM pairs GROUP BY reviewer_id;
        CREATE TEMP TABLE kept_users AS
        SELECT reviewer_id, row_number() OVER (ORDER BY first) - 1 AS user FROM users WHERE items >= {k};
        CREATE TEMP TABLE kept_pairs AS
        SELECT user, asin, pairs.first, time FROM pairs JOIN kept_users USING (reviewer_id);
        CREATE TEMP TABLE kept_items AS
        SELECT asin, row_number() OVER (ORDER BY min(first)) - 1 AS item FROM kept_pairs GROUP BY asin""")
    reviews, alone = numbers(f"SELECT coalesce(sum(n), 0), count(*) FILTER (n < {least}) FROM activity")
    users, often, of_often = numbers(
        f"SELECT count(*), count(*) FILTER (reviews >= {k}), coalesce(sum(reviews) FILTER (reviews >= {k}), 0)"
        " FROM users"
    )
    (items,) = numbers("SELECT count(DISTINCT asin) FROM reviews")
    (grouped,) = numbers("SELECT count(*) FROM pairs")
    (items_of_often,) = numbers(
        f"SELECT count(DISTINCT asin) FROM pairs SEMI JOIN (FROM users WHERE reviews >= {k}) USING (reviewer_id)"
    )
    counts = {"reviews": reviews, "users": users + alone, "items": items, "users_with_k_reviews": often}
    counts |= {"items_of_users_with_k_reviews": items_of_often, "reviews_of_users_with_k_reviews": of_often}
    counts |= {"distinct_pairs": grouped + alone, "duplicate_reviews": reviews - grouped - alone}
    pairs = database.sql(
        "SELECT user::INTEGER AS user, item::INTEGER AS item, time FROM kept_pairs JOIN kept_items USING (asin)"
        " ORDER BY first"
    ).to_arrow_table()
    return counts, pairs, names("kept_users", "reviewer_id", "user"), names("kept_items", "asin", "item")


def _enough(codes: np.ndarray, n: int, k: int) -> np.ndarray:
    return (np.bincount(codes, minlength=n) >= k)[codes]


def _dense(
    codes: np.ndarray, names: pa.Array, previous: pa.Table | None, schema: pa.Schema
) -> tuple[np.ndarray, pa.Table]:
    """Global ids [pairs] int32 of `codes`, and the table of ids: what was there, then what is new in order."""
    id_name, name = schema.names
    known = to_arrow([]) if previous is None else previous[name].combine_chunks()
    if previous is not None and not np.array_equal(to_numpy(previous[id_name]), np.arange(len(known))):
        raise ValueError(f"previous_{id_name}s: ids are not 0..{len(known) - 1} in order; the table was changed")
    present, first = np.unique(codes, return_index=True)
    present = present[np.argsort(first)]  # by first appearance among the kept pairs
    found = pc.index_in(names.take(to_arrow(present)), value_set=known)
    new = ~to_numpy(found.is_valid())
    ids = np.empty(len(found), np.int32)
    ids[~new] = to_numpy(found.drop_null())
    ids[new] = len(known) + np.arange(new.sum())
    of_code = np.full(len(names), -1, np.int32)
    of_code[present] = ids
    all_names = pa.concat_arrays([known, names.take(to_arrow(present[new]))])
    table = pa.table([to_arrow(np.arange(len(all_names), dtype=np.int32)), all_names], schema=schema)
    return of_code[codes], table
