"""The 5-core by part of the key space: what can be said of some reviewers with all their reviews, and of some items.

First all reviews of a reviewer are brought into one part: there the users with k items are known, and their pairs. Then
what is known of an item is brought into one part: there items are counted, and numbered. Between the two lie files
(`pipeline/core/partition.py`) where there are several parts, and nothing where there is one.
"""

import os
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.partition import PART, deal, dealt

MEMORY_MB = 128  # of DuckDB, beyond which it spills to disk
THREADS = 4  # at most: each wants some of that memory for itself
BATCH, SLICE = 1 << 16, 1 << 10  # rows dealt at once: at least so many, and so many a part


@dataclass(frozen=True)
class Work:
    """Where the files lie that are dealt between parts, and how many there are of each; all workers see the folder."""

    folder: Path
    stretches: int
    parts: int
    k: int
    threads: int = 0  # of a worker; 0: one a core

    def deal(self, what: str, by: int, key: str, rows: str, session: duckdb.DuckDBPyConnection) -> None:
        """Deal the rows of a query, by stretch or part `by`, to the parts by the hash of the column `key`."""
        part = f"(hash({key}) % {self.parts})::USMALLINT AS {PART}"
        found = session.sql(f"SELECT *, {part} FROM ({rows})").to_arrow_reader(max(BATCH, SLICE * self.parts))
        deal(found, self.file(what, by), self.parts)

    def dealt(self, what: str, part: int, dealers: int) -> list[pa.Table]:
        """What the part gets: a table of each that dealt."""
        return [dealt(self.file(what, by), part, self.parts) for by in range(dealers)]

    def file(self, what: str, by: int) -> Path:
        """The file of what `by` dealt."""
        return self.folder / f"{what}-{by}.arrow"


@dataclass(frozen=True)
class Stretch:
    """Rows `start` to `stop` of the reviews' file."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Found:
    """Of a part: counts, which add up over parts, and the names of what stays; the row is the number in the part."""

    counts: dict[str, int]
    names: pa.Array


def deal_reviews(stretch: Stretch, reviews: Path, work: Work) -> None:
    """Deal a stretch of the reviews to the parts of their reviewers, and its asins to theirs."""
    with database(work.threads) as session:
        # DuckDB reads the row groups of these rows alone.
        rows = f"({reviews_of(reviews)}) WHERE row >= {stretch.start} AND row < {stretch.stop}"
        work.deal("reviews", stretch.number, "reviewer_id", f"SELECT row, reviewer_id, asin, time FROM {rows}", session)
        work.deal("asins", stretch.number, "asin", f"SELECT DISTINCT asin FROM {rows}", session)


def users_of_parts(parts: range, work: Work) -> list[Found]:
    """Of each part the users who have k items; deals their pairs, and the asins of those who nearly have, by asin."""
    found = []
    with database(work.threads) as session:
        for part in parts:
            with _room(session) as room:
                room.register("reviews", pa.concat_tables(work.dealt("reviews", part, work.stretches)))
                found.append(find_users(room, work.k))
                work.deal("pairs", part, "asin", "SELECT user, asin, first, time FROM kept_pairs", room)
                work.deal("near", part, "asin", "SELECT DISTINCT asin FROM near", room)
    return found


def items_of_parts(parts: range, work: Work, users_before: Sequence[int]) -> list[Found]:
    """The items of each part; writes its pairs by number, to be read by `numbered_pairs`.

    `users_before`: of each part of users, how many there are in the parts before it.
    """
    found = []
    with database(work.threads) as session:
        for part in parts:
            with _room(session) as room:
                pairs = zip(work.dealt("pairs", part, work.parts), users_before, strict=True)
                room.register("kept_pairs", pa.concat_tables(_shifted(*of_part) for of_part in pairs))
                room.register("near", pa.concat_tables(work.dealt("near", part, work.parts)))
                room.register("asins", pa.concat_tables(work.dealt("asins", part, work.stretches)))
                found.append(find_items(room))
                numbered = room.sql(f"SELECT *, 0::USMALLINT AS {PART} FROM ({NUMBERED}) ORDER BY first")
                deal(numbered.to_arrow_reader(BATCH), work.file("numbered", part), parts=1)
    return found


def numbered_pairs(part: int, work: Work) -> pa.Table:
    """NUMBERED of a part, by `first`; mapped from its file."""
    return dealt(work.file("numbered", part), 0, parts=1)


def _shifted(pairs: pa.Table, before: int) -> pa.Table:
    """Pairs whose users are numbered over all parts."""
    users = to_arrow(to_numpy(pairs["user"]) + np.int32(before))
    return pairs.set_column(pairs.schema.get_field_index("user"), "user", users)


def reviews_of(path: Path) -> str:
    """SQL of the reviews' file with the number of each row."""
    quoted = str(path).replace("'", "''")
    return f"SELECT file_row_number AS row, * FROM read_parquet('{quoted}', file_row_number = true)"


