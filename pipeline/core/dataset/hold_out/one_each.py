"""Leave one out: a validation and a test item for each user, drawn at random or the user's two latest."""

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np

from pipeline.core.dataset.hold_out.pairs import LEFT_OUT, ModePairs, in_all_modes

PLACES = {"random": ("validation", "test"), "latest": ("test", "validation")}  # of the first and the second in order


def one_each(
    by_mode: Mapping[str, ModePairs], mode: str, hold_out: str, seed: int, reviewers: list[str], asins: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the split of each pair of `mode`, str [pairs], and whether the user's hold-outs are shared, bool [pairs].

    A user's items are put in an order. "random" orders by hash(seed, reviewer_id, asin), so the order is the same in
    all modes and does not depend on ids; the first item is validation, the second test. "latest" orders by time, newest
    first (unknown times last, ties by the same hash); the first item is test, the second validation.

    The first two of the items that survive and may be held out in all modes are held out. A user with fewer than two of
    those gets the first two of this mode. Users with fewer than two in this mode are in train only.

    With "latest", pairs that are later than a held-out item of the same user, and are not held out because their item
    may not be or another mode lacks them, are in no split: nobody trains on what is later than an own held-out item.
    """
    pairs = by_mode[mode]
    user, shared = pairs.user, in_all_modes(pairs, by_mode, lasting=True)
    keys = [_draws(seed, reviewers, asins, pairs)]
    if hold_out == "latest":
        keys.append(-np.maximum(pairs.time, np.iinfo(np.int64).min + 1))
    split = np.full(len(user), "train", dtype="U10")
    has_two = np.bincount(user[shared], minlength=user.max(initial=0) + 1) >= 2
    candidate = np.where(has_two[user], shared, pairs.lasting)
    order = np.lexsort((*keys, ~candidate, user))  # by user, candidates first, then by the keys
    rank = _rank_in_group(user[order])
    candidates = np.bincount(user[candidate], minlength=user.max(initial=0) + 1)
    for place, name in enumerate(PLACES[hold_out]):
        split[order[(rank == place) & (candidates[user[order]] >= 2)]] = name
    if hold_out == "latest":
        begin = np.full(len(candidates), np.iinfo(np.int64).max)  # of the earliest hold-out whose time is known
        for name in ("test", "validation"):
            held = (split == name) & pairs.known
            begin[user[held]] = pairs.time[held]
        split[(split == "train") & pairs.known & (pairs.time > begin[user])] = LEFT_OUT
    return split, has_two[user]


def _draws(seed: int, reviewers: list[str], asins: list[str], pairs: ModePairs) -> np.ndarray:
    """Compute hash(seed, reviewer_id, asin) of each pair: uint64 [pairs]."""
    of_user = [f"{seed}\0{reviewer}\0".encode() for reviewer in reviewers]
    of_item = [asin.encode() for asin in asins]
    hashes = (
        blake2b(of_user[u] + of_item[i], digest_size=8).digest()
        for u, i in zip(pairs.user.tolist(), pairs.item.tolist(), strict=True)
    )
    return np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64)


def _rank_in_group(sorted_groups: np.ndarray) -> np.ndarray:
    """Number the values 0, 1, 2, ... within each run of equal ones."""
    new = np.ones(len(sorted_groups), bool)
    new[1:] = sorted_groups[1:] != sorted_groups[:-1]
    starts = np.flatnonzero(new)
    return np.arange(len(sorted_groups)) - starts[np.cumsum(new) - 1]
