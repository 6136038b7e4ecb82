"""DVBPR's score, loss, initial user factors and optimiser (K17, section III)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dvbpr.cnnf import CNNF


def initial_theta(users: int, k: int, generator: torch.Generator | None = None) -> nn.Parameter:
    """Draw the users' initial latent factors from U(0, 1) / 100 (K17's code): [users, k]."""
    return nn.Parameter(torch.rand(users, k, generator=generator) / 100)


def score(theta: Tensor, phi: Tensor) -> Tensor:
    """Compute x_ui = theta_u . Phi(X_i) row by row: [B, k] and [B, k] to [B] (K17, equation 4: no biases).

    Raises ValueError if the shapes differ.
    """
    if theta.shape != phi.shape:  # (B, 1) and (B,) would silently broadcast to (B, B)
        raise ValueError(f"theta {tuple(theta.shape)} and phi {tuple(phi.shape)} must have one shape")
    return (theta * phi).sum(-1)


def loss(theta: Tensor, positive: Tensor, negative: Tensor, theta_decay: float) -> Tensor:
    """Compute the loss of a batch, a sum and not a mean, without the weight decay that the optimiser applies.

    - sum ln sigmoid(theta_u . (Phi_i - Phi_j)) + theta_decay * sum ||theta_u||^2 / 2. The second sum also runs over the
    batch, so that a user who occurs twice is regularised twice (K17's code).

    `theta` [B, k] holds the rows of the batch's users; `positive` [B, k]; `negative` [B, negatives, k]. Several
    negatives of one positive are averaged and count as one triplet. Raises ValueError if the shapes do not match.
    """
    batch, k = theta.shape
    if positive.shape != (batch, k) or negative.ndim != 3 or (negative.shape[0], negative.shape[2]) != (batch, k):
        raise ValueError(
            f"theta {tuple(theta.shape)}, positive {tuple(positive.shape)} and negative {tuple(negative.shape)} "
            "do not fit; they must be [B, k], [B, k] and [B, negatives, k]"
        )
    difference = (theta[:, None] * (positive[:, None] - negative)).sum(-1)  # [B, negatives]
    ranking = -F.logsigmoid(difference).mean(1).sum()
    return ranking + 0.5 * theta_decay * theta.pow(2).sum()


def optimiser(
    cnn: CNNF,
    theta: nn.Parameter,
    *,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> torch.optim.Adam:
    """Build Adam over all parameters, with coupled L2 on the eight weight tensors only.

    `weight_decay` in Adam (not AdamW) adds weight_decay * W to the gradient, which is the gradient of K17's
    weight_decay * ||W||^2 / 2. The gradient of theta is dense, as in TF1's Adam on a gathered theta: the moments of
    every row decay at every step. (TF1 adds eps before the bias correction, torch after it; at eps 1e-8 the difference
    is too small to measure.)
    """
    groups = [
        {"params": cnn.weights(), "weight_decay": weight_decay},
        {"params": cnn.biases(), "weight_decay": 0.0},
        {"params": [theta], "weight_decay": 0.0},
    ]
    fused = theta.device.type in ("cuda", "cpu")  # faster: one pass over the 70 M weights, with the same arithmetic
    return torch.optim.Adam(groups, lr=learning_rate, betas=betas, eps=eps, fused=fused)
