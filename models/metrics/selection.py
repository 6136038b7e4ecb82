"""Compute the figure by which models are chosen on validation: for tuning, early stopping and the weights of parts.

`models/training/deciding.py` says which one it is.
"""

import numpy as np
import torch

from models.metrics.intervals import mean
from models.metrics.list_metrics import RankedLists, group_by_user, mean_by_user
from models.metrics.ranking import places
from models.metrics.scoring import ScoringModel
from models.training.deciding import AUC, NDCG, TITLES, name_of
from models.training.ranks import ALONE, Ranks

__all__ = ["AUC", "NDCG", "TITLES", "measure", "measures", "name_of", "row_of"]


def row_of(figures: dict[str, float]) -> dict[str, float]:
    """Name the result of `measures` as in a training's history: validation_auc and validation_ndcg_at_100."""
    return {f"validation_{name}": value for name, value in figures.items()}


def measure(
    model: ScoringModel,
    held_out: np.ndarray,
    touched: np.ndarray,
    device: torch.device | None = None,
    ranks: Ranks = ALONE,
) -> float:
    """Compute the figure that decides, `name_of(len(held_out))`. Arguments as in `measures`."""
    return measures(model, held_out, touched, device, ranks)[name_of(len(held_out))]


def measures(
    model: ScoringModel,
    held_out: np.ndarray,
    touched: np.ndarray,
    device: torch.device | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Compute the exact AUC and NDCG@100 as means over users, equal to those of `evaluate`; nan without pairs.

    Args:
        model: a model with a scorer.
        held_out: [n, 2], user row and item row: the split that is measured.
        touched: [m, 2], every pair of every split.
        device: where the scores are computed; the CPU by default.
        ranks: each rank scores its share of the pairs, and all return the same figures.
    """
    device = device or torch.device("cpu")
    held_out = np.asarray(held_out, np.int64).reshape(-1, 2)
    found = places(model, held_out[ranks.share(len(held_out))], touched, device)
    auc, above, scores = (
        ranks.gather_array(values, len(held_out), device) for values in (found.auc, found.above, found.scores)
    )
    users, group = group_by_user(held_out)
    lists = RankedLists.of(group, len(users), above, scores)
    return {AUC: mean(mean_by_user(auc, group, len(users))), NDCG: mean(lists.ndcg(100))}
