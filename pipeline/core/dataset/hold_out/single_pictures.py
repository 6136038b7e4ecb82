"""Hold out one picture of a pair instead of the whole pair, which leaks, to imitate a split of rows of pictures."""

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.dataset.survivors import Surviving


def by_picture(
    table: pa.Table,
    surviving_by_mode: Mapping[str, Surviving],
    mode: str,
    seed: int,
    reviewers: list[str],
    asins: list[str],
) -> pa.Table:
    """Hold out one picture of each held-out pair of SPLITS, and keep the pair in train if its item has others.

    The picture is the first by hash(seed, reviewer_id, asin, sha256), among those that the item has in all modes if
    there are any. Both units and all modes thus hold out the same items, and differ only in the other pictures in
    train. A real row-wise split would also draw items with many pictures more often; this is not imitated because modes
    could not share such a draw.
    """

    def draw(user: int, item: int, sha: str) -> bytes:
        return blake2b(f"{seed}\0{reviewers[user]}\0{asins[item]}\0{sha}".encode(), digest_size=8).digest()

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
