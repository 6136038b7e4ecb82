"""Split by leave-one-out: hold out one validation and one test item per user, the same in every mode if possible.

This module only assigns (user, item) pairs, or single pictures of them. `catalogue.py` removes the photos of held-out
pairs; `triplets.py` removes held-out pictures from their user's positives.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.dataset.survivors import Surviving

HOLD_OUTS = ("random", "latest")
SPLIT_UNITS = ("interaction", "image")


def leave_one_out(
    surviving_by_mode: Mapping[str, Surviving],
    mode: str,
    users: pa.Table,
    items: pa.Table,
    seed: int,
    *,
    hold_out: str = "random",
    split_unit: str = "interaction",
) -> pa.Table:
    """Build SPLITS of `mode`: all surviving pairs, with one validation and one test item per user if possible, sorted.

    A user's items are put in an order. "random" orders by hash(seed, reviewer_id, asin), so the order is the same in
    all modes and does not depend on ids; the first item is validation, the second test. "latest" orders by time, newest
    first (unknown times last, ties by the same hash); the first item is test, the second validation.

    The first two of the items that survive in all modes are held out (`paired` true). A user with fewer than two of
    those gets the first two of this mode (`paired` false). An item may be held out only if it has a picture that is not
    by a 5-core user who touched it. Photos of held-out pairs are removed, and this rule makes sure that an item never
    loses its last picture. Users with fewer than two such items are in train only.

    split_unit "interaction" holds out a pair with all its pictures (sha256 null). "image" imitates a row-wise split of
    a table with one row per (user, item, picture), which leaks: it holds out one picture of each pair chosen above (its
    sha256), and keeps the pair in train too if the item has another picture in the mode. The picture is the first by
    hash(seed, reviewer_id, asin, sha256), among those that the item has in all modes if there are any. Both units and
    all modes thus hold out the same items, and differ only in the other pictures in train. A real row-wise split would
    also draw items with many pictures more often; this is not imitated because modes could not share such a draw.

    Args:
        surviving_by_mode: the surviving pairs and pictures of every mode.
        mode: the mode to split.
        users: the global USERS.
        items: the global ITEMS.
        seed: of the hash.
        hold_out: one of HOLD_OUTS.
        split_unit: one of SPLIT_UNITS.

    Raises:
        ValueError: mode, hold_out or split_unit is unknown.
    """
    if mode not in surviving_by_mode:
        raise ValueError(f"mode: {mode!r} is not among the modes given ({', '.join(surviving_by_mode)})")
    if hold_out not in HOLD_OUTS:
        raise ValueError(f"hold_out: {hold_out!r} is not one of {', '.join(HOLD_OUTS)}")
    if split_unit not in SPLIT_UNITS:
        raise ValueError(f"split_unit: {split_unit!r} is not one of {', '.join(SPLIT_UNITS)}")
    reviewers, asins = users["reviewer_id"].to_pylist(), items["asin"].to_pylist()
    pairs = surviving_by_mode[mode].pairs.sort_by([("user", "ascending"), ("item", "ascending")])
    user, item = pairs["user"].to_numpy(), pairs["item"].to_numpy()  # [pairs]
    codes = _codes(user, item)

    safe = np.ones(len(pairs), bool)  # may be held out in this mode
    shared = np.ones(len(pairs), bool)  # survives and may be held out in all modes
    for name, surviving in surviving_by_mode.items():
        others = surviving.pairs
        present = _among(codes, _codes(others["user"].to_numpy(), others["item"].to_numpy()))
        lasting = _among(item, _lasting_items(surviving, users))
        shared &= present & lasting
        if name == mode:
            safe = lasting

    keys = [_draws(seed, reviewers, asins, user, item)]
    if hold_out == "latest":
        keys.append(-pairs["time"].fill_null(np.iinfo(np.int64).min + 1).to_numpy())
    split = np.full(len(pairs), "train", dtype="U10")
    names = ("validation", "test") if hold_out == "random" else ("test", "validation")
    has_two = np.bincount(user[shared], minlength=user.max(initial=0) + 1) >= 2
    candidate = np.where(has_two[user], shared, safe)
    order = np.lexsort((*keys, ~candidate, user))  # by user, candidates first, then by the keys
    rank = _rank_in_group(user[order])
    candidates = np.bincount(user[candidate], minlength=user.max(initial=0) + 1)
    for place, name in enumerate(names):
        split[order[(rank == place) & (candidates[user[order]] >= 2)]] = name
    columns = [pa.array(user), pa.array(item), pa.array(split.tolist(), pa.string()), pa.array(has_two[user])]
    columns += [pa.nulls(len(pairs), pa.string()), pairs["time"].cast(pa.int64())]
    table = pa.table(columns, schema=schemas.SPLITS)
    if split_unit == "image":
        return _by_picture(table, surviving_by_mode, mode, lambda u, i, sha: _draw(seed, reviewers[u], asins[i], sha))
    return table


def unit_of(splits: pa.Table) -> str:
    """Return the one of SPLIT_UNITS that a SPLITS table was made with."""
    return "image" if splits["sha256"].null_count < splits.num_rows else "interaction"


def _by_picture(
    table: pa.Table,
    surviving_by_mode: Mapping[str, Surviving],
    mode: str,
    draw: Callable[[int, int, str], bytes],
) -> pa.Table:
    """Hold out one picture of each held-out pair of SPLITS, and keep the pair in train if its item has others."""
    training = pc.equal(table["split"], "train")
    held = table.filter(pc.invert(training))
    contents = {name: s.images.group_by(["item", "sha256"]).aggregate([]) for name, s in surviving_by_mode.items()}
    own = contents[mode].filter(pc.is_in(contents[mode]["item"], value_set=pc.unique(held["item"])))
    shared = own
    for other in contents.values():
        shared = shared.join(other, ["item", "sha256"], join_type="left semi")
    of_item, in_all_modes = _lists(own), _lists(shared)
    pairs = list(zip(held["user"].to_pylist(), held["item"].to_pylist(), strict=True))
    pictures = [min(in_all_modes.get(i) or of_item[i], key=lambda sha, u=u, i=i: draw(u, i, sha)) for u, i in pairs]
    siblings = held.filter(pa.array([len(of_item[i]) > 1 for _, i in pairs], pa.bool_()))
    siblings = _with_column(siblings, "split", pa.repeat("train", siblings.num_rows))
    held = _with_column(held, "sha256", pa.array(pictures, pa.string()))
    whole = pa.concat_tables([table.filter(training), siblings, held])
    return whole.take(np.lexsort((pc.is_valid(whole["sha256"]), whole["item"], whole["user"])))


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), schemas.SPLITS.field(name), values)


def _lists(contents: pa.Table) -> dict[int, list[str]]:
    """Group contents by item: item -> its distinct contents."""
    lists: dict[int, list[str]] = {}
    for item, sha in zip(contents["item"].to_pylist(), contents["sha256"].to_pylist(), strict=True):
        lists.setdefault(item, []).append(sha)
    return lists


def _draw(*parts: object) -> bytes:
    """Hash `parts` to a sort key."""
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()


def _codes(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    return user.astype(np.int64) << 32 | item


def _among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mark which of `values` [n] are `known`. np.isin sorts, which took half the time of a split of a million pairs."""
    return pc.is_in(pa.array(values), value_set=pa.array(known)).to_numpy(zero_copy_only=False)


