"""Leave-one-out: which of a user's items are validation and test, the same ones in every mode where that can be.

Only (user, item) pairs, or one picture of them, are assigned here. That the photos of held-out pairs leave a mode is
done in `catalogue.py`; that a held-out picture is no positive of its user, in `triplets.py`.
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
    """SPLITS of `mode`: every surviving pair, one validation and one test item a user where possible, sorted.

    A user's items are put in an order: "random" by hash(seed, reviewer_id, asin), so that it is the same in all modes
    and does not depend on ids; "latest" by time, newest first (unknown times last, ties by the same hash). Of the items
    that survive in all modes the first two are held out (`paired` true). A user without two such takes the first two
    of the mode (`paired` false). An item can be held out only while it keeps a picture that is not by a 5-core user who
    touched it: photos of held-out pairs leave the mode, and this way never the item's last picture. A user with fewer
    than two such items trains only. Random: first validation, second test; latest: newest test, the one before it
    validation.

    split_unit "interaction" holds out the pair with all its pictures (sha256 null). "image" is what a row-wise split of
    a table of one row a (user, item, picture) does, and leaks: of each pair held out above one picture is held out
    (its sha256), and where the item keeps another one in the mode the pair also stands in train. The picture is the
    first by hash(seed, reviewer_id, asin, sha256), of those that the item shows in all modes where there is one. So
    both units and all modes hold out the same items, and differ by nothing but the siblings in train; that a draw of
    rows would also take an item with many pictures more often is left out, as no two modes could share it.

    users, items: the global tables (USERS, ITEMS). Raises ValueError for an unknown mode, hold_out or split_unit.
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

    safe = np.ones(len(pairs), bool)  # in this mode
    shared = np.ones(len(pairs), bool)  # survives, and is safe to hold out, in all modes
    for name, surviving in surviving_by_mode.items():
        there = surviving.pairs
        present = _among(codes, _codes(there["user"].to_numpy(), there["item"].to_numpy()))
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
    table = pa.table([*columns, pa.nulls(len(pairs), pa.string())], schema=schemas.SPLITS)
    if split_unit == "image":
        return _by_picture(table, surviving_by_mode, mode, lambda u, i, sha: _draw(seed, reviewers[u], asins[i], sha))
    return table


def unit_of(splits: pa.Table) -> str:
    """Which of SPLIT_UNITS a SPLITS table was made with."""
    return "image" if splits["sha256"].null_count < splits.num_rows else "interaction"


def _by_picture(
    table: pa.Table,
    surviving_by_mode: Mapping[str, Surviving],
    mode: str,
    draw: Callable[[int, int, str], bytes],
) -> pa.Table:
    """SPLITS in which each held-out pair holds out one of its pictures, and trains on the others if there are any."""
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
    siblings = _with(siblings, "split", pa.repeat("train", siblings.num_rows))
    held = _with(held, "sha256", pa.array(pictures, pa.string()))
    whole = pa.concat_tables([table.filter(training), siblings, held])
    return whole.take(np.lexsort((pc.is_valid(whole["sha256"]), whole["item"], whole["user"])))


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), schemas.SPLITS.field(name), values)


def _lists(contents: pa.Table) -> dict[int, list[str]]:
    """item -> its distinct contents."""
    lists: dict[int, list[str]] = {}
    for item, sha in zip(contents["item"].to_pylist(), contents["sha256"].to_pylist(), strict=True):
        lists.setdefault(item, []).append(sha)
    return lists


def _draw(*parts: object) -> bytes:
    """hash(parts), to order by."""
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()


def _codes(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    return user.astype(np.int64) << 32 | item


def _among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of `values` [n] are `known`: np.isin, which sorts, took half the time of a split of a million pairs."""
    return pc.is_in(pa.array(values), value_set=pa.array(known)).to_numpy(zero_copy_only=False)


def _draws(seed: int, reviewers: list[str], asins: list[str], user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """[pairs] uint64: hash(seed, reviewer_id, asin) of each pair."""
    of_user = [f"{seed}\0{reviewer}\0".encode() for reviewer in reviewers]
    of_item = [asin.encode() for asin in asins]
    hashes = (
        blake2b(of_user[u] + of_item[i], digest_size=8).digest()
        for u, i in zip(user.tolist(), item.tolist(), strict=True)
    )
    return np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64)


def _rank_in_group(sorted_groups: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of equal values."""
    new = np.ones(len(sorted_groups), bool)
    new[1:] = sorted_groups[1:] != sorted_groups[:-1]
    starts = np.flatnonzero(new)
    return np.arange(len(sorted_groups)) - starts[np.cumsum(new) - 1]


def _lasting_items(surviving: Surviving, users: pa.Table) -> np.ndarray:
    """Items with a content that no hold-out can take: a vendor's, or a customer's who is none of the item's users.

    By content, not by URL: equal pictures within an item leave together.
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
