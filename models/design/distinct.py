"""The objective `distinct`: a garment that its user wants more than other users do, in standardised scores.

    s_u(x) - log mean over r of exp s_r(x),   s_v(x) = (theta_v . Phi(x) - mean_v) / sd_v

with mean and sd over a catalogue, and r over a reference sample of other users. It is ours, not the paper's. A user
who judges the finished design must not be among the references, which would be training on the test set
(`taste_rank.references`).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Others:
    """The standardised taste, s = weight . Phi + offset, of each user and of the R reference users compared with."""

    weight: Tensor  # [everybody, K]
    offset: Tensor  # [everybody]
    rows: Tensor  # int64 [users, 1 + R], rows of `weight`: the user first, then the references

    def of(self, users: Tensor) -> "Others":
        """Keep only these users."""
        return replace(self, rows=self.rows[users])

    def distinct(self, features: Tensor, user: Tensor) -> Tensor:
        """Compute the objective of pictures with features [B, K] for users [B] (rows of `rows`): [B]."""
        rows = self.rows[user.to(self.rows.device)].to(features.device)
        weight, offset = self.weight.to(features.device)[rows], self.offset.to(features.device)[rows]
        standard = torch.einsum("bk,brk->br", features, weight) + offset  # [B, 1 + R]
        references = standard[:, 1:]
        return standard[:, 0] - torch.logsumexp(references, dim=1) + math.log(references.shape[1])


def standardise(theta: np.ndarray, catalogue: np.ndarray, rows: np.ndarray) -> Others:
    """Standardise all users' theta [everybody, K] over a catalogue's Phi [M, K]; `rows` as in `Others`.

    Raises ValueError for fewer than two catalogue pictures, or no reference user.
    """
    if len(catalogue) < 2 or rows.shape[1] < 2:
        raise ValueError(
            f"{len(catalogue)} catalogue pictures and {rows.shape[1] - 1} references; `distinct` needs at least 2 and 1"
        )
    theta = theta.astype(np.float64)
    known = catalogue.astype(np.float64) @ theta.T  # [M, everybody]
    sd = np.maximum(known.std(axis=0), 1e-12)
    return Others(
        torch.from_numpy((theta / sd[:, None]).astype(np.float32)),
        torch.from_numpy((-known.mean(axis=0) / sd).astype(np.float32)),
        torch.from_numpy(rows.astype(np.int64)),
    )
