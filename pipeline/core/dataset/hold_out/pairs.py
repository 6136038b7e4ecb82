"""One mode's surviving pairs as arrays, with the ones that may be held out. Nothing here chooses among them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.dataset.survivors import Surviving

LEFT_OUT = ""  # in no split
UNKNOWN_TIME = np.iinfo(np.int64).min  # of a pair whose time the data does not give


@dataclass(frozen=True, eq=False)
class ModePairs:
    """The pairs of one mode, sorted by user and item."""

    user: np.ndarray  # [pairs] int32
    item: np.ndarray  # [pairs] int32
    time: np.ndarray  # [pairs] int64, unix seconds or UNKNOWN_TIME
    codes: np.ndarray  # [pairs] int64, a number for each pair, the same in all modes
    lasting: np.ndarray  # [pairs] bool: whether it may be held out, as its item keeps a picture

    @property
    def known(self) -> np.ndarray:
        """Mark the pairs whose time is known: bool [pairs]."""
        return self.time != UNKNOWN_TIME


def mode_pairs(surviving: Surviving, users: pa.Table) -> ModePairs:
    """Convert the pairs of a mode; `users` is the global USERS."""
    pairs = surviving.pairs.sort_by([("user", "ascending"), ("item", "ascending")])
    user, item = pairs["user"].to_numpy(), pairs["item"].to_numpy()
    time = pairs["time"].fill_null(UNKNOWN_TIME).to_numpy()
    return ModePairs(user, item, time, codes(user, item), among(item, lasting_items(surviving, users)))


def in_all_modes(pairs: ModePairs, by_mode: Mapping[str, ModePairs], *, lasting: bool) -> np.ndarray:
    """Mark the pairs that survive in all modes and, with `lasting`, may be held out in all of them: bool [pairs]."""
    found = np.ones(len(pairs.codes), bool)
    for other in by_mode.values():
        found &= among(pairs.codes, other.codes[other.lasting] if lasting else other.codes)
    return found


def lasting_items(surviving: Surviving, users: pa.Table) -> np.ndarray:
    """Find items with a picture that no hold-out can remove: by the vendor, or by a customer who is not a user of it.

    Pictures are compared by content, not URL, because equal pictures of an item are removed together.
    """
    images = surviving.images
    item = images["item"].to_numpy()
    by_vendor = np.asarray(pc.equal(images["source"], "vendor"))
    user = pc.index_in(images["reviewer_id"], value_set=users["reviewer_id"].combine_chunks()).fill_null(-1).to_numpy()
    pairs = surviving.pairs
    touched = codes(pairs["user"].to_numpy(), pairs["item"].to_numpy())
    removable = ~by_vendor & (user >= 0) & among(codes(user, item), touched)
    sha = images["sha256"].combine_chunks().dictionary_encode().indices.to_numpy()
    content = codes(sha, item)
    taken = content[removable & ~among(content, content[by_vendor])]
    return item[~among(content, taken)]


def codes(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Encode pairs of numbers as one int64 each."""
    return left.astype(np.int64) << 32 | right


def among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mark which of `values` [n] are `known`. np.isin sorts, which took half the time of a split of a million pairs."""
    return pc.is_in(pa.array(values), value_set=pa.array(known)).to_numpy(zero_copy_only=False)
