"""The AUC as the original code estimates it (K17): from 100 items drawn for each user instead of all of them."""

import numpy as np
import torch
from torch import Tensor

from models.metrics.scoring import ScoringModel

DRAWN = 100


class Draw:
    """The items drawn for each user. They depend on the seed and the user's global id, not on model or other users."""

    def __init__(self, model: ScoringModel, users: np.ndarray, known: np.ndarray, seed: int) -> None:
        """Draw for user rows `users`; `known` holds the distinct train pairs, as sorted user row * items + item row."""
        self.items, self.known = len(model.items), known
        self.drawn = np.zeros((len(model.users), min(DRAWN, self.items)), np.int32)
        for row in users:
            rng = np.random.default_rng([seed, int(model.users[row])])
            self.drawn[row] = rng.choice(self.items, self.drawn.shape[1], replace=False, shuffle=False)

    def auc(self, scores: Tensor, target: Tensor, row: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """Compute the share of the drawn items that score below the held-out one; ties count 0: [n].

        Draws of the user's train items and of the held-out item are skipped, as K17's code does; nan if all are.

        Args:
            scores: [c, I], before touched items are forgotten.
            target: [n], score of each held-out item.
            row: [n], row of `scores` of each pair.
            held_out: [n, 2], user row and item row.
        """
        drawn = self.drawn[held_out[:, 0]].astype(np.int64)
        counted = ~self._trained(held_out[:, :1] * self.items + drawn) & (drawn != held_out[:, 1:])
        inside = torch.from_numpy(counted).to(scores.device)
        at = torch.from_numpy(row).to(scores.device)[:, None]
        wins = ((scores[at, torch.from_numpy(drawn).to(scores.device)] < target[:, None]) & inside).sum(1)
        return (wins / inside.sum(1)).cpu().numpy()

    def _trained(self, codes: np.ndarray) -> np.ndarray:
        if not len(self.known):
            return np.zeros(codes.shape, bool)
        at = np.minimum(np.searchsorted(self.known, codes), len(self.known) - 1)
        return self.known[at] == codes
