"""Build a mode's catalogue: number the pictures it trains on, without held-out photos, equal pictures merged."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.dataset.hold_out.pairs import among, codes, lasting_items
from pipeline.core.dataset.survivors import Surviving


@dataclass(frozen=True)
class Catalogue:
    """The catalogue of one mode."""

    table: pa.Table  # CATALOGUE
    counts: dict[str, int] = field(default_factory=dict)  # images_before, held_out_photos, merged, images, items


def build(surviving: Surviving, splits: pa.Table, bank_index: pa.Table, users: pa.Table) -> Catalogue:
    """Build the CATALOGUE of a mode; image ids are dense in order of (item, vendor first, position, sha256, url).

    A customer picture of a held-out (user, item) pair is removed, together with every picture of the item with equal
    content, unless that content is also a vendor picture. So is one of a pair that is in no split, unless its item may
    not be held out because it has no other picture. Of pictures with equal content within an item, only the first is
    kept. images_before counts distinct (item, url).

    If single pictures are held out (a held-out row with a sha256), nothing is removed, neither the picture nor other
    photos of that review, because a row-wise split keeps its table of pictures whole. The picture remains a positive
    of other users, a possible negative, and part of its item's mean. Only its own user does not get it as a positive
    (`triplets.py`).

    Args:
        surviving: the mode's pairs and pictures.
        splits: SPLITS of the mode.
        bank_index: BANK_INDEX.
        users: the global USERS.

    Raises:
        ValueError: a content has no bank row, or an item would be left without a picture.
    """
    images = surviving.images
    user = pc.index_in(images["reviewer_id"], value_set=users["reviewer_id"].combine_chunks()).cast(pa.int32())
    images = images.append_column("user", users["user"].combine_chunks().take(user.combine_chunks()))
    images = images.append_column("customer", pc.equal(images["source"], "customer"))
    order = [(name, "ascending") for name in ("item", "customer", "position", "sha256", "url", "reviewer_id")]
    images = images.sort_by(order)

    item = images["item"].to_numpy()
    sha = images["sha256"].combine_chunks().dictionary_encode()
    content = codes(item, sha.indices.to_numpy())  # [images], equal for equal bytes within an item
    customer = np.asarray(images["customer"])
    held = _codes_of(splits.filter(pc.and_(pc.not_equal(splits["split"], "train"), pc.is_null(splits["sha256"]))))
    lasting = pc.is_in(surviving.pairs["item"], value_set=pa.array(lasting_items(surviving, users)))
    in_no_split = np.setdiff1d(_codes_of(surviving.pairs.filter(lasting)), _codes_of(splits))
    taken_by = codes(images["user"].fill_null(-1).to_numpy(), item)
    by_held = customer & among(taken_by, np.concatenate([held, in_no_split]))
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
    before = len(np.unique(codes(item, urls)))
    gone = len(np.unique(codes(item, urls)[leaves]))
    counts = {"images_before": before, "held_out_photos": gone, "merged": before - gone - kept.num_rows}
    counts |= {"images": kept.num_rows, "items": len(pc.unique(kept["item"]))}
    columns = {
        "image": pa.array(np.arange(kept.num_rows, dtype=np.int32)),
        "bank_row": bank_index["bank_row"].combine_chunks().take(at.combine_chunks()),
        **{name: kept[name] for name in ("item", "source", "position", "sha256", "review_id", "user")},
    }
    return Catalogue(pa.table([columns[name] for name in schemas.CATALOGUE.names], schema=schemas.CATALOGUE), counts)


def _codes_of(pairs: pa.Table) -> np.ndarray:
    return codes(pairs["user"].to_numpy(), pairs["item"].to_numpy())
