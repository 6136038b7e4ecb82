"""Rank the best items for every user with the champion, among the shop's present users and items.

Users and items that only the champion's older data has, or only the present data, are left out.
"""

import numpy as np
import pyarrow as pa
import torch

from models.data.factors import Factors
from models.metrics.evaluate import top_k
from pipeline.core import schemas
from pipeline.core.arrays import ModeArrays


def picks(factors: Factors, data: ModeArrays, top: int, device: torch.device) -> pa.Table:
    """Return RECOMMENDATIONS: the `top` best items that each user does not have.

    Args:
        factors: of the model, which may have been trained on other data than `data`.
        data: the mode's present users, items and pairs.
        top: items per user; a user with fewer candidates gets fewer.
        device: to score on.
    """
    known = factors.narrowed(np.isin(factors.users, data.users), np.isin(factors.items, data.items))
    pairs = np.concatenate(list(data.pairs.values()))
    user, item = data.users[pairs[:, 0]], data.items[pairs[:, 1]]
    scorable = np.isin(user, known.users) & np.isin(item, known.items)
    owned = np.stack([_rows(known.users, user[scorable]), _rows(known.items, item[scorable])], axis=1)
    rows, scores = top_k(known, owned, top, device)
    filled = rows >= 0
    return pa.table(
        {
            "user": np.repeat(known.users, filled.sum(1)),
            "rank": (np.arange(rows.shape[1])[None] + 1).repeat(len(rows), 0)[filled].astype(np.int16),
            "item": known.items[rows[filled]],
            "score": scores[filled],
        },
        schema=schemas.RECOMMENDATIONS,
    )


def _rows(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Find the position in `known` of each of `wanted`; `known` must contain all of them."""
    order = np.argsort(known)
    return order[np.searchsorted(known, wanted, sorter=order)].astype(np.int64)
