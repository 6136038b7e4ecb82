"""Reviews to the k-core: which users and items stay, their dense ids, and the count after every step.

The definition and its order are NAF's (DESIGN section 4). What working pictures change afterwards belongs to
`survivors.py`.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.sources import BadInput


@dataclass(frozen=True)
class FiveCore:
    """interactions (INTERACTIONS), users (USERS), items (ITEMS), and the counts in the order of the steps."""

    interactions: pa.Table
    users: pa.Table
    items: pa.Table
    counts: dict[str, int] = field(default_factory=dict)


def five_core(
    reviews: pa.Table,
    k: int = 5,
    previous_users: pa.Table | None = None,
    previous_items: pa.Table | None = None,
    *,
    iterative: bool = False,
) -> FiveCore:
    """Distinct (user, item) pairs of the users with at least `k` distinct items, and the items they reviewed.

    Steps: users with k reviews and what they reviewed (NAF's Table 1); pairs made distinct; users with k distinct items
    and what they reviewed. `iterative` instead repeats "k items a user, k users an item" on the distinct pairs until
    nothing leaves. An interaction's time is that of the user's first review of the item.

    Ids are dense int32 in the order of first appearance in `reviews`. With previous tables the ids there never change
    and stay in the tables even where their user or item has left; new ones are appended.

    Raises BadInput when nobody is left, ValueError for k < 1.
    """
    if k < 1:
        raise ValueError(f"k: {k} is not at least 1")
    user_codes, reviewers = _codes(reviews["reviewer_id"])  # [reviews], codes in the order of first appearance
    item_codes, asins = _codes(reviews["asin"])
    counts = {"reviews": reviews.num_rows, "users": len(reviewers), "items": len(asins)}

    often = np.bincount(user_codes, minlength=len(reviewers)) >= k
    of_often = often[user_codes]
    counts["users_with_k_reviews"] = int(often.sum())
    counts["items_of_users_with_k_reviews"] = len(np.unique(item_codes[of_often]))
    counts["reviews_of_users_with_k_reviews"] = int(of_often.sum())

    first, times = _distinct(user_codes, item_codes, len(asins), reviews["time"])
    users, items = user_codes[first], item_codes[first]  # [pairs], by first appearance
    counts["distinct_pairs"] = len(first)
    counts["duplicate_reviews"] = reviews.num_rows - len(first)

    kept = _enough(users, len(reviewers), k)
    while iterative:
        fewer = kept.copy()
        fewer[kept] = _enough(items[kept], len(asins), k)
        fewer[fewer] = _enough(users[fewer], len(reviewers), k)
        if fewer.sum() == kept.sum():
            break
        kept = fewer
    users, items, times = users[kept], items[kept], times.filter(pa.array(kept))
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
    interactions = pa.table([pa.array(user_ids), pa.array(item_ids), times], schema=schemas.INTERACTIONS)
    return FiveCore(interactions, user_table, item_table, counts)


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary


def _distinct(users: np.ndarray, items: np.ndarray, n_items: int, time: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Rows where a pair appears first, in order, and the earliest known time of each such pair (null: none known)."""
    keys = users.astype(np.int64) * n_items + items
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    never = np.iinfo(np.int64).max
    earliest = np.full(len(first), never, np.int64)
    np.minimum.at(earliest, inverse, time.fill_null(never).to_numpy())
    order = np.argsort(first)
    earliest = earliest[order]
    return first[order], pa.array(earliest, mask=earliest == never)


def _enough(codes: np.ndarray, n: int, k: int) -> np.ndarray:
    return (np.bincount(codes, minlength=n) >= k)[codes]


def _dense(
    codes: np.ndarray, names: pa.Array, previous: pa.Table | None, schema: pa.Schema
) -> tuple[np.ndarray, pa.Table]:
    """Global ids [pairs] int32 of `codes`, and the table of ids: what was there, then what is new in order."""
    id_name, name = schema.names
    if previous is None:
        previous = schema.empty_table()
    if not np.array_equal(previous[id_name].to_numpy(), np.arange(previous.num_rows)):
        raise ValueError(f"previous_{id_name}s: ids are not 0..{previous.num_rows - 1} in order; the table was changed")
    present, first = np.unique(codes, return_index=True)
    present = present[np.argsort(first)]  # by first appearance among the kept pairs
    known = previous[name].combine_chunks()
    ids = np.asarray(pc.index_in(names.take(pa.array(present)), value_set=known).fill_null(-1)).copy()
    new = ids < 0
    ids[new] = previous.num_rows + np.arange(new.sum())
    of_code = np.full(len(names), -1, np.int32)
    of_code[present] = ids
    all_names = pa.concat_arrays([known, names.take(pa.array(present[new]))])
    table = pa.table([pa.array(np.arange(len(all_names), dtype=np.int32)), all_names], schema=schema)
    return of_code[codes], table
