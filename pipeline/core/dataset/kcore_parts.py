"""The 5-core by part of the key space: what can be said of some reviewers with all their reviews, and of some items.

First all reviews of a reviewer are brought into one part: there the users with k items are known, and their pairs. Then
what is known of an item is brought into one part: there items are counted, and numbered. Between the two lie files
(`dealt.py`) where there are several parts, and nothing where there is one. The order of everything, and the ids, are
`kcore.py`'s.
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
from pipeline.core.dealt import PART, deal, dealt

MEMORY_MB = 128  # of DuckDB, beyond which it spills to disk
THREADS = 4  # at most: each wants some of that memory for itself
BATCH = 1 << 17  # rows on their way to the files


@dataclass(frozen=True)
class Work:
    """Where the files lie that are dealt between parts, and how many there are of each; all workers see the folder."""

    folder: Path
    stretches: int
    parts: int
    k: int
    threads: int = 1

    def file(self, what: str, of: int, by: int) -> Path:
        """The file of what part `of` gets from stretch or part `by`."""
        return self.folder / f"{what}-{of}-{by}.arrow"

    def to_all(self, what: str, by: int) -> list[Path]:
        """The files that `by` deals to all parts."""
        return [self.file(what, of, by) for of in range(self.parts)]


@dataclass(frozen=True)
class Stretch:
    """Rows `start` to `stop` of the reviews' file."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Found:
    """Counts that add up over parts, and the names of what stays: the row is the number in the part."""

    counts: dict[str, int]
    names: pa.Array


def deal_reviews(stretch: Stretch, reviews: Path, work: Work) -> None:
    """Deal a stretch of the reviews to the parts of their reviewers."""
    with database(work.threads) as session:
        rows = session.sql(
            f"SELECT row, reviewer_id, asin, time, {_part('reviewer_id', work)} FROM ({reviews_of(reviews)})"
            f" WHERE row >= {stretch.start} AND row < {stretch.stop}"  # DuckDB reads these rows' row groups alone
        )
        deal(rows.to_arrow_reader(BATCH), work.to_all("reviews", stretch.number))


def users_of_part(part: int, work: Work) -> Found:
    """The users of a part who have k items; deals their pairs, and the asins of all its reviews, by asin."""
    with database(work.threads) as session:
        session.register("reviews", dealt([work.file("reviews", part, by) for by in range(work.stretches)]))
        found = find_users(session, work.k)
        pairs = session.sql(f"SELECT user, asin, first, time, {_part('asin', work)} FROM kept_pairs")
        deal(pairs.to_arrow_reader(BATCH), work.to_all("pairs", part))
        asins = session.sql(f"SELECT DISTINCT asin, often, {_part('asin', work)} FROM asins")
        deal(asins.to_arrow_reader(BATCH), work.to_all("asins", part))
    return found


def items_of_part(part: int, work: Work, users_before: Sequence[int]) -> Found:
    """The items of a part; writes its pairs by number, to be read by `numbered_pairs`.

    `users_before`: of each part of users, how many there are in the parts before it.
    """
    by = range(work.parts)
    with database(work.threads) as session:
        pairs = [
            _shifted(dealt([work.file("pairs", part, of)]), before) for of, before in zip(by, users_before, strict=True)
        ]
        session.register("kept_pairs", pa.concat_tables(pairs))
        session.register("asins", dealt([work.file("asins", part, of) for of in by]))
        found = find_items(session)
        pairs = session.sql(NUMBERED).to_arrow_reader(BATCH)
        with pa.ipc.new_stream(str(work.file("numbered", part, 0)), pairs.schema) as file:
            for batch in pairs:
                file.write_batch(batch)
    return found


def numbered_pairs(part: int, work: Work) -> pa.Table:
    """NUMBERED of a part, mapped from its file."""
    return dealt([work.file("numbered", part, 0)])


def _part(name: str, work: Work) -> str:
    return f"(hash({name}) % {work.parts})::USMALLINT AS {PART}"


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
        config = {"temp_directory": spill, "memory_limit": f"{MEMORY_MB}MB", "threads": threads or min(cores, THREADS)}
        session = duckdb.connect(config=config)
        try:
            session.execute("SET enable_progress_bar = false")
            session.execute("SET preserve_insertion_order = false")  # every order that matters is asked for
            yield session
        finally:
            session.close()