@contextmanager
def database(threads: int = 0) -> Generator[duckdb.DuckDBPyConnection]:
    """A database that spills to a folder of its own; `threads`: 0 for one a core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="atelier-kcore-") as spill:
        session = duckdb.connect(config={"temp_directory": spill, "memory_limit": f"{MEMORY_MB}MB"})
        try:
            session.execute(f"SET threads = {threads or min(cores, THREADS)}")
            session.execute("SET preserve_insertion_order = false")  # every order that matters is asked for
            with _room(session) as room:
                yield room
        finally:
            session.close()


@contextmanager
def _room(session: duckdb.DuckDBPyConnection) -> Generator[duckdb.DuckDBPyConnection]:
    """A connection of the same database with tables and views of its own, which end with it."""
    with session.cursor() as room:
        room.execute("SET enable_progress_bar = false")
        yield room


def find_users(session: duckdb.DuckDBPyConnection, k: int) -> Found:
    """The users with `k` distinct items or more in `reviews` (row, reviewer_id, asin, time), by their first row.

    Leaves `kept_pairs` (user, asin, first, time) of them: a pair stands once, `first` is its first row, its time the
    earliest known (null: none is). And `near` (asin): what users with k reviews of fewer items reviewed.
    """
    # Counted by hashes, which sort much faster than names. A hash of one review is a user of one review, and so a pair
    # already (most users are such); the others are told apart by their names.
    hashes = to_numpy(session.sql("SELECT hash(reviewer_id) AS hashed FROM reviews").to_arrow_table()["hashed"])
    reviews = len(hashes)
    hashes, times = np.unique(hashes, return_counts=True)
    active = times >= min(k, 2)
    of_active = int(times[active].sum())
    session.register("active", pa.table([to_arrow(hashes[active])], names=["hashed"]))
    del hashes, times
    session.execute(f"""
        CREATE TEMP TABLE pairs AS
        SELECT reviewer_id, asin, min(row) AS first, min(time) AS time, count(*) AS reviews
        FROM reviews JOIN active ON hash(reviewer_id) = hashed GROUP BY reviewer_id, asin;
        CREATE TEMP TABLE users AS
        SELECT reviewer_id, min(first) AS first, count(*) AS items, sum(reviews) AS reviews
        FROM pairs GROUP BY reviewer_id;
        CREATE TEMP TABLE kept_users AS
        SELECT reviewer_id, (row_number() OVER (ORDER BY first) - 1)::INTEGER AS user FROM users WHERE items >= {k};
        CREATE TEMP TABLE kept_pairs AS
        SELECT user, asin, pairs.first, time FROM pairs JOIN kept_users USING (reviewer_id);
        CREATE TEMP VIEW near AS
        SELECT asin FROM pairs SEMI JOIN (FROM users WHERE reviews >= {k} AND items < {k}) USING (reviewer_id)""")
    users, pairs, often, of_often = _numbers(
        session,
        f"SELECT count(*), coalesce(sum(items), 0), count(*) FILTER (reviews >= {k}),"
        f" coalesce(sum(reviews) FILTER (reviews >= {k}), 0) FROM users",
    )
    alone = reviews - of_active
    counts = {"reviews": reviews, "users": users + alone, "users_with_k_reviews": often}
    counts |= {"reviews_of_users_with_k_reviews": of_often}
    counts |= {"distinct_pairs": pairs + alone, "duplicate_reviews": of_active - pairs}
    return Found(counts, _names(session, "SELECT reviewer_id AS name FROM kept_users ORDER BY user"))


def find_items(session: duckdb.DuckDBPyConnection) -> Found:
    """The items of `kept_pairs`, in order of their first pair, and the counts of `asins` and `near` with them.

    Leaves what NUMBERED wants.
    """
    session.execute("""
        CREATE TEMP TABLE kept_items AS
        SELECT asin, (row_number() OVER (ORDER BY min(first)) - 1)::INTEGER AS item FROM kept_pairs GROUP BY asin""")
    (items,) = _numbers(session, "SELECT count(DISTINCT asin) FROM asins")
    (near,) = _numbers(session, "SELECT count(DISTINCT asin) FROM near ANTI JOIN kept_items USING (asin)")
    (pairs,) = _numbers(session, "SELECT count(*) FROM kept_pairs")
    found = Found({}, _names(session, "SELECT asin AS name FROM kept_items ORDER BY item"))
    found.counts.update(items=items, items_of_users_with_k_reviews=len(found.names) + near, kept_pairs=pairs)
    return found


# The pairs: user and item int32, first int64, time int64 where `known`.
NUMBERED = """
    SELECT user, item, first, coalesce(time, 0) AS time, time IS NOT NULL AS known
    FROM kept_pairs JOIN kept_items USING (asin)"""


def _numbers(session: duckdb.DuckDBPyConnection, sql: str) -> list[int]:
    return [int(value) for value in session.execute(sql).fetchall()[0]]


def _names(session: duckdb.DuckDBPyConnection, sql: str) -> pa.Array:
    return session.sql(sql).to_arrow_table()["name"].combine_chunks()
