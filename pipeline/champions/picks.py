"""Rank the best items of every user with the recommender in use, for the shop as it is now.

A model of earlier data knows users and items that have left, and none that came since; neither is in the picks.
"""

import numpy as np
import pyarrow as pa
import torch

from models.data.factors import Factors
from models.metrics.evaluate import top_k
from pipeline.core import schemas
from pipeline.core.arrays import ModeArrays


def picks(factors: Factors, data: ModeArrays, top: int, device: torch.device) -> pa.Table:
    """RECOMMENDATIONS: the `top` best items that each user does not have.

    Args:
        factors: of the model, which may have been trained on other data than `data`.
        data: the mode as it is now: its users, its items, and who has what.
        top: items a user; fewer where no more are left.
        device: where to score.
    """
    # Users and items that are there now.
    known = factors.narrowed(np.isin(factors.users, data.users), np.isin(factors.items, data.items))
    pairs = np.concatenate(list(data.pairs.values()))
    user, item = data.users[pairs[:, 0]], data.items[pairs[:, 1]]
    here = np.isin(user, known.users) & np.isin(item, known.items)
    owned = np.stack([_rows(known.users, user[here]), _rows(known.items, item[here])], axis=1)
    rows, scores = top_k(known, owned, top, device)
    there = rows >= 0
    return pa.table(
        {
            "user": np.repeat(known.users, there.sum(1)),
            "rank": (np.arange(rows.shape[1])[None] + 1).repeat(len(rows), 0)[there].astype(np.int16),
            "item": known.items[rows[there]],
            "score": scores[there],
        },
        schema=schemas.RECOMMENDATIONS,
    )


def _rows(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The place of each of `wanted` in `known`, all of which are there."""
    order = np.argsort(known)
    return order[np.searchsorted(known, wanted, sorter=order)].astype(np.int64)