def find_users(session: duckdb.DuckDBPyConnection, k: int) -> Found:
    """The users with at least `k` distinct items among `reviews` (row, reviewer_id, asin, time), in order of their first.

    Leaves `kept_pairs` (user, asin, first, time) of them: a pair stands once, `first` is its first row, its time the
    earliest known (null: none is). And `asins` (asin, often) of all reviews; `often`: of the users with k reviews.
    """
    # Grouped by a hash, which costs half of the names. A hash of one review is a user of one review, and so a pair
    # already (most users are such); the others are told apart by their names.
    least = min(k, 2)
    session.execute(f"""
        CREATE TEMP TABLE activity AS SELECT hash(reviewer_id) AS hashed, count(*) AS n FROM reviews GROUP BY hashed;
        CREATE TEMP TABLE pairs AS
        SELECT reviewer_id, asin, min(row) AS first, min(time) AS time, count(*) AS reviews
        FROM reviews JOIN (FROM activity WHERE n >= {least}) ON hash(reviewer_id) = hashed GROUP BY reviewer_id, asin;
        CREATE TEMP TABLE users AS
        SELECT reviewer_id, min(first) AS first, count(*) AS items, sum(reviews) AS reviews
        FROM pairs GROUP BY reviewer_id;
        CREATE TEMP TABLE kept_users AS
        SELECT reviewer_id, (row_number() OVER (ORDER BY first) - 1)::INTEGER AS user FROM users WHERE items >= {k};
        CREATE TEMP TABLE kept_pairs AS
        SELECT user, asin, pairs.first, time FROM pairs JOIN kept_users USING (reviewer_id);
        CREATE TEMP VIEW asins AS
        SELECT asin, false AS often FROM reviews UNION ALL
        SELECT asin, true FROM pairs SEMI JOIN (FROM users WHERE reviews >= {k}) USING (reviewer_id)""")
    reviews, alone = _numbers(session, f"SELECT coalesce(sum(n), 0), count(*) FILTER (n < {least}) FROM activity")
    users, often, of_often = _numbers(
        session,
        f"SELECT count(*), count(*) FILTER (reviews >= {k}), coalesce(sum(reviews) FILTER (reviews >= {k}), 0)"
        " FROM users",
    )
    (grouped,) = _numbers(session, "SELECT count(*) FROM pairs")
    counts = {"reviews": reviews, "users": users + alone, "users_with_k_reviews": often}
    counts |= {"reviews_of_users_with_k_reviews": of_often}
    counts |= {"distinct_pairs": grouped + alone, "duplicate_reviews": reviews - grouped - alone}
    return Found(counts, _names(session, "SELECT reviewer_id AS name FROM kept_users ORDER BY user"))


def find_items(session: duckdb.DuckDBPyConnection) -> Found:
    """The items of `kept_pairs`, in order of their first pair; leaves what NUMBERED wants."""
    session.execute("""
        CREATE TEMP TABLE kept_items AS
        SELECT asin, (row_number() OVER (ORDER BY min(first)) - 1)::INTEGER AS item FROM kept_pairs GROUP BY asin""")
    (items,) = _numbers(session, "SELECT count(DISTINCT asin) FROM asins WHERE NOT often")
    (of_often,) = _numbers(session, "SELECT count(DISTINCT asin) FROM asins WHERE often")
    (pairs,) = _numbers(session, "SELECT count(*) FROM kept_pairs")
    counts = {"items": items, "items_of_users_with_k_reviews": of_often, "kept_pairs": pairs}
    return Found(counts, _names(session, "SELECT asin AS name FROM kept_items ORDER BY item"))


# Pairs in order of `first`: user and item int32, first int64, time int64 where `known`.
NUMBERED = """
    SELECT user, item, first, coalesce(time, 0) AS time, time IS NOT NULL AS known
    FROM kept_pairs JOIN kept_items USING (asin) ORDER BY first"""


def _numbers(session: duckdb.DuckDBPyConnection, sql: str) -> list[int]:
    return [int(value) for value in session.execute(sql).fetchall()[0]]


def _names(session: duckdb.DuckDBPyConnection, sql: str) -> pa.Array:
    return session.sql(sql).to_arrow_table()["name"].combine_chunks()