def _draws(seed: int, reviewers: list[str], asins: list[str], user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Compute hash(seed, reviewer_id, asin) of each pair: uint64 [pairs]."""
    of_user = [f"{seed}\0{reviewer}\0".encode() for reviewer in reviewers]
    of_item = [asin.encode() for asin in asins]
    hashes = (
        blake2b(of_user[u] + of_item[i], digest_size=8).digest()
        for u, i in zip(user.tolist(), item.tolist(), strict=True)
    )
    return np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64)


def _rank_in_group(sorted_groups: np.ndarray) -> np.ndarray:
    """Number the values 0, 1, 2, ... within each run of equal ones."""
    new = np.ones(len(sorted_groups), bool)
    new[1:] = sorted_groups[1:] != sorted_groups[:-1]
    starts = np.flatnonzero(new)
    return np.arange(len(sorted_groups)) - starts[np.cumsum(new) - 1]


def _lasting_items(surviving: Surviving, users: pa.Table) -> np.ndarray:
    """Find items with a picture that no hold-out can remove: by the vendor, or by a customer who is not a user of it.

    Pictures are compared by content, not URL, because equal pictures of an item are removed together.
    """
    images = surviving.images
    item = images["item"].to_numpy()
    by_vendor = np.asarray(pc.equal(images["source"], "vendor"))
    user = pc.index_in(images["reviewer_id"], value_set=users["reviewer_id"].combine_chunks()).fill_null(-1).to_numpy()
    pairs = surviving.pairs
    touched = _codes(pairs["user"].to_numpy(), pairs["item"].to_numpy())
    removable = ~by_vendor & (user >= 0) & _among(_codes(user, item), touched)
    sha = images["sha256"].combine_chunks().dictionary_encode().indices.to_numpy()
    content = _codes(sha, item)
    taken = content[removable & ~_among(content, content[by_vendor])]
    return item[~_among(content, taken)]
