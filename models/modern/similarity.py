"""Learn from purchases which features make two items alike: colour matters in one shop, cut in another.

A plain product of features counts every direction alike. Here the features of two items predict how often the same
people buy both: ridge regression, in closed form.
"""

import numpy as np
import torch

from models.modern.part import Histories


def learnt_similarity(features: np.ndarray, histories: Histories, ridge: float) -> np.ndarray:
    """Regress what is bought together on the features of two items: W [D, D], symmetric, of the product f_i W f_j.

    The target t_ij of two different items is c_ij / sqrt(c_i c_j). c_ij sums 1 / sqrt(n_u) over the users u, with n_u
    items each, who have both, so that a large basket does not outweigh many small ones; c_i sums c_ij over j. An
    item's target with itself is 0: it must not be the reason why its buyers are expected to like it.

    Args:
        features: [I, D], with mean 0 over the seen items.
        histories: the purchases.
        ridge: in units of the mean square of a feature, times the seen items.
    """
    found = features[histories.seen].astype(np.float64)
    if not found.any():
        return np.zeros((features.shape[1],) * 2)
    user, item = histories.pairs.T
    by_user = np.sqrt(histories.counts[user])  # of each pair
    ties = np.bincount(item, (histories.counts[user] - 1) / by_user, minlength=histories.items)  # c_i
    own = np.bincount(item, 1 / by_user, minlength=histories.items)  # what c_ii would be
    scaled = features.astype(np.float64) / np.sqrt(np.maximum(ties, 1e-12))[:, None]
    scaled[ties <= 0] = 0  # bought by nobody, or only by people who bought nothing else
    sums = (histories.matrix(histories.counts[user] ** -0.25) @ torch.from_numpy(scaled.astype(np.float32))).double()
    target = (sums.T @ sums).numpy() - (scaled * own[:, None]).T @ scaled
    gram = found.T @ found
    inverse = np.linalg.inv(gram + ridge * np.trace(gram) / len(gram) * np.eye(len(gram)))
    return inverse @ target @ inverse
