"""The pictures a mode trains on, numbered: held-out photos gone, equal pictures of an item merged.

Decides which rows there are and in which order; pixels belong to `bank.py`, the split itself to `splits.py`.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.dataset.survivors import Surviving


@dataclass(frozen=True)
class Catalogue:
    """table (CATALOGUE) and counts: images_before, held_out_photos, merged, images, items."""

    table: pa.Table
    counts: dict[str, int] = field(default_factory=dict)


def build(surviving: Surviving, splits: pa.Table, bank_index: pa.Table, users: pa.Table) -> Catalogue:
    """CATALOGUE of a mode; image ids are dense in the order (item, vendor before customer, position, sha256, url).

    A customer picture of a held-out (user, item) pair leaves, and with it every picture of equal content within the
    item, unless that content is also a vendor picture. Equal content within an item is one row, its first.
    images_before counts distinct (item, url). `bank_index` is BANK_INDEX, `users` the global USERS.

    Where single pictures are held out (a held-out row with a sha256) nothing leaves, not the picture and not the
    photos of that review: a row-wise split keeps its table of pictures whole. The picture is still a positive of other
    users, a negative, a part of its item's mean; only for its own user `triplets.py` makes it no positive.

    Raises ValueError when a content has no bank row, or an item would be left without a picture.
    """
    images = surviving.images
    user = pc.index_in(images["reviewer_id"], value_set=users["reviewer_id"].combine_chunks()).cast(pa.int32())
    images = images.append_column("user", users["user"].combine_chunks().take(user.combine_chunks()))
    images = images.append_column("customer", pc.equal(images["source"], "customer"))
    order = [(name, "ascending") for name in ("item", "customer", "position", "sha256", "url", "reviewer_id")]
    images = images.sort_by(order)

    item = images["item"].to_numpy()
    sha = images["sha256"].combine_chunks().dictionary_encode()
    content = _codes(item, sha.indices.to_numpy())  # [images], equal within an item where the bytes are
    customer = np.asarray(images["customer"])
    held = splits.filter(pc.and_(pc.not_equal(splits["split"], "train"), pc.is_null(splits["sha256"])))
    held_pairs = _codes(held["user"].to_numpy(), held["item"].to_numpy())
    by_held = customer & np.isin(_codes(images["user"].fill_null(-1).to_numpy(), item), held_pairs)
    leaves = np.isin(content, content[by_held]) & ~np.isin(content, content[~customer])
    first = np.zeros(len(content), bool)
    first[np.unique(content, return_index=True)[1]] = True
    kept = images.filter(pa.array(first & ~leaves))

    bare = np.setdiff1d(surviving.pairs["item"].to_numpy(), kept["item"].to_numpy())
    if len(bare):
        raise ValueError(
            f"{surviving.mode}: {len(bare)} items are left without a picture (first: item {bare[0]});"
            " splits and surviving pictures are not of one run: materialise splits again"
        )
    at = pc.index_in(kept["sha256"], value_set=bank_index["sha256"].combine_chunks())
    if at.null_count:
        unknown = kept["sha256"].filter(pc.is_null(at))[0].as_py()
        raise ValueError(
            f"{surviving.mode}: {at.null_count} pictures are not in the image bank (first: {unknown});"
            " materialise image_bank again after image_ledger"
        )
    urls = images["url"].combine_chunks().dictionary_encode().indices.to_numpy()
    before = len(np.unique(_codes(item, urls)))
    gone = len(np.unique(_codes(item, urls)[leaves]))
    counts = {"images_before": before, "held_out_photos": gone, "merged": before - gone - kept.num_rows}
    counts |= {"images": kept.num_rows, "items": len(pc.unique(kept["item"]))}
    columns = {
        "image": pa.array(np.arange(kept.num_rows, dtype=np.int32)),
        "bank_row": bank_index["bank_row"].combine_chunks().take(at.combine_chunks()),
        **{name: kept[name] for name in ("item", "source", "position", "sha256", "review_id", "user")},
    }
    return Catalogue(pa.table([columns[name] for name in schemas.CATALOGUE.names], schema=schemas.CATALOGUE), counts)


def _codes(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.astype(np.int64) << 32 | right
