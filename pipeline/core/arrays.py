"""Convert tables into the arrays that models take: global ids become dense rows, splits become pairs.

It keeps `models/` free of tables. Nothing here may sample, train or score.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.data.dataset import UNKNOWN_TIME, Dataset
from models.data.factors import Factors
from pipeline.core.errors import InputError
from pipeline.core.images.bank import Bank
from pipeline.core.item_facts import NO_TYPE
from pipeline.core.schemas import SPLIT_NAMES


@dataclass(frozen=True)
class ModeArrays:
    """One image mode as arrays; user and item rows index `users` and `items`."""

    users: np.ndarray  # [U] int32, global ids, ascending
    items: np.ndarray  # [I] int32, global ids, ascending
    pairs: dict[str, np.ndarray]  # split -> [n, 2] int32 of (user row, item row)
    paired: np.ndarray  # [U] bool: whether the user's hold-outs are the same in every mode
    bank_row: np.ndarray  # [images] int32
    image_item: np.ndarray  # [images] int32, row in `items`
    train_time: np.ndarray  # [train pairs] int64, unix seconds; UNKNOWN_TIME where the data gives none

    def without(self, split: str, pairs: pa.Table) -> np.ndarray:
        """Return the pairs of a split [n, 2] without those of `pairs`, a table of global ids that the mode has."""
        user, item = (pairs[name].to_numpy() for name in ("user", "item"))
        excluded = np.stack([np.searchsorted(self.users, user), np.searchsorted(self.items, item)], 1)
        codes = [rows[:, 0].astype(np.int64) << 32 | rows[:, 1] for rows in (self.pairs[split], excluded)]
        return self.pairs[split][~np.isin(*codes)]


def mode_arrays(catalogue: pa.Table, splits: pa.Table) -> ModeArrays:
    """Convert the catalogue and the splits of a mode into arrays."""
    users = np.unique(splits["user"].to_numpy())
    items = np.unique(catalogue["item"].to_numpy())
    split_of = splits["split"].to_numpy(zero_copy_only=False)
    rows = np.stack(
        [np.searchsorted(users, splits["user"].to_numpy()), np.searchsorted(items, splits["item"].to_numpy())], axis=1
    ).astype(np.int32)
    unpaired = splits.filter(pc.invert(splits["paired"]))["user"].to_numpy()
    return ModeArrays(
        users=users,
        items=items,
        pairs={name: rows[split_of == name] for name in SPLIT_NAMES},
        paired=~np.isin(users, unpaired),
        bank_row=catalogue["bank_row"].to_numpy(),
        image_item=np.searchsorted(items, catalogue["item"].to_numpy()).astype(np.int32),
        train_time=splits["time"].fill_null(UNKNOWN_TIME).to_numpy()[split_of == "train"],
    )


def item_categories(item_ids: np.ndarray, items: pa.Table, products: pa.Table) -> np.ndarray:
    """Number the category of each item, to rank it within its category: int32 [I], -1 if it has none.

    An item's category is its product type, the last element of its path. Items have none if they are missing in the
    metadata, have no path there (AMAZON_FASHION of 2018: all of them), or are called "Unknown".

    Args:
        item_ids: global ids [I].
        items: the table of item numbers.
        products: `asin` and `categories`.
    """
    asins = items["asin"].to_numpy(zero_copy_only=False)[_rows_of(items["item"].to_numpy(), item_ids)]
    known = products.filter(pc.is_in(products["asin"], value_set=pa.array(asins, pa.string())))
    paths = dict(zip(known["asin"].to_pylist(), known["categories"].to_pylist(), strict=True))
    types = [paths[asin][-1] if paths.get(asin) else None for asin in asins]
    codes: dict[str, int] = {}
    return np.array(
        [
            -1 if kind is None or kind.strip().lower() in NO_TYPE else codes.setdefault(kind, len(codes))
            for kind in types
        ],
        np.int32,
    )


def check_bank(catalogue: pa.Table, digest: str, bank: Bank) -> None:
    """Check that the bank has the catalogue's pictures in the rows that the catalogue names.

    Raises:
        InputError: it does not; the message names the digests of both and the remedy.
    """
    expected = catalogue["sha256"].to_pylist()
    held = bank.index["sha256"].to_pylist()
    rows = catalogue["bank_row"].to_pylist()
    wrong = sum(not 0 <= row < len(held) or held[row] != sha for row, sha in zip(rows, expected, strict=True))
    if wrong:
        raise InputError(
            f"catalogue {digest} and image bank {bank.digest} do not belong together: {wrong} of {len(rows)} pictures "
            "are not in the rows that the catalogue names. Materialise image_bank, then catalogue again."
        )


def dataset(mode: ModeArrays, triplets: pa.Table | None, bank: Bank) -> Dataset:
    """Assemble the training data of the recommenders.

    Args:
        mode: the mode's arrays.
        triplets: the mode's table, epochs of equal length; None if only baselines are trained.
        bank: the decoded pictures.
    """
    common: dict[str, Any] = {
        "bank": bank.pixels,
        "bank_digest": bank.digest_of(mode.bank_row),
        "bank_row": mode.bank_row,
        "image_item": mode.image_item,
        "users": mode.users,
        "items": mode.items,
        "train_time": mode.train_time,
        **mode.pairs,
    }
    if triplets is None:
        none = np.empty((0, 0), np.int32)
        return Dataset(**common, triplets_user=none, triplets_positive=none, triplets_negative=none[:, :, None])
    epochs = int(pc.max(triplets["epoch"]).as_py()) + 1
    negatives = triplets["negative"].combine_chunks().flatten().to_numpy()
    per_epoch = triplets.num_rows // epochs
    user = np.searchsorted(mode.users, triplets["user"].to_numpy()).astype(np.int32)
    return Dataset(
        **common,
        triplets_user=user.reshape(epochs, per_epoch),
        triplets_positive=triplets["positive"].to_numpy().reshape(epochs, per_epoch),
        triplets_negative=negatives.reshape(epochs, per_epoch, -1),
    )


def planted(truth: dict[str, np.ndarray], mode: ModeArrays, users: pa.Table, items: pa.Table) -> Factors:
    """Turn the planted tastes of the embedded catalogue into a model, whose AUC is the best reachable one.

    Args:
        truth: `reviewer_id` [U], `theta` [U, D], `asin` [I], `item` [I, D], `item_bias` [I].
        mode: the mode whose users and items the model gets.
        users: the table of user numbers.
        items: the table of item numbers.
    """
    reviewers = np.asarray(users["reviewer_id"].to_pylist())[_rows_of(users["user"].to_numpy(), mode.users)]
    asins = np.asarray(items["asin"].to_pylist())[_rows_of(items["item"].to_numpy(), mode.items)]
    user_rows = _rows_of(np.asarray(truth["reviewer_id"]), reviewers)
    item_rows = _rows_of(np.asarray(truth["asin"]), asins)
    theta = np.asarray(truth["theta"], np.float32)[user_rows]
    return Factors(
        users=mode.users,
        items=mode.items,
        theta=theta,
        item=np.asarray(truth["item"], np.float32)[item_rows],
        item_bias=np.asarray(truth["item_bias"], np.float32)[item_rows],
        phi=np.empty((0, theta.shape[1]), np.float32),
        image_item=mode.image_item,
    )


def _rows_of(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Find the row of each wanted value among the known ones.

    Raises:
        ValueError: a wanted value is unknown.
    """
    order = np.argsort(known)
    places = np.searchsorted(known, wanted, sorter=order)
    rows = order[np.minimum(places, len(known) - 1)]
    if not np.array_equal(known[rows], wanted):
        unknown = wanted[known[rows] != wanted]
        raise ValueError(f"{len(unknown)} ids are unknown, the first {unknown[0]!r}")
    return rows
